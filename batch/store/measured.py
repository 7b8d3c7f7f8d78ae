"""What a measurement's folder keeps beside its receipts: whose card it is, and what was not tried and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from batch.base.errors import ForeignFolder
from batch.records.reading import to_json
from batch.records.receipts import Machine
from batch.store import files

MACHINE, SKIPPED = "machine.json", "skipped.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    device: str
    vram_limit: int | None = None

    def __str__(self) -> str:
        held = "" if self.vram_limit is None else f" held to {self.vram_limit / 2**30:g} GiB"
        return f"{self.device or 'an unknown card'}{held}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Skipped:
    skipped: Mapping[str, str] = field(default_factory=dict)
    schema: int = 1


def claim(state: Path, machine: Machine, runner: str, *, empty: Callable[[], bool]) -> None:
    """Make the folder this card's; ``empty`` says whether nothing is measured in it yet.

    Raises :class:`ForeignFolder` where it belongs to another kind of card, or to one held to another limit.
    """
    owner, ours = None, _Card(device=machine.device, vram_limit=machine.vram_limit)
    with suppress(*files.UNREADABLE):
        owner = files.read(_Card, state / MACHINE)
    if owner == ours:
        return
    if owner and not empty():
        raise ForeignFolder(
            f"{state.parent} holds what was measured on {owner}, and this is {ours}: a folder of "
            "measurements is for one card. Choose another with --out; `compare` shows both"
        )
    files.write(state / MACHINE, to_json(ours), runner)


def keep_skipped(state: Path, skipped: Mapping[str, str], runner: str) -> None:
    """Keep why tasks, by their id, are not tried; in place of what was kept before."""
    if skipped or (state / SKIPPED).exists():
        files.write(state / SKIPPED, to_json(_Skipped(skipped=skipped)), runner)


def skipped(state: Path) -> dict[str, str]:
    """Why tasks are not tried, by id. Damaged content counts as empty: the next run works it out again."""
    try:
        return dict(files.read(_Skipped, state / SKIPPED).skipped)
    except files.UNREADABLE:
        return {}
