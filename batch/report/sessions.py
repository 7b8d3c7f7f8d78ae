"""When a run was at work: it may have been begun many times, stopped, killed and paused."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import accumulate
from typing import TYPE_CHECKING

from batch.records.kinds import RESTS, HappeningKind
from batch.records.receipts import Failure, Measurement, Receipt, StagePeak
from batch.records.shard import Shard
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
    """One start of a run, or of shards side by side, and what came of it.

    Times are seconds since 1970, the others seconds.
    """

    began: float
    ended: float
    """Where nothing tells of its end (it goes on, or was killed): its last sign of life."""
    end: str = ""
    """The kind of event that it ended with; "" where there is none."""
    pauses: tuple[tuple[float, float], ...] = ()
    """When it rested; of shards, when all did."""
    devices: int = 1
    """The most that were at work at once: the seconds of images are those of all of them."""
    device_s: float = 0.0
    """What all devices had for work together: the time of each, without pauses."""
    shards: int = 1
    """So many, at work at the same time, are this one together."""
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


@dataclass(frozen=True, slots=True)
class _Start:
    """One start in the history, of the whole or of a shard, and what is its."""

    at: float
    shard: Shard | None
    log: list[LogEntry]
    begun: list[tuple[float, Receipt | Failure]] = field(default_factory=list)

    def owns(self, place: int | None) -> bool:
        """Whether it renders the image of that number in the plan; None: the plan has it no more."""
        return self.shard is None or place is None or place % self.shard.of == self.shard.number - 1

    def ends_before(self, other: _Start) -> bool:
        """Whether it was over when a later one began: only shards of one division run side by side."""
        if self.shard is None or other.shard is None:
            return True
        return self.shard.of != other.shard.of or self.shard == other.shard


def sessions(
    history: Sequence[LogEntry], records: Iterable[Receipt | Failure], planned: Collection[str]
) -> list[RunSession]:
    """The starts of a run in order, each with the images that were begun in it; ``planned`` are ids, as planned.

    What was begun before the history begins, which is cut where it is long, is one session of its own. Shards
    that were at work at the same time are one session together.
    """
    starts = list(_starts(history))
    before = _shared_out(starts, records, {key: number for number, key in enumerate(planned)})
    groups: list[list[tuple[_Start | None, RunSession]]] = []
    if before:
        groups.append([(None, _until(_session([], before, planned), starts[0].at if starts else None))])
    for index, start in enumerate(starts):
        later = next((other.at for other in starts[index + 1 :] if start.ends_before(other)), None)
        found = _until(_session(start.log, start.begun, planned), later)
        if groups and _is_beside(start, found, groups[-1]):
            groups[-1].append((start, found))
        else:
            groups.append([(start, found)])
    return [_together(group) for group in groups]


def _starts(history: Sequence[LogEntry]) -> Iterator[_Start]:
    """Each with what was logged until the next one of the same shard; what is older than all is left out."""
    going_on: dict[str, _Start] = {}
    for event in history:
        if event.kind == HappeningKind.STARTED:
            start = _Start(moment(event.time) or 0.0, _shard(event.shard), [event])
            going_on[event.shard] = start
            yield start
        elif event.shard in going_on:
            going_on[event.shard].log.append(event)


def _shard(text: str) -> Shard | None:
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    shard = Shard(int(found[1]), int(found[2])) if found else None
    return shard if shard is not None and 1 <= shard.number <= shard.of else None


def _shared_out(
    starts: Sequence[_Start], records: Iterable[Receipt | Failure], place: Mapping[str, int]
) -> list[tuple[float, Receipt | Failure]]:
    """Give each start what was begun in it; returns what was begun before all. ``place`` is that in the plan."""
    begins = [start.at for start in starts]
    before: list[tuple[float, Receipt | Failure]] = []
    timed = ((at, record) for record in records if (at := moment(record.started_at)) is not None)
    for at, record in sorted(timed, key=_at):
        earlier = reversed(starts[: bisect_right(begins, at)])
        owner = next((start for start in earlier if start.owns(place.get(record.task.id))), None)
        (before if owner is None else owner.begun).append((at, record))
    return before


def _is_beside(start: _Start, found: RunSession, group: Sequence[tuple[_Start | None, RunSession]]) -> bool:
    """Whether a shard was at work together with some of these."""
    return found.began < max(run.ended for _, run in group) and not any(
        other is None or other.shard is None or start.shard is None for other, _ in group
    )


def _together(group: Sequence[tuple[_Start | None, RunSession]]) -> RunSession:
    """One session of those that were at work at the same time: the time of all, and the work of each."""
    runs = [run for _, run in group]
    device_s = math.fsum(run.devices * math.fsum(to - since for since, to in _awake(run)) for run in runs)
    if len(runs) == 1:
        return replace(runs[0], device_s=device_s)
    ends = {run.end for run in runs}
    return RunSession(
        began=min(run.began for run in runs),
        ended=max(run.ended for run in runs),
        end=next((end for end in ("", HappeningKind.STOPPED) if end in ends), HappeningKind.END),
        pauses=tuple(_gaps(spell for run in runs for spell in _awake(run))),
        shards=len({start.shard for start, _ in group if start is not None}),
        devices=_at_once(runs),
        device_s=device_s,
        images=sum(run.images for run in runs),
        failed=sum(run.failed for run in runs),
        load_s=math.fsum(run.load_s for run in runs),
        encode_s=math.fsum(run.encode_s for run in runs),
        denoise_s=math.fsum(run.denoise_s for run in runs),
        decode_s=math.fsum(run.decode_s for run in runs),
        save_s=math.fsum(run.save_s for run in runs),
        gone=tuple(gone for run in runs for gone in run.gone),
    )


def _awake(run: RunSession) -> Iterator[tuple[float, float]]:
    """From when to when it did not rest."""
    since = run.began
    for rest, goes_on in run.pauses:
        yield since, max(since, min(rest, run.ended))
        since = max(since, min(goes_on, run.ended))
    yield since, max(since, run.ended)


def _gaps(spells: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """When none of them was."""
    over: float | None = None
    for since, to in sorted(spells):
        if over is not None and since > over:
            yield over, since
        over = to if over is None else max(over, to)


def _at_once(runs: Iterable[RunSession]) -> int:
    """The most devices at any time."""
    changes = sorted(change for run in runs for change in ((run.began, run.devices), (run.ended, -run.devices)))
    return max(accumulate(count for _, count in changes))


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


def _until(session: RunSession, later: float | None) -> RunSession:
    """None ends after the next has begun, whatever the clocks said."""
    end = max(session.began, session.ended if later is None else min(session.ended, later))
    return replace(session, ended=end)
