"""Memory settings: profiles, and what a setting stands for at a size and for a kind of pipeline. Pure.

The steps themselves are in :mod:`batch.memory.steps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batch.catalogue.family import Family
from batch.manifest import values
from batch.manifest.values import Size, shown
from batch.memory.steps import STEPS, Tiling, excludes, groups_of, no_step, tiling_of
from batch.records.values import Call

AUTO_TILE = (1024, 896)
"""Tile and stride: 128 pixels of blend; :data:`SMALL_TILE` shows tone steps in skies at 4K."""

AUTO_TILE_ABOVE = 1280 * 1024
"""Pixels above which ``auto`` tiles. A function of the size alone, never of the card."""

SMALL_TILE = (512, 448)
"""diffusers' default, to which a run falls back where memory runs out."""

AUTO_OFFLOADS = ("model_cpu_offload", "group_offload(block, 1)")
"""What ``auto`` takes on a card that is too small for everything at once, the faster one first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A name for a list of steps. Of them a pipeline takes those that it can."""

    about: str
    steps: tuple[str, ...]
    tiles: bool = False
    """With the tiles of ``auto``, which depend on the size alone."""


def tiled(tile: tuple[int, int]) -> str:
    """The tiling step as users write it."""
    return f"vae_tiling({tile[0]}, {tile[1]})"


_TILED = tiled(AUTO_TILE)

PROFILES: dict[str, Profile] = {
    "auto": Profile(
        about="tiles above 1.3 megapixels; offloads only where the card needs it",
        steps=(),
        tiles=True,
    ),
    "full": Profile(about="everything on the device, untiled", steps=()),
    "tiled": Profile(
        about="everything on the device, decoded in tiles of 1024 (stride 896)",
        steps=(_TILED,),
    ),
    "tutorial": Profile(
        about="what a tutorial of SANA switches on: as sequential-offload, and slicing, which does nothing where "
        "one image is decoded at a time. Of its two offloads only one can be active: as there, the last call wins",
        steps=(_TILED, "vae_slicing", "sequential_cpu_offload"),
    ),
    "model-offload": Profile(
        about="as tiled, with the component at work on the device only",
        steps=(_TILED, "model_cpu_offload"),
    ),
    "group-offload": Profile(
        about="as tiled, with the blocks at work on the device only, the next one coming meanwhile",
        steps=(_TILED, "group_offload(block, 1)"),
    ),
    "sequential-offload": Profile(
        about="as tiled, with the layer at work on the device only: the smallest, and by far the slowest",
        steps=(_TILED, "sequential_cpu_offload"),
    ),
    "8gb": Profile(
        about="SANA 1.6B up to 5376x3072 within 8 GB: everything on the device, guidance in halves",
        steps=("split_guidance",),
        tiles=True,
    ),
    "6gb": Profile(
        about="the same within 6 GB: the component at work on the device only, of text encoders the layer at work",
        steps=("split_guidance", "model_cpu_offload", "text_encoder_offload"),
        tiles=True,
    ),
    "4gb": Profile(
        about="the same within 4 GB: the blocks at work on the device only, texts too",
        steps=("split_guidance", "group_offload(block, 1)"),
        tiles=True,
    ),
}


def lacking(family: Family, *, pag: bool = False) -> dict[str, str]:
    """The steps that tasks of a family cannot take, and why; ``pag``: with perturbed-attention guidance."""
    why = {"staged": "", "guidance": "", "sana": ""}
    if not family.staged:
        why = dict.fromkeys(why, "its pipeline is called whole, so nothing can be done between its stages")
    else:
        if not family.doubles:
            why["guidance"] = "its guidance, if it has any, is not two halves of one call"
        elif pag:
            why["guidance"] = "PAG compares all parts of a call with each other"
        if not family.bands:
            why["sana"] = "only SANA's feed-forward is known to do without its neighbours"
    return {step: why[item.only] for step, item in STEPS.items() if item.only and why[item.only]}


def resolve(setting: str, size: Size, without: Mapping[str, str] | None = None) -> tuple[Call, ...]:
    """The steps a memory setting stands for at one size.

    ``auto`` gives its tiling here; whether it offloads is the card's matter and decided by the session.
    ``without`` names steps that a pipeline cannot take, and why: profiles leave them out. Raises ``ValueError``
    for an unknown name, wrong arguments, steps that exclude each other, or one that is named and cannot be taken.
    """
    without = without or {}
    steps: list[Call] = []
    for part in setting.split("+"):
        name, positional, named = values.call(part.strip())
        if name in without:
            raise ValueError(f"{name} is not possible here: {without[name]}")
        if name not in PROFILES:
            steps.append(step(part.strip()))
            continue
        if positional or named:
            raise ValueError(f"the memory profile {name} takes no arguments")
        profile = PROFILES[name]
        if profile.tiles and size.width * size.height > AUTO_TILE_ABOVE:
            steps.append(tiling(*AUTO_TILE))
        steps.extend(item for text in profile.steps if (item := step(text)).name not in without)
    names = [step.name for step in steps]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"memory setting {shown(setting)} names {name} more than once")
        for other, why in excludes(name).items():
            if other in names:
                raise ValueError(f"{name} and {other} cannot be used together: {why}")
    return tuple(steps)


def step(text: str) -> Call:
    """One step as a manifest names it. Raises ``ValueError`` for an unknown name or wrong arguments."""
    name, positional, named = values.call(text)
    if name not in STEPS:
        raise ValueError(no_step(name, tuple(PROFILES)))
    try:
        arguments = STEPS[name].read(positional, dict(named))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return Call(name=name, arguments=tuple(sorted(arguments.items())))


def notes(steps: tuple[Call, ...]) -> list[str]:
    """What a plan says of steps that do not do what one would expect."""
    return [note for step in steps if (note := STEPS[step.name].note)]


def tiling(tile: int, stride: int) -> Call:
    """The tiling step with square tiles."""
    arguments = Tiling(tile_height=tile, tile_width=tile, stride_height=stride, stride_width=stride)._asdict()
    return Call(name="vae_tiling", arguments=tuple(sorted(arguments.items())))


def shown_steps(steps: tuple[Call, ...]) -> str:
    """Steps as a user would write them: ``vae_tiling(512, 448) + model_cpu_offload``; ``full`` for none."""
    shown: list[str] = []
    for step in steps:
        text = str(step)
        if step.name == "vae_tiling":
            square = (tiling_of(step).tile_height, tiling_of(step).stride_height)
            text = tiled(square) if step == tiling(*square) else text
        elif step.name == "group_offload":
            groups = groups_of(step)
            given = [groups.level, str(groups.blocks or ""), "" if groups.stream else "stream=false"]
            text = f"group_offload({', '.join(filter(None, given))})"
        elif step.name == "quantize":
            text = f"quantize({dict(step.arguments)['to']})"
        shown.append(text)
    return " + ".join(shown) or "full"


def pixel_steps(steps: tuple[Call, ...], size: Size) -> tuple[Call, ...]:
    """The steps that decide pixels at this size: they belong to a task's identity.

    Tiling does nothing to a picture that fits into one tile, so it does not count there.
    """
    return tuple(step for step in steps if STEPS[step.name].changes_pixels and acts(step, size))


def acts(step: Call, size: Size) -> bool:
    """Whether a step does anything to a picture of this size: tiling does nothing where one tile covers it."""
    if step.name != "vae_tiling":
        return True
    tile = tiling_of(step)
    return size.width > tile.tile_width or size.height > tile.tile_height
