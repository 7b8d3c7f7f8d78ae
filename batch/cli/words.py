"""Rates, clocks and stages in words that fit a bar or a line. Pure."""

from __future__ import annotations

from batch.records.kinds import Stage

AT = {
    Stage.LOAD: "loading",
    Stage.ENCODE: "encoding",
    Stage.DENOISE: "denoising",
    Stage.DECODE: "decoding",
    Stage.RENDER: "rendering",
    Stage.SAVE: "saving",
}
PARTS = {Stage.DENOISE: "step", Stage.RENDER: "step", Stage.DECODE: "tile"}
"""What the parts of a stage are called."""

_MEANINGLESS = 100.0
"""So many in a second tell nobody anything."""


def rate(seconds: float, unit: str) -> str:
    """``1.3 s/step``, ``12 steps/s``, of what takes minutes ``17 images/h``; nothing for what takes no time."""
    if seconds >= 60:
        return f"{3600 / seconds:.{1 if seconds > 600 else 0}f} {unit}s/h"
    if seconds * 1.5 > 1:  # no "1 images/s"
        return f"{seconds:.1f} s/{unit}"
    return f"{1 / seconds:.0f} {unit}s/s" if seconds * _MEANINGLESS > 1 else ""


def at_work(stage: Stage | None, part: int, parts: int) -> str:
    """``denoising 7 of 20``."""
    if stage is None:
        return ""
    return f"{AT[stage]} {part} of {parts}" if parts > 1 else AT[stage]
