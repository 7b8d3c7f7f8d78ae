"""What a single-file checkpoint is: the names and shapes of its tensors tell, none of its weights is read. Pure.

The names are those of the programs that the models came with, under ``model.diffusion_model.`` or without it; what
diffusers itself saved has other names, and is a folder.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from batch.catalogue import held
from batch.catalogue.denoisers import Header, NotRecognised, Tensors, is_unet, kind_of
from batch.catalogue.other_files import what_else

SUFFIXES = (".safetensors", ".sft")
PICKLED = (".ckpt", ".pt", ".pth", ".bin")
GGUF = ".gguf"

KINDS: Mapping[str, str] = {
    "sd1": "Stable Diffusion 1",
    "sd2": "Stable Diffusion 2",
    "sd2-v": "Stable Diffusion 2 (v-prediction)",
    "sdxl": "Stable Diffusion XL",
    "playground-v2.5": "Playground 2.5",
    "sd3-medium": "Stable Diffusion 3 medium",
    "sd3.5-medium": "Stable Diffusion 3.5 medium",
    "sd3.5-large": "Stable Diffusion 3.5 large",
    "flux-dev": "Flux.1 dev",
    "flux-schnell": "Flux.1 schnell",
    "flux2-dev": "FLUX.2 dev",
    "flux2-klein-4b": "FLUX.2 klein 4B",
    "flux2-klein-9b": "FLUX.2 klein 9B",
    "chroma": "Chroma",
    "auraflow": "AuraFlow",
    "lumina2": "Lumina 2",
    "z-image": "Z-Image",
    "qwen-image": "Qwen-Image",
    "qwen-image-2.1": "Qwen-Image 2.1",
    "krea2": "Krea 2",
    "ernie-image": "ERNIE-Image",
    "hidream": "HiDream-I1",
}
"""What pictures are rendered from here, by kind, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """What a file is, and what lies in it."""

    kind: str
    """One of :data:`KINDS`."""
    holds: frozenset[str]
    """Components of its pipeline whose weights it has."""
    precision: str
    """That of most bytes of the denoiser: float16, bfloat16, float32, fp8."""
    scaled: bool = False
    """Its fp8 weights count only with the scales beside them."""
    v_prediction: bool = False
    """Its own word; a kind that always predicts v does not need to say it."""
    zero_snr: bool = False
    """Its noise schedule ends in nothing but noise."""
    notes: tuple[str, ...] = ()
    """What cannot be told from names and shapes, and was taken."""


def recognise(header: Header, told: Mapping[str, str] | None = None) -> Recognised:
    """What a file is by its header; ``told`` is the text that its writer put into that.

    Raises :class:`NotRecognised` for everything else.
    """
    inside = Tensors(header)
    if why := what_else(header, alone=len(inside.denoiser) == len(header)):
        raise NotRecognised(why)
    kind, precision = kind_of(inside), _precision(inside)
    if why := _unreadable(inside, precision):
        raise NotRecognised(f"it is a {KINDS[kind]} {why}")
    told = told or {}
    predicts = told.get("modelspec.prediction_type", "")
    v = "v_pred" in header or predicts.startswith("v")
    notes = [_ALIKE[kind]] if kind in _ALIKE else []
    if kind == "sd2":
        kind, known = ("sd2" if predicts.startswith("eps") else "sd2-v"), bool(v or predicts)
        notes += [] if known else [_SD2_EITHER]
    return Recognised(
        kind=kind,
        holds=frozenset(_holds(kind, inside)),
        precision=precision,
        scaled=inside.any(rf"(^|\.)scaled_fp8$|\.({'|'.join(SCALES)}|comfy_quant)$"),
        v_prediction=v,
        zero_snr="ztsnr" in header,
        notes=tuple(notes),
    )


_ALIKE = {
    "z-image": "Z-Image and Z-Image-Turbo cannot be told apart: taken as Turbo; steps and guidance are other ones",
    "sd3.5-large": "Turbo cannot be told apart: taken as the full model, which takes more steps and guidance",
    "flux2-klein-4b": "klein and its base cannot be told apart: taken as klein, distilled to few steps",
    "flux2-klein-9b": "klein and its base cannot be told apart: taken as klein, distilled to few steps",
}
"""Models of one architecture that want other defaults."""

_SD2_EITHER = (
    "its header does not say whether it predicts v (768 pixels) or noise (512): taken as v. Where that is wrong, "
    "name it in a models.yaml with prediction: epsilon"
)

_CLIP, _T5 = "CLIPText", "T5"
_TEXTS: Mapping[str, Mapping[str, str]] = {
    "sd1": {"text_encoder": _CLIP},
    "sd2": {"text_encoder": _CLIP},
    "sdxl": {"text_encoder": _CLIP, "text_encoder_2": _CLIP},
    "playground": {"text_encoder": _CLIP, "text_encoder_2": _CLIP},
    "sd3": {"text_encoder": _CLIP, "text_encoder_2": _CLIP, "text_encoder_3": _T5},
    "flux-": {"text_encoder": _CLIP, "text_encoder_2": _T5},
}
"""By the beginning of a kind: the text encoders that a file may hold beside the denoiser, and what they are."""


def _holds(kind: str, inside: Tensors) -> Iterator[str]:
    """Components whose weights are there."""
    yield "unet" if is_unet(inside) else "transformer"
    parts = {part: of for begin, texts in _TEXTS.items() if kind.startswith(begin) for part, of in texts.items()}
    for part, of in {"vae": "", **parts}.items():
        if held.part(part, of, inside.header):
            yield part


_PRECISIONS = {
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "F8_E4M3": "fp8", "F8_E5M2": "fp8", "I8": "int8", "U8": "4 bits",
}  # fmt: skip

SCALES = ("scale_weight", "weight_scale")
"""What a weight in 8 bits was divided by stands beside it: as older and as newer files call that."""

_SOUND = {"float16", "bfloat16", "float32", "fp8"}


def _precision(inside: Tensors) -> str:
    """The dtype that most bytes of the denoiser have."""
    sizes: Counter[str] = Counter()
    for entry in inside.denoiser.values():
        start, end = cast(Sequence[int], entry.get("data_offsets", (0, 0)))
        sizes[str(entry.get("dtype"))] += end - start
    return _PRECISIONS.get(sizes.most_common(1)[0][0] if sizes else "", "an unknown precision")


def _unreadable(inside: Tensors, precision: str) -> str:
    """How its weights are kept, where that is read by other programs only; "" where it can be read."""
    full = "take it in fp16, bf16 or fp8: `memory: fp8_weights` or `quantize(torchao_int8)` makes that as small"
    if inside.any(r"\.(absmax|nested_absmax|quant_map)$|\.quant_state\.bitsandbytes__"):
        return f"in nf4 or fp4 of bitsandbytes, which is not read; {full}"
    if inside.any(r"\.(qweight|wscales|smooth_factor|smooth_factor_orig)$"):
        return f"quantised for Nunchaku (SVDQuant), which is not read; {full}"
    if any(_in_blocks(name, inside) for name in inside.denoiser if name.rpartition(".")[2] in SCALES):
        return f"with a scale for every block of a weight, which is not read; {full}"
    if precision not in _SOUND:
        return f"in {precision}, which is not read; {full}"
    return ""


def _in_blocks(scale: str, inside: Tensors) -> bool:
    """Whether a scale is neither one number nor one a row."""
    rows = inside.side(f"{scale.rpartition('.')[0]}.weight", 0)
    return math.prod(inside.shape(scale)) not in (1, rows)
