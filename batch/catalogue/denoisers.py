"""What a denoiser is by the names and shapes of its tensors, in the spelling of those who trained it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

Header = Mapping[str, Mapping[str, object]]
"""Of a safetensors file: what it says of each tensor by its name (:func:`batch.catalogue.tensors.header`)."""


class NotRecognised(ValueError):  # noqa: N818 - reads as what it is
    """A file that is no checkpoint of a model for pictures from text; says what it is and what would be right."""


_PREFIXES = ("model.diffusion_model.", "diffusion_model.")
"""Before the names of a denoiser, mostly where others lie beside it."""


class Tensors:
    """The tensors of a file, with names of the denoiser freed from what stands before them."""

    def __init__(self, header: Header) -> None:
        prefix = next((item for item in _PREFIXES if any(name.startswith(item) for name in header)), "")
        self.header = header
        self.denoiser = {
            name.removeprefix(prefix): entry for name, entry in header.items() if name.startswith(prefix)
        }

    def __contains__(self, name: str) -> bool:
        return name in self.denoiser

    def shape(self, name: str) -> Sequence[int]:
        """Of a tensor of the denoiser; empty where it is not there, or says something else."""
        shape = self.denoiser.get(name, {}).get("shape")
        return shape if isinstance(shape, list) and all(isinstance(side, int) for side in shape) else ()

    def side(self, name: str, index: int) -> int:
        """One side of it; 0 where there is none."""
        shape = self.shape(name)
        return shape[index] if -len(shape) <= index < len(shape) else 0

    def any(self, pattern: str) -> bool:
        """Whether a name in the file has this in it."""
        search = re.compile(pattern).search
        return any(search(name) for name in self.header)


def kind_of(inside: Tensors) -> str:
    """One of :data:`batch.catalogue.single_files.KINDS`. Raises :class:`NotRecognised` for all others."""
    return _unet(inside) if is_unet(inside) else _transformer(inside)


def is_unet(inside: Tensors) -> bool:
    """Whether it is a U-Net."""
    return "input_blocks.0.0.weight" in inside


def _unet(inside: Tensors) -> str:
    """The kind of a U-Net, by how many channels it takes and how wide its texts are."""
    channels = inside.side("input_blocks.0.0.weight", 1)
    if channels != 4:
        wanted = _UNET_INPUTS.get(channels, f"a U-Net of {channels} channels, which needs more than a prompt")
        raise NotRecognised(f"it is {wanted}; name the model for pictures from text that it was made from")
    widths = [inside.side(name, -1) for name in inside.denoiser if name.endswith(".attn2.to_k.weight")]
    width = widths[0] if widths else 0
    if width == 1280:
        raise NotRecognised("it is the refiner of SDXL, which goes over pictures of the base model; name the base")
    if width == 2048 and inside.side("input_blocks.7.1.transformer_blocks.9.attn2.to_k.weight", -1) != 2048:
        raise NotRecognised(
            "it is an SDXL with fewer layers (SSD-1B, Segmind Vega …), whose shape is not known here; name its "
            "repository of the Hub instead"
        )
    kind = {768: "sd1", 1024: "sd2", 2048: "sdxl"}.get(width)
    if kind is None:
        raise NotRecognised(f"it is a U-Net for texts of width {width}, which no model known here has")
    if kind == "sd2" and "label_emb.0.0.weight" in inside:
        raise NotRecognised("it is a Stable Diffusion 2 unCLIP, which makes variations of a picture")
    last = f"output_blocks.{8 if kind == 'sdxl' else 11}."
    if not any(name.startswith(last) for name in inside.denoiser) or "out.2.weight" not in inside:
        raise NotRecognised(
            "it holds no whole U-Net: its last blocks are missing; download the file once more, or name the "
            "repository of the Hub of a model that has fewer"
        )
    return "playground-v2.5" if kind == "sdxl" and "edm_mean" in inside.header else kind


_UNET_INPUTS = {
    9: "an inpainting model, which needs a picture and a mask",
    8: "an InstructPix2Pix model, which edits a picture",
    5: "a depth model, which needs a picture",
    7: "an upscaler, which needs a picture",
}


def _transformer(inside: Tensors) -> str:
    """The kind of a transformer, by the first tensor of the table that it has."""
    for name, kind in _TRANSFORMERS:
        if name in inside:
            return kind(inside) if callable(kind) else kind
    raise NotRecognised(
        "it is no checkpoint of a model that is known here; a model of another kind may be rendered from its "
        "repository of the Hub, or from a folder that holds a diffusers model"
    )


def _sd3(inside: Tensors) -> str:
    if "joint_blocks.37.x_block.mlp.fc1.weight" in inside:
        return "sd3.5-large"
    positions = inside.side("pos_embed", 1)
    found = {36864: "sd3-medium", 147456: "sd3.5-medium"}.get(positions)
    if found is None:
        raise NotRecognised("it is a Stable Diffusion 3 of a size that is not known here")
    return found


def _flux(inside: Tensors) -> str:
    blocks = sum(name.endswith(".img_attn.norm.key_norm.scale") for name in inside.denoiser)
    if blocks != _FLUX_BLOCKS:
        raise NotRecognised(
            f"it is a Flux of {blocks} double blocks instead of {_FLUX_BLOCKS} (Flux lite, Flex …), whose shape "
            "is not known here; name its repository of the Hub instead"
        )
    channels = inside.side("img_in.weight", 1)
    if channels in _FLUX_INPUTS:
        raise NotRecognised(f"it is {_FLUX_INPUTS[channels]}; name Flux.1 dev or schnell for pictures from text")
    return "flux-dev" if "guidance_in.in_layer.weight" in inside else "flux-schnell"


_FLUX_BLOCKS = 19
_FLUX_INPUTS = {
    384: "Flux.1 Fill, which needs a picture and a mask",
    128: "Flux.1 Depth or Canny, which needs a picture",
}


def _flux2(inside: Tensors) -> str:
    found = {6144: "flux2-dev", 4096: "flux2-klein-9b", 3072: "flux2-klein-4b"}.get(
        inside.side("img_in.weight", 0)
    )
    if found is None:
        raise NotRecognised("it is a FLUX.2 of a size that is not known here")
    return found


_TRANSFORMERS: Sequence[tuple[str, str | Callable[[Tensors], str]]] = (
    ("joint_blocks.0.context_block.adaLN_modulation.1.bias", _sd3),
    ("single_stream_modulation.lin.weight", _flux2),
    ("distilled_guidance_layer.in_proj.bias", "chroma"),
    ("double_blocks.0.img_attn.norm.key_norm.scale", _flux),
    ("double_layers.0.attn.w1q.weight", "auraflow"),
    ("txt_in.text_norm.weight", "qwen-image-2.1"),
    ("txtfusion.projector.weight", "krea2"),
    ("layers.0.adaLN_modulation.0.weight", "z-image"),
    ("cap_embedder.0.weight", "lumina2"),
    ("layers.0.self_attention.to_q.weight", "ernie-image"),
    ("double_stream_blocks.0.block.adaLN_modulation.1.bias", "hidream"),
    ("transformer_blocks.0.txt_mod.1.weight", "qwen-image"),
)
"""A tensor that only one kind has, in the order in which they are asked."""
