"""What images took in earlier runs on this machine: one small JSON file in the user's cache folder.

A cache: it may be deleted at any time, and what is damaged counts as not there; so does what earlier versions
kept, which did not say under which memory setting it was learned. Two runs that end in the same second may lose
one's lines; the next run writes them again.
"""

from __future__ import annotations

import json
import math
import platform
import statistics
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from batch.base import atomic
from batch.base.cache import default_folder
from batch.base.text import timestamp
from batch.plan.rates import CostFamily, CostKind, CostPart, Rates
from batch.records.reading import to_json
from batch.records.receipts import Machine
from batch.store import files

SCHEMA = 2

KEPT_RUNS = 9
"""Medians of so many runs are kept of each kind: one odd run does not decide."""

KEPT_ENTRIES = 1500
"""About nine of each model, size and memory setting: one for every part of an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Medians:
    """One part of one kind of image on one device: the medians of the last runs, newest last."""

    host: str
    device: str
    part: str
    model: str
    revision: str
    dtype: str
    memory: str = ""
    form: str = ""
    first: bool = False
    pixels: int = 0
    passes: int = 0
    steps: int = 0
    how: str = ""
    values: tuple[float, ...]
    """Seconds, or bytes: see :class:`batch.plan.rates.CostPart`."""
    date: str
    """UTC, of the last run."""

    @property
    def key(self) -> Medians:
        """What makes two entries the same."""
        return replace(self, values=(), date="")

    @property
    def is_sound(self) -> bool:
        """Whether it can be believed."""
        known, counts = self.part in set(CostPart), (self.pixels, self.passes, self.steps)
        sound = bool(self.values) and all(math.isfinite(x) and 0 <= x < 1e6 for x in self.values)
        return known and sound and all(0 <= count < 1e12 for count in counts)

    def followed_by(self, newer: Medians) -> Medians:
        """With the medians of a newer run of the same kind; only the last runs are kept."""
        return replace(newer, values=(*self.values, *newer.values)[-KEPT_RUNS:])

    @property
    def place(self) -> tuple[CostFamily, CostKind]:
        """Where :class:`batch.plan.rates.Rates` has it."""
        family = CostFamily(
            part=CostPart(self.part), model=self.model, revision=self.revision, dtype=self.dtype,
            memory=self.memory,
            form=self.form, first=self.first,
        )  # fmt: skip
        return family, CostKind(pixels=self.pixels, passes=self.passes, steps=self.steps, how=self.how)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything known from earlier runs."""

    schema: int = SCHEMA
    entries: tuple[Medians, ...] = ()

    def learned(self, host: str = "", device: str = "") -> Rates:
        """What was learned on a host (this one by default) and a device; on any where none is named."""
        host = host or platform.node()
        rates = Rates(machine=Machine(host=host, device=device))
        for item in sorted(self.entries, key=lambda item: item.date):
            if item.host == host and device in ("", item.device):
                rates.put(*item.place, statistics.median(item.values))
        return rates


def path() -> Path:
    """Where it lies."""
    return default_folder() / "history.json"


def read() -> History:
    """What is there; nothing where the file is missing or damaged. A value: read once, it can be passed on."""
    try:
        found = files.read(History, path())
    except files.UNREADABLE:
        return History()
    if found.schema != SCHEMA:
        return History()
    return History(entries=tuple(item for item in found.entries if item.is_sound))


def record(rates: Rates) -> None:
    """Add what one run has learned. Never fails: what cannot be kept is not known next time."""
    if not rates.machine.host:  # no image was made
        return
    entries = {entry.key: entry for entry in read().entries}
    for new in _entries(rates, timestamp()):
        old = entries.get(new.key)
        entries[new.key] = new if old is None else old.followed_by(new)
    newest = sorted(entries.values(), key=lambda item: item.date)[-KEPT_ENTRIES:]
    data = to_json(History(entries=tuple(newest)))
    with suppress(OSError):
        atomic.write(path(), json.dumps(data, indent=1).encode())


def _entries(rates: Rates, date: str) -> Iterator[Medians]:
    for family, kinds in rates.values.items():
        for kind, values in kinds.items():
            yield Medians(
                host=rates.machine.host, device=rates.machine.device, part=family.part.value, model=family.model,
                revision=family.revision, dtype=family.dtype, memory=family.memory, form=family.form,
                first=family.first, pixels=kind.pixels, passes=kind.passes, steps=kind.steps, how=kind.how,
                values=(statistics.median(values),), date=date,
            )  # fmt: skip
