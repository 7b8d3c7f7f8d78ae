"""Shards at work in one folder, told as one run to whoever follows it by the page."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batch.records.live import TOLD_FIRST, LiveStatus, RunState, counted
from batch.store import live, lock, shards

if TYPE_CHECKING:
    from batch.records.shard import Shard
    from batch.records.tasks import Task
    from batch.store.folder import RunFolder
    from batch.store.receipts import Scan

SILENT_S = 15.0
"""Of one that has said nothing for so long it is asked whether it still holds its lock."""


@dataclass(slots=True)
class Parts:
    """What a divided folder held of each part when a shard began there, and which of them are heard of since."""

    shard: Shard
    whole: int
    """Images of all parts."""
    done: Mapping[int, int]
    """Images that were there, by the number of their part."""
    failed: Mapping[int, int]
    """Images that had failed, likewise."""
    _said: dict[int, float] = field(default_factory=dict)
    """When each has written last, by its own clock, which may be another than the one here."""
    _heard: dict[int, float] = field(default_factory=dict)
    """When something new was last heard of it, by the one here."""

    @classmethod
    def of(cls, tasks: Sequence[Task], shard: Shard, scan: Scan) -> Parts:
        """By the plan of all ``tasks``."""
        number = {task.id: place % shard.of + 1 for place, task in enumerate(tasks)}
        done = Counter(part for key, part in number.items() if key in scan.receipts)
        failed = Counter(part for key, part in number.items() if key in scan.failures and key not in scan.receipts)
        return cls(shard, len(tasks), done, failed)

    def speaks(self, number: int, told: LiveStatus) -> bool:
        """Whether a part has said something new a moment ago."""
        now, before = time.monotonic(), self._said.get(number)
        self._said[number] = told.updated
        if before not in (None, told.updated):
            self._heard[number] = now
        return now - self._heard.get(number, float("-inf")) < SILENT_S


def together(folder: RunFolder, mine: LiveStatus, parts: Parts) -> LiveStatus:
    """One status for all shards of a folder, by the one that keeps its reports: ``mine``."""
    there: dict[int, LiveStatus] = {}
    for shard, state in shards.states(folder.state):
        if shard.of != parts.shard.of or shard == parts.shard or (found := live.read(state)) is None:
            continue
        if found.state != RunState.ENDED and not parts.speaks(shard.number, found) and lock.holder(state) is None:
            found = replace(found, state=RunState.ENDED)  # it was killed
        there[shard.number] = found
    told = merged(mine, there.values(), parts.whole)
    silent = [
        number for number in range(1, parts.shard.of + 1) if number not in there and number != parts.shard.number
    ]
    return replace(
        told,
        done=told.done + sum(parts.done.get(number, 0) for number in silent),
        failed=told.failed + sum(parts.failed.get(number, 0) for number in silent),
    )


def merged(mine: LiveStatus, others: Iterable[LiveStatus], whole: int) -> LiveStatus:
    """Of those that have begun: what is over tells of its images alone."""
    known = [mine, *others]
    alive, now = [item for item in known if item.state != RunState.ENDED], time.time()
    # By the time from when it was said: the clocks of two hosts may differ.
    end_s = _latest(alive, lambda item: None if item.ends_at is None else item.ends_at - item.updated)
    return replace(
        mine,
        state=next((state for state in TOLD_FIRST if any(item.state == state for item in alive)), RunState.ENDED),
        updated=now,
        image="",
        stage=None,
        part=0,
        parts=0,
        image_left_s=None,
        total=whole,
        done=sum(item.done for item in known),
        failed=sum(item.failed for item in known),
        to_render=sum(item.to_render for item in known),
        per_hour=sum(rates) if (rates := [item.per_hour for item in alive if item.per_hour]) else None,
        rest_s=_latest(alive, lambda item: item.rest_s),
        ends_at=None if end_s is None else now + end_s,
        resumed_s=None,
        ends_by="",
        ends_with=None,
        said=counted(known) if alive else mine.said,
        seats=(),
        options=(),
    )


def _latest(alive: Iterable[LiveStatus], of: Callable[[LiveStatus], float | None]) -> float | None:
    """Of the last one to end."""
    return max((value for item in alive if (value := of(item)) is not None), default=None)
