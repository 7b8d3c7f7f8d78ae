"""What images took in earlier runs on this machine: one small JSON file in the user's cache folder.

A cache: it may be deleted at any time, and what is damaged counts as not there. Two runs that end in the
same second may lose one's line; the next run writes it again.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import atomic
from batch.base.cache import default_folder
from batch.base.text import timestamp
from batch.plan.estimate import learn, medians
from batch.records.reading import to_json
from batch.records.receipts import Receipt
from batch.store import files

if TYPE_CHECKING:
    from batch.plan.alike import RateKey
    from batch.plan.estimate import Learned

KEPT_RUNS = 9
"""Medians of so many runs are kept of each kind: one odd run does not decide."""

KEPT_ENTRIES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Medians:
    """One kind of image on one device: the medians of the last runs, newest last."""

    host: str
    device: str
    model: str
    dtype: str
    format: str
    seconds: tuple[float, ...]
    """Per unit of :func:`batch.plan.estimate.cost`."""
    bytes_per_pixel: tuple[float, ...]
    date: str
    """UTC, of the last run."""

    @property
    def key(self) -> tuple[str, ...]:
        """What makes two entries the same."""
        return (self.host, self.device, self.model, self.dtype, self.format)

    @property
    def is_sound(self) -> bool:
        """Whether its numbers can be believed."""
        return bool(self.bytes_per_pixel) and all(0 < x < 1e6 for x in (*self.bytes_per_pixel, *self.seconds))

    def followed_by(self, newer: Medians) -> Medians:
        """With the medians of a newer run of the same kind; only the last runs are kept."""
        return replace(
            newer,
            seconds=(*self.seconds, *newer.seconds)[-KEPT_RUNS:],
            bytes_per_pixel=(*self.bytes_per_pixel, *newer.bytes_per_pixel)[-KEPT_RUNS:],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything known from earlier runs."""

    schema: int = 1
    entries: tuple[Medians, ...] = ()

    def learned(self, host: str = "", device: str = "") -> Mapping[RateKey, Learned]:
        """What was learned on a host (this one by default) and device; of several, the one used last."""
        host = host or platform.node()
        chosen = [item for item in self.entries if item.host == host and device in ("", item.device)]
        return {
            (item.model, item.dtype, item.format): medians(item.seconds, item.bytes_per_pixel)
            for item in sorted(chosen, key=lambda item: item.date)
        }


def path() -> Path:
    """Where it lies."""
    return default_folder() / "history.json"


def read() -> History:
    """What is there; nothing where the file is missing or damaged. A value: read once, it can be passed on."""
    try:
        entries = files.read(History, path()).entries
    except files.UNREADABLE:
        return History()
    return History(entries=tuple(item for item in entries if item.is_sound))


def record(receipts: Collection[Receipt]) -> None:
    """Add what the images of one run took. Never fails: what cannot be kept is not known next time."""
    if not receipts:
        return
    entries = {entry.key: entry for entry in read().entries}
    places: dict[tuple[str, str], list[Receipt]] = {}
    for item in receipts:
        places.setdefault((item.machine.host, item.machine.device), []).append(item)
    now = timestamp()
    for (host, device), items in places.items():
        for (model, dtype, form), found in learn(items).items():
            new = Medians(
                host=host, device=device, model=model, dtype=dtype, format=form, date=now,
                seconds=() if found.seconds is None else (found.seconds,),
                bytes_per_pixel=(found.bytes_per_pixel,),
            )  # fmt: skip
            old = entries.get(new.key)
            entries[new.key] = new if old is None else old.followed_by(new)
    newest = sorted(entries.values(), key=lambda item: item.date)[-KEPT_ENTRIES:]
    data = to_json(History(entries=tuple(newest)))
    with suppress(OSError):
        atomic.write(path(), json.dumps(data, indent=1).encode())
