"""What images took in earlier runs on this machine: one small JSON file in the user's cache folder.

A cache: it may be deleted at any time, and what is damaged counts as not there. Two runs that end in the
same second may lose one's line; the next run writes it again.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from batch.base import atomic
from batch.plan.alike import RateKey
from batch.plan.estimate import Learned, learn, medians
from batch.records import Receipt
from batch.store.embeds import default_folder

KEPT_RUNS = 9
"""Medians of so many runs are kept of each kind: one odd run does not decide."""

KEPT_ENTRIES = 500


@checked(frozen=True, slots=True, kw_only=True)
class Entry:
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


_ENTRIES = TypeAdapter(tuple[Entry, ...])


@dataclass(frozen=True, slots=True)
class History:
    """Everything known from earlier runs."""

    entries: tuple[Entry, ...] = ()

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
    """What is there; nothing where the file is missing or damaged."""
    try:
        data = json.loads(path().read_bytes())
        return History(tuple(item for item in _ENTRIES.validate_python(data["entries"]) if _sound(item)))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ValidationError):
        return History()


def _sound(entry: Entry) -> bool:
    return bool(entry.bytes_per_pixel) and all(0 < x < 1e6 for x in (*entry.bytes_per_pixel, *entry.seconds))


def record(receipts: Collection[Receipt]) -> None:
    """Add what the images of one run took. Never fails: what cannot be kept is not known next time."""
    if not receipts:
        return
    entries = {item.key: item for item in read().entries}
    for new in _entries(receipts):
        old = entries.get(new.key)
        entries[new.key] = new if old is None else _merged(old, new)
    newest = sorted(entries.values(), key=lambda item: item.date)[-KEPT_ENTRIES:]
    data: dict[str, Any] = {"schema": 1, "entries": _ENTRIES.dump_python(tuple(newest), mode="json")}
    with suppress(OSError):
        atomic.write(path(), json.dumps(data, indent=1).encode())


def _entries(receipts: Iterable[Receipt]) -> list[Entry]:
    places: dict[tuple[str, str], list[Receipt]] = {}
    for item in receipts:
        places.setdefault((item.machine.host, item.machine.device), []).append(item)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return [
        Entry(
            host=host, device=device, model=model, dtype=dtype, format=form, date=now,
            seconds=() if found.seconds is None else (found.seconds,),
            bytes_per_pixel=(found.bytes_per_pixel,),
        )
        for (host, device), items in places.items()
        for (model, dtype, form), found in learn(items).items()
    ]  # fmt: skip


def _merged(old: Entry, new: Entry) -> Entry:
    return replace(
        new,
        seconds=(*old.seconds, *new.seconds)[-KEPT_RUNS:],
        bytes_per_pixel=(*old.bytes_per_pixel, *new.bytes_per_pixel)[-KEPT_RUNS:],
    )
