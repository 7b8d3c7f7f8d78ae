"""What a plan says of a model's files: a scheduler that is not what is right, and what is not on this machine."""

from __future__ import annotations

from pathlib import Path

from batch.base import disk
from batch.catalogue.model import Model
from batch.hub import folders
from batch.hub.cache import hub_cache


def of_scheduler(known: Model, folder: Path | None) -> tuple[str, ...]:
    """Where a checkpoint's scheduler is not what the catalogue knows to be right."""
    path = folder / "scheduler" / "scheduler_config.json" if folder is not None else None
    told = "scheduler" in known.overrides  # then that is what is at work
    if path is None or not path.is_file() or known.flow_shift is None or told:
        return ()
    config = folders.json_of(path)
    shift = config.get("flow_shift", config.get("shift"))
    if not isinstance(shift, int | float) or shift == known.flow_shift:
        return ()
    setting = "flow_shift" if "flow_shift" in config else "shift"
    right = f"default({setting}={known.flow_shift:g})"
    return (
        f"its scheduler came with {setting} {shift:g}, {known.flow_shift:g} is right; write scheduler: {right}",
    )


def of_absence(known: Model, folder: Path | None, held: frozenset[str]) -> tuple[str, ...]:
    """What a plan says of a model that must be downloaded: that it was begun, or that there is no room.

    The weights of ``held`` components lie elsewhere.
    """
    place = hub_cache()
    if folder is not None and folder.is_dir() and not folders.whole(folder, known.dtype, known.variant, held):
        return (f"only a part of it is in {place}; `fetch` downloads the rest",)
    if folder is not None and not folder.is_dir():
        return (f"it is not in {place}, where models lie now; `fetch` downloads it again",)
    room = disk.free(place)
    if folder is None and not held and known.download_gb and room is not None and room < known.download_gb * 10**9:
        return (
            f"about {known.download_gb:g} GB are to be downloaded into {place}, "
            f"which has {room / 10**9:.1f} GB free",
        )
    return ()
