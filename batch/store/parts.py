"""What is left of a run folder, part by part where it is divided, and how long that takes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batch.records.live import LiveStatus, RunState, SeatState
from batch.records.shard import Shard
from batch.store import live, shards

if TYPE_CHECKING:
    from batch.records.tasks import Task
    from batch.store.shards import Running


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStanding:
    """One of several runs that divide the folder."""

    shard: str
    """``2/8``."""
    running: Mapping[str, object]
    now: LiveStatus | None = None
    """What it is at, as far as it says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleShard:
    """A part with images to render, at which nobody is at work."""

    shard: str
    """``2/8``."""
    to_render: int
    eta_s: float | None = None
    """Seconds that these take, on as many devices as there were last; None where nothing tells."""
    options: tuple[str, ...] = ()
    """What whoever goes on with it gives again, as its last run was started: ``--devices=0,1``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What is to be rendered, and how long it takes one device, if anything tells."""

    tasks: Collection[str]
    seconds: float | None

    def of(self, images: int, last: LiveStatus | None) -> float | None:
        """How long so many of them take: as their last run said when as many were left, else on its devices."""
        if last is not None and last.to_render == images and last.rest_s is not None:
            return last.rest_s
        if self.seconds is None:
            return None
        devices = sum(seat.state != SeatState.GONE for seat in last.seats) if last is not None else 0
        return self.seconds * images / len(self.tasks) / max(1, min(devices, images))


def now(state: Path) -> LiveStatus | None:
    """What a run says of itself; None where it does not."""
    found = live.read(state)
    return found if found is not None and found.state != RunState.ENDED else None


def at_work(runs: Iterable[Running]) -> tuple[ShardStanding, ...]:
    """The shards among the runs that go on."""
    return tuple(
        ShardStanding(shard=str(run.shard), running=run.holder, now=now(run.state))
        for run in runs
        if run.shard is not None
    )


def idle(
    state: Path, of: int, runs: Iterable[Running], tasks: Sequence[Task], rest: Rest
) -> tuple[IdleShard, ...]:
    """The parts, of so many, that have images to render and at which nobody is at work."""
    busy, common = {run.shard for run in runs}, options(state, of)
    found = []
    for shard in (Shard(number, of) for number in range(1, of + 1)):
        count = sum(task.id in rest.tasks for task in shard.part(tasks)) if shard not in busy else 0
        if count:
            last = live.read(shards.own_state(state, shard))
            given = last.options if last is not None else common
            found.append(IdleShard(shard=str(shard), to_render=count, eta_s=rest.of(count, last), options=given))
    return tuple(found)


def asked(state: Path) -> tuple[str, ...]:
    """As :func:`options`, by how the folder was divided last."""
    division = shards.division(state)
    return options(state, division.of if division is not None else 0)


def options(state: Path, of: int) -> tuple[str, ...]:
    """What whoever goes on with the folder gives again; of one that is divided, what all parts were given."""
    states = [path for shard, path in shards.states(state) if shard.of == of] if of else [state]
    said = [found.options for path in states if (found := live.read(path)) is not None]
    return tuple(option for option in said[0] if all(option in other for other in said)) if said else ()
