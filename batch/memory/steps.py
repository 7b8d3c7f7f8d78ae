"""The table of memory steps: what each does, what it changes, how it is written, and what it does not go with.

Data only; ``render/memory.py`` and ``render/cuts.py`` carry the steps out, and a test compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from batch.manifest import values
from batch.manifest.values import shown, suggest
from batch.records.values import Call, Value

TILE_STEP = 32
"""A tile or stride that is not a multiple of this decodes to a wrong shape (AutoencoderDC)."""

BACKENDS = {"bnb8": "bitsandbytes", "bnb4": "bitsandbytes", "torchao_int8": "torchao", "torchao_float8": "torchao"}
"""What ``quantize`` can be told, and the package that does it."""

Changes = Literal["pixels", "low bits", "nothing"]
"""``pixels`` belong to an image's id. ``low bits`` do not, as those of ``batch`` and ``compile`` do not."""

Acts = Literal["load", "pipeline", "texts", "denoise", "decode"]
"""Where a step is carried out: while the model is loaded, on the loaded pipeline, or by the stage that finds it in
a task."""

Arguments = dict[str, Value]
Reader = Callable[[tuple[Value, ...], Arguments], Arguments]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One way to save memory."""

    about: str
    changes: Changes
    read: Reader
    acts: Acts = "pipeline"
    only: Literal["", "staged", "guidance", "sana"] = ""
    """Pipelines that can take it: called in parts, with two images of guidance in a call, or SANA's; "": any."""
    note: str = ""
    """What a plan says where it is asked for."""

    @property
    def changes_pixels(self) -> bool:
        """Whether it is part of what a picture is."""
        return self.changes == "pixels"


class Tiling(NamedTuple):
    """The arguments of ``vae_tiling``, in pixels."""

    tile_height: int
    tile_width: int
    stride_height: int
    stride_width: int

    @property
    def pixels(self) -> int:
        """Of one tile."""
        return self.tile_height * self.tile_width


class Groups(NamedTuple):
    """The arguments of ``group_offload``."""

    level: str
    """``leaf`` or ``block``."""
    stream: bool
    blocks: int = 0
    """Of ``block``: how many move together."""


def tiling_of(step: Call) -> Tiling:
    """The arguments of a ``vae_tiling``."""
    return Tiling(**cast("dict[str, int]", dict(step.arguments)))


def groups_of(step: Call) -> Groups:
    """The arguments of a ``group_offload``."""
    given = dict(step.arguments)
    return Groups(str(given["level"]), bool(given["stream"]), cast("int", given.get("blocks", 0)))


def _no_arguments(positional: tuple[Value, ...], named: Arguments) -> Arguments:
    if positional or named:
        raise ValueError("takes no arguments")
    return {}


def _tiling(positional: tuple[Value, ...], named: Arguments) -> Arguments:
    """Tile and stride in pixels; AutoencoderDC keeps old values for those that are left out."""
    keys = ("tile_height", "tile_width", "stride_height", "stride_width")
    if len(positional) == 2 and not named:
        positional = (positional[0], positional[0], positional[1], positional[1])
    given = dict(zip(keys, positional, strict=False)) | named
    if len(positional) not in (0, 4) or set(given) != set(keys) or (positional and named):
        raise ValueError(
            "takes tile and stride, vae_tiling(1024, 896), or all of "
            "vae_tiling(tile_height=, tile_width=, stride_height=, stride_width=)"
        )
    checked = {key: values.whole(given[key], TILE_STEP, values.MAX_SIDE) for key in keys}
    for side in ("height", "width"):
        tile, stride = checked[f"tile_{side}"], checked[f"stride_{side}"]
        if tile % TILE_STEP or stride % TILE_STEP:
            raise ValueError(f"tile and stride are multiples of {TILE_STEP}, not {tile}/{stride}")
        if stride > tile:
            raise ValueError(f"the stride {stride} is larger than the tile {tile}: the picture would have gaps")
    return dict(checked)


def _groups(positional: tuple[Value, ...], named: Arguments) -> Arguments:
    """``leaf``, or ``block`` and how many move together; all of it spelled out, so that equal ones are equal."""
    given = dict(zip(("level", "blocks"), positional, strict=False)) | named
    level, blocks, stream = given.pop("level", "block"), given.pop("blocks", None), given.pop("stream", True)
    if len(positional) > 2 or given or level not in ("leaf", "block") or not isinstance(stream, bool):
        raise ValueError("takes leaf, or block and a number, and stream=true or false: group_offload(block, 1)")
    if level == "leaf":
        if blocks is not None:
            raise ValueError("leaf moves layer by layer and takes no number")
        return {"level": "leaf", "stream": stream}
    blocks = values.whole(1 if blocks is None else blocks, 1, 1000)
    if stream and blocks > 1:
        raise ValueError(
            f"with a stream one block moves while another works; write group_offload(block, 1), or "
            f"group_offload(block, {blocks}, stream=false)"
        )
    return {"level": "block", "blocks": blocks, "stream": stream}


def _backend(positional: tuple[Value, ...], named: Arguments) -> Arguments:
    given = dict(zip(("to",), positional, strict=False)) | named
    if len(positional) > 1 or set(given) != {"to"} or given["to"] not in BACKENDS:
        raise ValueError(f"takes one of {', '.join(BACKENDS)}: quantize(bnb8)")
    return given


STEPS: dict[str, Step] = {
    "encode_first": Step(
        about="texts first, then their encoder is freed: always on where a pipeline is called in parts",
        changes="nothing",
        read=_no_arguments,
        acts="texts",
        only="staged",
    ),
    "text_encoder_cpu": Step(
        about="texts encoded on the CPU: slow once for each text, and nothing on the device",
        changes="low bits",
        read=_no_arguments,
        acts="texts",
        only="staged",
    ),
    "text_encoder_offload": Step(
        about="texts encoded on the device with only the layer at work there, the next one coming meanwhile",
        changes="nothing",
        read=_no_arguments,
        acts="texts",
        only="staged",
    ),
    "vae_tiling": Step(
        about="decode in overlapping tiles: vae_tiling(tile, stride) in pixels",
        changes="pixels",
        read=_tiling,
    ),
    "vae_slicing": Step(
        about="decode images of a batch one by one: does nothing here, where that is always so",
        changes="nothing",
        read=_no_arguments,
        note="vae_slicing saves nothing: one image is decoded at a time whatever the setting",
    ),
    "vae_cpu": Step(
        about="decode on the CPU in float32; slow, needs no memory on the device",
        changes="pixels",
        read=_no_arguments,
        acts="decode",
        only="staged",
    ),
    "split_guidance": Step(
        about="the two halves of guidance one after the other: half the activations of denoising",
        changes="low bits",
        read=_no_arguments,
        acts="denoise",
        only="guidance",
    ),
    "chunked_ff": Step(
        about="SANA's feed-forward in bands of rows: its activations, the largest of denoising, a band at a time",
        changes="low bits",
        read=_no_arguments,
        acts="denoise",
        only="sana",
    ),
    "model_cpu_offload": Step(
        about="keep only the component at work on the device, the others in host memory",
        changes="nothing",
        read=_no_arguments,
    ),
    "group_offload": Step(
        about="keep only the blocks (or layers: leaf) at work on the device, the next ones coming meanwhile: "
        "group_offload(block, 1), group_offload(leaf), group_offload(block, 4, stream=false)",
        changes="nothing",
        read=_groups,
    ),
    "sequential_cpu_offload": Step(
        about="keep only the layer at work on the device; the smallest and by far the slowest",
        changes="nothing",
        read=_no_arguments,
    ),
    "fp8_weights": Step(
        about="the denoiser's weights stored in 8 bits (float8_e4m3fn) and widened layer by layer at work",
        changes="pixels",
        read=_no_arguments,
    ),
    "quantize": Step(
        about="the denoiser's linear layers quantised: quantize(bnb8), quantize(bnb4), quantize(torchao_int8), "
        "quantize(torchao_float8); of SANA's transformer 47 % are convolutions and stay",
        changes="pixels",
        read=_backend,
        acts="load",
    ),
}

OFFLOADS = ("model_cpu_offload", "group_offload", "sequential_cpu_offload")
"""Ways to keep weights in host memory, from the fastest to the smallest."""

TEXTS = frozenset({"text_encoder_cpu", "text_encoder_offload", "group_offload", "sequential_cpu_offload"})
"""Steps that decide how texts are encoded. A text encoder is alone on the device, so that moving whole components
does nothing to it."""

TEXTS_OFFLOADED = TEXTS - {"text_encoder_cpu"}
"""Of these the ones that keep a text encoder in host memory and have parts of it on the device."""

LAYERWISE = frozenset({"group_offload", "sequential_cpu_offload", "fp8_weights"})
"""Steps that do something before and after every layer, which a compiled block has no place for."""

CUTS = frozenset(name for name, step in STEPS.items() if step.acts == "denoise")
"""Steps that change what denoising does at a time."""

ELSEWHERE = frozenset(name for name, step in STEPS.items() if step.acts in ("load", "texts", "denoise"))
"""Steps to which no loaded pipeline is set: they act while it is loaded, texts are encoded or images denoised."""

_ONE_OFFLOAD = "only one way of offloading can be active, and in diffusers the last call would win in silence"
_TEXTS_TOO = "it moves the layers of text encoders already"
_MOVED = "quantised weights are not known to come through being moved layer by layer"

CLASHES: Mapping[frozenset[str], str] = {
    frozenset({"model_cpu_offload", "sequential_cpu_offload"}): _ONE_OFFLOAD,
    frozenset({"model_cpu_offload", "group_offload"}): _ONE_OFFLOAD,
    frozenset({"group_offload", "sequential_cpu_offload"}): _ONE_OFFLOAD,
    frozenset({"text_encoder_cpu", "text_encoder_offload"}): "texts are encoded on the CPU or on the device",
    frozenset({"text_encoder_offload", "group_offload"}): _TEXTS_TOO,
    frozenset({"text_encoder_offload", "sequential_cpu_offload"}): _TEXTS_TOO,
    frozenset({"fp8_weights", "quantize"}): "both store the same weights, each in its own way",
    frozenset({"quantize", "group_offload"}): _MOVED,
    frozenset({"quantize", "sequential_cpu_offload"}): _MOVED,
}
"""Pairs that cannot be used together, and why."""


def excludes(name: str) -> dict[str, str]:
    """The steps that one does not go with, in the table's order, and why."""
    return {
        other: CLASHES[pair] for other in STEPS if (pair := frozenset({name, other})) in CLASHES and other != name
    }


def no_step(name: str, also: tuple[str, ...]) -> str:
    """What is said of a name that is no step."""
    return f"{shown(name)} is no memory setting; {suggest(name, [*also, *STEPS])}"
