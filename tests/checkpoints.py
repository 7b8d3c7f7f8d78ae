"""Checkpoints in one file by what tells them: names and shapes of real ones, and nothing but holes for weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

ITEMSIZE = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "U8": 1, "I8": 1}

Shapes = Mapping[str, tuple[int, ...]]

_D = "model.diffusion_model."
_END = {f"{_D}out.2.weight": (4, 320, 3, 3)}
_VAE = {"first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3)}
SD1: Shapes = {
    f"{_D}input_blocks.0.0.weight": (320, 4, 3, 3),
    f"{_D}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
    f"{_D}output_blocks.11.0.in_layers.2.bias": (320,),
    **_END,
    "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
    **_VAE,
}
SD2: Shapes = {
    f"{_D}input_blocks.0.0.weight": (320, 4, 3, 3),
    f"{_D}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024),
    f"{_D}output_blocks.11.0.in_layers.2.bias": (320,),
    **_END,
    "cond_stage_model.model.positional_embedding": (77, 1024),
    **_VAE,
}
SDXL: Shapes = {
    f"{_D}input_blocks.0.0.weight": (320, 4, 3, 3),
    f"{_D}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, 2048),
    f"{_D}input_blocks.7.1.transformer_blocks.9.attn2.to_k.weight": (1280, 2048),
    f"{_D}output_blocks.8.0.in_layers.2.bias": (320,),
    **_END,
    "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
    "conditioner.embedders.1.model.positional_embedding": (77, 1280),
    **_VAE,
}
FLUX: Shapes = {
    **{f"double_blocks.{index}.img_attn.norm.key_norm.scale": (128,) for index in range(19)},
    "img_in.weight": (3072, 64),
    "guidance_in.in_layer.weight": (3072, 256),
}
REFINER: Shapes = {
    f"{_D}input_blocks.0.0.weight": (384, 4, 3, 3),
    f"{_D}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (768, 1280),
    "conditioner.embedders.0.model.transformer.resblocks.9.mlp.c_proj.bias": (1280,),
}


def header(shapes: Shapes, dtype: str = "F16") -> dict[str, dict[str, object]]:
    """What the header of such a file says."""
    found, at = {}, 0
    for name, shape in shapes.items():
        end = at + math.prod(shape) * ITEMSIZE[dtype]
        found[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    return found


def without(shapes: Shapes, *begins: str) -> Shapes:
    return {name: shape for name, shape in shapes.items() if not name.startswith(begins)}


def prefixed(shapes: Shapes) -> Shapes:
    return {_D + name: shape for name, shape in shapes.items()}


def write(path: Path, shapes: Shapes, dtype: str = "F16", seed: int = 0, **notes: str) -> Path:
    """A file of that header whose weights are a hole, but for its last byte, which is the seed."""
    head = header(shapes, dtype)
    size = max(entry["data_offsets"][1] for entry in head.values())
    text = json.dumps({**({"__metadata__": notes} if notes else {}), **head}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.seek(size - 1, 1)
        file.write(bytes([seed]))
    return path
