"""The table of memory steps and profiles: what each does, whether it changes pixels, what it excludes.

Data only; ``render/memory.py`` carries the steps out, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from batch.manifest import values
from batch.manifest.values import Size, shown
from batch.records import Call, Value

TILE_STEP = 32
"""A tile or stride that is not a multiple of this decodes to a wrong shape (AutoencoderDC)."""

AUTO_TILE = (1024, 896)
"""128 pixels of blend; the smaller 512/448 of diffusers' default shows tone steps in skies at 4K."""

AUTO_TILE_ABOVE = 1280 * 1024
"""Pixels above which ``auto`` tiles. A function of the size alone, never of the card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One way to save memory."""

    about: str
    changes_pixels: bool
    read: Callable[[tuple[Value, ...], dict[str, Value]], dict[str, Value]]
    excludes: frozenset[str] = frozenset()


def _no_arguments(positional: tuple[Value, ...], named: dict[str, Value]) -> dict[str, Value]:
    if positional or named:
        raise ValueError("takes no arguments")
    return {}


def _tiling(positional: tuple[Value, ...], named: dict[str, Value]) -> dict[str, Value]:
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
    checked = {key: values.whole(given[key], TILE_STEP, 65_536) for key in keys}
    for side in ("height", "width"):
        tile, stride = checked[f"tile_{side}"], checked[f"stride_{side}"]
        if tile % TILE_STEP or stride % TILE_STEP:
            raise ValueError(f"tile and stride are multiples of {TILE_STEP}, not {tile}/{stride}")
        if stride > tile:
            raise ValueError(f"the stride {stride} is larger than the tile {tile}: the picture would have gaps")
    return dict(checked)


STEPS: dict[str, Step] = {
    "vae_tiling": Step(
        about="decode in overlapping tiles: vae_tiling(tile, stride) in pixels",
        changes_pixels=True,
        read=_tiling,
    ),
    "model_cpu_offload": Step(
        about="keep only the component at work on the device, the others in host memory",
        changes_pixels=False,
        read=_no_arguments,
    ),
    "sequential_cpu_offload": Step(
        about="keep only the layer at work on the device; the smallest and by far the slowest",
        changes_pixels=False,
        read=_no_arguments,
        excludes=frozenset({"model_cpu_offload"}),
    ),
    "vae_cpu": Step(
        about="decode on the CPU in float32; slow, needs no memory on the device",
        changes_pixels=True,
        read=_no_arguments,
    ),
}

PROFILES: dict[str, str] = {
    "auto": "tiles above 1.3 megapixels; offloads only where the card needs it",
    "full": "everything on the device, untiled",
    "tiled": "everything on the device, decoded in tiles of 1024 (stride 896)",
    "model-offload": "as tiled, with the component at work on the device only",
}

_PROFILE_STEPS = {
    "full": (),
    "tiled": ("vae_tiling(1024, 896)",),
    "model-offload": ("vae_tiling(1024, 896)", "model_cpu_offload"),
}


def resolve(setting: str, size: Size) -> tuple[Call, ...]:
    """The steps a memory setting stands for at one size.

    ``auto`` gives its tiling here; whether it offloads is the card's matter and decided by the session.
    Raises ``ValueError`` for an unknown name, wrong arguments, or steps that exclude each other.
    """
    steps: list[Call] = []
    for part in setting.split("+"):
        steps.extend(_resolve_one(part.strip(), size))
    names = [step.name for step in steps]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"memory setting {shown(setting)} names {name} more than once")
        clash = STEPS[name].excludes.intersection(names)
        if clash:
            raise ValueError(f"{name} and {min(clash)} cannot be used together")
    return tuple(steps)


def _resolve_one(part: str, size: Size) -> list[Call]:
    name, positional, named = values.call(part)
    if name in PROFILES:
        if positional or named:
            raise ValueError(f"the memory profile {name} takes no arguments")
        if name == "auto":
            return [tiling(*AUTO_TILE)] if size.width * size.height > AUTO_TILE_ABOVE else []
        return [step for item in _PROFILE_STEPS[name] for step in _resolve_one(item, size)]
    if name not in STEPS:
        raise ValueError(f"{shown(name)} is no memory setting; possible are {', '.join([*PROFILES, *STEPS])}")
    try:
        arguments = STEPS[name].read(positional, dict(named))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return [Call(name=name, arguments=tuple(sorted(arguments.items())))]


def tiling(tile: int, stride: int) -> Call:
    """The tiling step with square tiles."""
    arguments = {"tile_height": tile, "tile_width": tile, "stride_height": stride, "stride_width": stride}
    return Call(name="vae_tiling", arguments=tuple(sorted(arguments.items())))


def shown_steps(steps: tuple[Call, ...]) -> str:
    """Steps as a user would write them: ``vae_tiling(512, 448) + model_cpu_offload``; ``full`` for none."""
    return " + ".join(_shown_step(step) for step in steps) or "full"


def _shown_step(step: Call) -> str:
    arguments: dict[str, Any] = dict(step.arguments)
    if step.name == "vae_tiling":
        tile, stride = arguments["tile_height"], arguments["stride_height"]
        if step == tiling(tile, stride):
            return f"vae_tiling({tile}, {stride})"
    return str(step)


def pixel_steps(steps: tuple[Call, ...], size: Size) -> tuple[Call, ...]:
    """The steps that decide pixels at this size: they belong to a task's identity.

    Tiling does nothing to a picture that fits into one tile, so it does not count there.
    """
    return tuple(step for step in steps if STEPS[step.name].changes_pixels and acts(step, size))


def acts(step: Call, size: Size) -> bool:
    """Whether a step does anything to a picture of this size: tiling does nothing where one tile covers it."""
    arguments: dict[str, Any] = dict(step.arguments)
    if step.name != "vae_tiling":
        return True
    return bool(size.width > arguments["tile_width"] or size.height > arguments["tile_height"])
