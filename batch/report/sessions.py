"""When a run was at work: it may have been begun many times, stopped, killed and paused."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING

from batch.records.kinds import RESTS, HappeningKind
from batch.records.receipts import Failure, Measurement, Receipt, StagePeak
from batch.store import events

if TYPE_CHECKING:
    from batch.store.events import LogEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """When work went into an image that the plan no longer has: seconds since 1970, and seconds."""

    at: float
    load_s: float
    encode_s: float
    denoise_s: float
    """Of a pipeline that is called whole, the call."""
    decode_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSession:
    """One start of a run and what came of it. Times are seconds since 1970, the others seconds."""

    began: float
    ended: float
    """Where nothing tells of its end (it goes on, or was killed): its last sign of life."""
    end: str = ""
    """The kind of event that it ended with; "" where there is none."""
    pauses: tuple[tuple[float, float], ...] = ()
    devices: int = 1
    """The most that were at work at once: the seconds of images are those of all of them."""
    images: int = 0
    """Done, as their receipts stand: one that was rendered again later counts there."""
    failed: int = 0
    load_s: float = 0.0
    encode_s: float = 0.0
    denoise_s: float = 0.0
    """Of a pipeline that is called whole, the call."""
    decode_s: float = 0.0
    save_s: float = 0.0
    gone: tuple[Gone, ...] = ()
    """Of its images those that the page does not list: they were work all the same."""


def sessions(
    history: Sequence[LogEntry], records: Iterable[Receipt | Failure], planned: Collection[str]
) -> list[RunSession]:
    """The starts of a run in order, each with the images that were begun in it; ``planned`` are ids.

    What was begun before the history begins, which is cut where it is long, is one session of its own.
    """
    timed = sorted(((at, record) for record in records if (at := moment(record.started_at)) is not None), key=_at)
    starts = [index for index, event in enumerate(history) if event.kind == HappeningKind.STARTED]
    logs = [history[first:after] for first, after in pairwise([*starts, len(history)])]
    begins = [moment(log[0].time) or 0.0 for log in logs]
    groups: list[list[tuple[float, Receipt | Failure]]] = [[] for _ in range(len(logs) + 1)]
    for item in timed:
        groups[bisect_right(begins, item[0])].append(item)
    before, *told = groups
    found = [_session([], before, planned)] if before else []
    found += [_session(log, group, planned) for log, group in zip(logs, told, strict=True)]
    return [_until(item, later) for item, later in zip_longest(found, found[1:])]


def moment(time: str) -> float | None:
    """A time of a record, in seconds since 1970; None where it is none."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except (ValueError, OverflowError, OSError):  # what somebody wrote there
        return None


def _at(item: tuple[float, Receipt | Failure]) -> float:
    return item[0]


def _session(
    log: Sequence[LogEntry], begun: Sequence[tuple[float, Receipt | Failure]], planned: Collection[str]
) -> RunSession:
    costs = [record.measurement for _, record in begun]
    signs = [moment(event.time) or 0.0 for event in log]
    signs += [sign for at, record in begun for sign in (at, at + _seconds(record.measurement))]
    last = next((event for event in log if event.kind in events.ENDS), None)
    ended = moment(last.time) if last else None
    began = moment(log[0].time) if log else None
    done = sum(isinstance(record, Receipt) for _, record in begun)
    session = RunSession(
        began=min(signs) if began is None else began,
        ended=max(signs) if ended is None else ended,
        end=last.kind if last else "",
        devices=events.devices(log),
        images=done,
        failed=len(begun) - done,
        load_s=math.fsum(cost.load_s or 0.0 for cost in costs),
        encode_s=math.fsum(_taken(cost.encode) for cost in costs),
        denoise_s=math.fsum(_taken(cost.denoise, cost.whole) for cost in costs),
        decode_s=math.fsum(_taken(cost.decode) for cost in costs),
        save_s=math.fsum(cost.save_s or 0.0 for cost in costs),
        gone=tuple(_gone(at, record.measurement) for at, record in begun if record.task.id not in planned),
    )
    return replace(session, pauses=tuple(_pauses(log, session.ended)))


def _gone(at: float, cost: Measurement) -> Gone:
    return Gone(
        at=at,
        load_s=cost.load_s or 0.0,
        encode_s=_taken(cost.encode),
        denoise_s=_taken(cost.denoise, cost.whole),
        decode_s=_taken(cost.decode),
    )


def _taken(*stages: StagePeak | None) -> float:
    return math.fsum(stage.seconds for stage in stages if stage)


def _seconds(cost: Measurement) -> float:
    return cost.total_s + (cost.load_s or 0.0)


def _pauses(log: Sequence[LogEntry], ended: float) -> Iterator[tuple[float, float]]:
    """From when to when it rested; to its end where it did not go on."""
    since: float | None = None
    for event in log:
        rests = {kind.value: value for kind, value in RESTS.items()}.get(event.kind)
        at = moment(event.time)
        if rests and since is None:
            since = at
        elif rests is False and since is not None and at is not None:
            yield since, at
            since = None
    if since is not None:
        yield since, max(since, ended)


def _until(session: RunSession, later: RunSession | None) -> RunSession:
    """None ends after the next has begun, whatever the clocks said."""
    end = max(session.began, session.ended if later is None else min(session.ended, later.began))
    return replace(session, ended=end)
