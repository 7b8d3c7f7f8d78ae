"""Checkpoints in one file, made of tiny diffusers folders: under the names that the makers gave the tensors.

The renames are those of diffusers' scripts from its folders back to checkpoints, and what the makers keep as one
matrix is joined again. None of it is taken from the code under test.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path

import safetensors.torch
import torch
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

from batch.records.spec import ModelSource
from tests.render.parts import source

Tensors = dict[str, torch.Tensor]
Rules = Iterable[tuple[str, str | Callable[[re.Match[str]], str]]]

LEVELS = 4
"""Of the tiny autoencoders."""


def _of_unet(layers: int, attention_up: Container[int]) -> Rules:
    """The names of a U-Net with so many layers a block, and attention in these of the blocks up."""

    def row(match: re.Match[str]) -> int:
        return int(match[1]) * (layers + 1)

    return (
        (r"^time_embedding\.linear_(\d)", lambda match: f"time_embed.{2 * int(match[1]) - 2}"),
        (r"^add_embedding\.linear_(\d)", lambda match: f"label_emb.0.{2 * int(match[1]) - 2}"),
        (r"^conv_in", "input_blocks.0.0"),
        (r"^conv_norm_out", "out.0"),
        (r"^conv_out", "out.2"),
        (
            r"^down_blocks\.(\d)\.(resnets|attentions)\.(\d)",
            lambda match: f"input_blocks.{row(match) + int(match[3]) + 1}.{int(match[2] == 'attentions')}",
        ),
        (
            r"^down_blocks\.(\d)\.downsamplers\.0\.conv",
            lambda match: f"input_blocks.{row(match) + layers + 1}.0.op",
        ),
        (r"^mid_block\.resnets\.(\d)", lambda match: f"middle_block.{2 * int(match[1])}"),
        (r"^mid_block\.attentions\.0", "middle_block.1"),
        (
            r"^up_blocks\.(\d)\.(resnets|attentions)\.(\d)",
            lambda match: f"output_blocks.{row(match) + int(match[3])}.{int(match[2] == 'attentions')}",
        ),
        (
            r"^up_blocks\.(\d)\.upsamplers\.0",
            lambda match: f"output_blocks.{row(match) + layers}.{1 + (int(match[1]) in attention_up)}",
        ),
        (r"(put_blocks\.\d+\.\d|block\.\d)\.norm1", r"\1.in_layers.0"),
        (r"\.conv1\.", ".in_layers.2."),
        (r"(put_blocks\.\d+\.\d|block\.\d)\.norm2", r"\1.out_layers.0"),
        (r"\.conv2\.", ".out_layers.3."),
        (r"\.time_emb_proj\.", ".emb_layers.1."),
        (r"\.conv_shortcut\.", ".skip_connection."),
    )


VAE: Rules = (
    (r"mid_block\.attentions\.0", "mid.attn_1"),
    (r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}"),
    (r"down_blocks\.(\d)\.resnets", r"down.\1.block"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up_blocks\.(\d)\.resnets", lambda match: f"up.{LEVELS - 1 - int(match[1])}.block"),
    (r"up_blocks\.(\d)\.upsamplers\.0", lambda match: f"up.{LEVELS - 1 - int(match[1])}.upsample"),
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"group_norm", "norm"),
    (r"attn_1\.to_([qkv])", r"attn_1.\1"),
    (r"attn_1\.to_out\.0", "attn_1.proj_out"),
)

OPEN_CLIP: Rules = (
    (r"^(text_model\.)?embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"^(text_model\.)?embeddings\.", ""),
    (r"^(text_model\.)?final_layer_norm", "ln_final"),
    (r"^(text_model\.)?encoder\.layers", "transformer.resblocks"),
    (r"layer_norm", "ln_"),
    (r"\.mlp\.fc1", ".mlp.c_fc"),
    (r"\.mlp\.fc2", ".mlp.c_proj"),
    (r"self_attn", "attn"),
    (r"^text_projection\.weight", "text_projection"),
)

FLUX: Rules = (
    (r"^time_text_embed\.timestep_embedder\.linear_1", "time_in.in_layer"),
    (r"^time_text_embed\.timestep_embedder\.linear_2", "time_in.out_layer"),
    (r"^time_text_embed\.text_embedder\.linear_1", "vector_in.in_layer"),
    (r"^time_text_embed\.text_embedder\.linear_2", "vector_in.out_layer"),
    (r"^time_text_embed\.guidance_embedder\.linear_1", "guidance_in.in_layer"),
    (r"^time_text_embed\.guidance_embedder\.linear_2", "guidance_in.out_layer"),
    (r"^context_embedder", "txt_in"),
    (r"^x_embedder", "img_in"),
    (r"^proj_out", "final_layer.linear"),
    (r"^norm_out\.linear", "final_layer.adaLN_modulation.1"),
    (r"^transformer_blocks\.(\d)\.norm1\.linear", r"double_blocks.\1.img_mod.lin"),
    (r"^transformer_blocks\.(\d)\.norm1_context\.linear", r"double_blocks.\1.txt_mod.lin"),
    (r"^transformer_blocks\.(\d)\.attn\.norm_(q|k)\.weight", r"double_blocks.\1.img_attn.norm.\2_norm.scale"),
    (
        r"^transformer_blocks\.(\d)\.attn\.norm_added_([qk])\.weight",
        r"double_blocks.\1.txt_attn.norm.\2_norm.scale",
    ),
    (r"^transformer_blocks\.(\d)\.attn\.to_out\.0", r"double_blocks.\1.img_attn.proj"),
    (r"^transformer_blocks\.(\d)\.attn\.to_add_out", r"double_blocks.\1.txt_attn.proj"),
    (r"^transformer_blocks\.(\d)\.ff\.net\.0\.proj", r"double_blocks.\1.img_mlp.0"),
    (r"^transformer_blocks\.(\d)\.ff\.net\.2", r"double_blocks.\1.img_mlp.2"),
    (r"^transformer_blocks\.(\d)\.ff_context\.net\.0\.proj", r"double_blocks.\1.txt_mlp.0"),
    (r"^transformer_blocks\.(\d)\.ff_context\.net\.2", r"double_blocks.\1.txt_mlp.2"),
    (r"^transformer_blocks\.(\d)\.attn\.(to_[qkv])", r"double_blocks.\1.img_attn.\2"),
    (r"^transformer_blocks\.(\d)\.attn\.add_([qkv])_proj", r"double_blocks.\1.txt_attn.to_\2"),
    (r"^single_transformer_blocks\.(\d)\.norm\.linear", r"single_blocks.\1.modulation.lin"),
    (r"^single_transformer_blocks\.(\d)\.attn\.norm_(q|k)\.weight", r"single_blocks.\1.norm.\2_norm.scale"),
    (r"^single_transformer_blocks\.(\d)\.attn\.(to_[qkv])", r"single_blocks.\1.\2"),
    (r"^single_transformer_blocks\.(\d)\.proj_mlp", r"single_blocks.\1.mlp"),
    (r"^single_transformer_blocks\.(\d)\.proj_out", r"single_blocks.\1.linear2"),
    (r"\.q_norm\.", ".query_norm."),
    (r"\.k_norm\.", ".key_norm."),
)


def _renamed(tensors: Tensors, rules: Rules) -> Tensors:
    made = {}
    for name, tensor in tensors.items():
        made[reduce(lambda old, rule: re.sub(*rule, old), rules, name)] = tensor
    return made


def _joined(tensors: Tensors, parts: tuple[str, ...], whole: str) -> Tensors:
    """What ends with the first of some parts becomes, with the others one below the other, one tensor."""
    made = dict(tensors)
    for name in tensors:
        match = re.fullmatch(rf"(.*)\.{parts[0]}\.(weight|bias)", name)
        if match:
            own = [made.pop(f"{match[1]}.{part}.{match[2]}") for part in parts]
            made[f"{match[1]}.{whole}".replace("WHAT", match[2])] = torch.cat(own)
    return made


def unet(tensors: Tensors, layers: int = 1, attention_up: Container[int] = (0,)) -> Tensors:
    """By default the tiny ones' blocks."""
    return _renamed(tensors, _of_unet(layers, attention_up))


def vae(tensors: Tensors) -> Tensors:
    made = _renamed(tensors, VAE)
    return {
        name: tensor[:, :, None, None] if "attn_1" in name and tensor.ndim == 2 else tensor
        for name, tensor in made.items()
    }


def clip(tensors: Tensors) -> Tensors:
    """As of transformers before 5, with a table of positions that is no weight."""
    outer = {name: "" if name.startswith("text_") else "text_model." for name in tensors}
    made = {outer[name] + name: tensor for name, tensor in tensors.items()}
    positions = made["text_model.embeddings.position_embedding.weight"].shape[0]
    return made | {"text_model.embeddings.position_ids": torch.arange(positions)[None]}


def open_clip(tensors: Tensors) -> Tensors:
    made = _joined(_renamed(tensors, OPEN_CLIP), ("q_proj", "k_proj", "v_proj"), "in_proj_WHAT")
    if "text_projection" in made:
        made["text_projection"] = made["text_projection"].T
    return made | {"logit_scale": torch.tensor(4.6)}


def flux(tensors: Tensors) -> Tensors:
    made = _renamed(tensors, FLUX)
    single = {name: made.pop(name) for name in list(made) if name.startswith("single_blocks")}
    made = _joined(made, ("to_q", "to_k", "to_v"), "qkv.WHAT")
    made |= _joined(single, ("to_q", "to_k", "to_v", "mlp"), "linear1.WHAT")
    key = "final_layer.adaLN_modulation.1"
    return made | {f"{key}.{name}": _swapped(made[f"{key}.{name}"]) for name in ("weight", "bias")}


def _swapped(item: torch.Tensor) -> torch.Tensor:
    """Scale and shift of a norm, which the makers have the other way round."""
    return torch.cat(list(reversed(item.chunk(2))))


Z_IMAGE: Rules = (
    (r"^all_final_layer\.2-1\.", "final_layer."),
    (r"^all_x_embedder\.2-1\.", "x_embedder."),
    (r"\.attention\.to_out\.0\.", ".attention.out."),
    (r"\.attention\.norm_([qk])\.", r".attention.\1_norm."),
)


def z_image(tensors: Tensors) -> Tensors:
    return _joined(_renamed(tensors, Z_IMAGE), ("to_q", "to_k", "to_v"), "qkv.WHAT")


SD3: Rules = (
    (r"^pos_embed\.pos_embed", "pos_embed"),
    (r"^pos_embed\.proj", "x_embedder.proj"),
    (r"^time_text_embed\.timestep_embedder\.linear_(\d)", lambda match: f"t_embedder.mlp.{2 * int(match[1]) - 2}"),
    (r"^time_text_embed\.text_embedder\.linear_(\d)", lambda match: f"y_embedder.mlp.{2 * int(match[1]) - 2}"),
    (r"^norm_out\.linear", "final_layer.adaLN_modulation.1"),
    (r"^proj_out", "final_layer.linear"),
    (r"^transformer_blocks\.(\d)\.norm1\.linear", r"joint_blocks.\1.x_block.adaLN_modulation.1"),
    (r"^transformer_blocks\.(\d)\.norm1_context\.linear", r"joint_blocks.\1.context_block.adaLN_modulation.1"),
    (r"^transformer_blocks\.(\d)\.attn\.(to_[qkv])\.", r"joint_blocks.\1.x_block.attn.\2."),
    (r"^transformer_blocks\.(\d)\.attn\.add_([qkv])_proj", r"joint_blocks.\1.context_block.attn.to_\2"),
    (r"^transformer_blocks\.(\d)\.attn\.to_out\.0", r"joint_blocks.\1.x_block.attn.proj"),
    (r"^transformer_blocks\.(\d)\.ff\.net\.0\.proj", r"joint_blocks.\1.x_block.mlp.fc1"),
    (r"^transformer_blocks\.(\d)\.ff\.net\.2", r"joint_blocks.\1.x_block.mlp.fc2"),
)


def sd3(tensors: Tensors) -> Tensors:
    """Of one block, which is the last one: the texts' half of it is not projected."""
    made = _joined(_renamed(tensors, SD3), ("to_q", "to_k", "to_v"), "qkv.WHAT")
    for key in ("joint_blocks.0.context_block.adaLN_modulation.1", "final_layer.adaLN_modulation.1"):
        made |= {f"{key}.{name}": _swapped(made[f"{key}.{name}"]) for name in ("weight", "bias")}
    return made


COMPONENTS: Mapping[str, Mapping[str, tuple[str, Callable[[Tensors], Tensors]]]] = {
    "sd1": {
        "unet": ("model.diffusion_model.", unet),
        "vae": ("first_stage_model.", vae),
        "text_encoder": ("cond_stage_model.transformer.", clip),
    },
    "sd2": {
        "unet": ("model.diffusion_model.", unet),
        "vae": ("first_stage_model.", vae),
        "text_encoder": ("cond_stage_model.model.", open_clip),
    },
    "sdxl": {
        "unet": ("model.diffusion_model.", unet),
        "vae": ("first_stage_model.", vae),
        "text_encoder": ("conditioner.embedders.0.transformer.", clip),
        "text_encoder_2": ("conditioner.embedders.1.model.", open_clip),
    },
    "flux": {
        "transformer": ("model.diffusion_model.", flux),
        "vae": ("vae.", vae),
        "text_encoder": ("text_encoders.clip_l.transformer.", clip),
        "text_encoder_2": ("text_encoders.t5xxl.transformer.", dict),
    },
    "sd3": {
        "transformer": ("model.diffusion_model.", sd3),
        "vae": ("first_stage_model.", vae),
        "text_encoder": ("text_encoders.clip_l.transformer.", clip),
        "text_encoder_2": ("text_encoders.clip_g.transformer.", clip),
        "text_encoder_3": ("text_encoders.t5xxl.transformer.", dict),
    },
    "z_image": {"transformer": ("model.diffusion_model.", z_image), "vae": ("vae.", vae)},
}
"""How each kind calls its components, and what becomes of their tensors."""


def tensors(folder: Path, kind: str, parts: Iterable[str] = ()) -> Tensors:
    """A checkpoint of a tiny folder: all of its components, or these."""
    made = {}
    for part, (prefix, renamed) in COMPONENTS[kind].items():
        if not parts or part in parts:
            (path,) = (folder / part).glob("*.safetensors")
            own = renamed(safetensors.torch.load_file(path))
            made |= {prefix + name: tensor.contiguous() for name, tensor in own.items()}
    return made


def save(tensors: Tensors, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors, path)
    return path


def layout(folder: Path, place: Path, *, weights: Container[str] = ()) -> Path:
    """A folder's configurations and tokenizers, with the weights of these components alone."""
    shutil.copytree(folder, place)
    for path in place.glob("*/*.safetensors"):
        if path.parent.name not in weights:
            path.unlink()
    return place


def of_folder(folder: Path, place: Path, kind: str, *, parts: Iterable[str] = (), **changes) -> ModelSource:
    """The source of a tiny folder as one file; components that are not in ``parts`` stay in the layout."""
    file = save(tensors(folder, kind, parts), place / "model.safetensors")
    rest = {path.parent.name for path in folder.glob("*/*.safetensors")} - set(parts or COMPONENTS[kind])
    found = layout(folder, place / "layout", weights=rest)
    return replace(source(folder), location=str(found), file=str(file), **changes)


def narrow_flux(monkeypatch) -> None:
    """diffusers' converter of Flux has the width of the real one written into it; the tiny one has 32."""
    entry = SINGLE_FILE_LOADABLE_CLASSES["FluxTransformer2DModel"]
    convert = entry["checkpoint_mapping_fn"]
    code = convert.__code__
    changed = code.replace(co_consts=tuple(32 if item == 3072 else item for item in code.co_consts))
    made = partial(type(convert)(changed, convert.__globals__))
    monkeypatch.setitem(entry, "checkpoint_mapping_fn", made)
