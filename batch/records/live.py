"""How a run is at this moment, as it tells whoever watches: ``status``, the page, another terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from batch.records.kinds import Stage


class RunState(StrEnum):
    """What a run is at."""

    STARTING = "starting"
    LOADING = "loading"
    ENCODING = "encoding"
    RENDERING = "rendering"
    PAUSED = "paused"
    STOPPING = "stopping"
    """It finishes the image at work, and starts none."""
    FINISHING = "finishing"
    """Nothing more is rendered: it writes the report, and tells those who want to be told."""
    ENDED = "ended"


RESTING = {RunState.PAUSED, RunState.FINISHING, RunState.ENDED}
"""What is left takes as long as before, however much time passes."""


class SeatState(StrEnum):
    """What a seat is at."""

    LOADING = "loading"
    ENCODING = "encoding"
    RENDERING = "rendering"
    WAITING = "waiting"
    """Nothing is at work there: it has not begun, or there is nothing more to do for it."""
    GONE = "gone"
    """It is lost, and the others go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatStatus:
    """One moment of a seat of a run that has several."""

    number: int
    label: str
    """For people: ``cuda:1``."""
    state: SeatState = SeatState.WAITING
    image: str = ""
    """Name of the image at work."""
    stage: Stage | None = None
    part: int = 0
    parts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStatus:
    """One moment of a run. Times are seconds since 1970 (UTC)."""

    schema: int = 1
    state: RunState
    name: str
    pid: int
    host: str
    began: float
    updated: float
    """When this was written; a run that is alive writes it anew every few seconds."""
    image: str = ""
    """Name of the image at work; where several are, of the one that was heard of last."""
    stage: Stage | None = None
    part: int = 0
    parts: int = 0
    image_left_s: float | None = None
    """What the image at work still takes."""
    total: int = 0
    """Images of the plan."""
    done: int = 0
    failed: int = 0
    to_render: int = 0
    """Images that are neither done nor given up."""
    per_hour: float | None = None
    rest_s: float | None = None
    """What all that is left takes from now on, whatever limits say."""
    ends_at: float | None = None
    """When the run is expected to end; while it is paused, when a limit by the clock ends it all the same."""
    resumed_s: float | None = None
    """While it is paused: how long it goes on once resumed, until all is done or so many images are."""
    ends_by: str = ""
    """The limit that ends it then, before all is done."""
    ends_with: int | None = None
    """About so many images of the plan are done when a limit ends it."""
    ends_from: str = ""
    """What the expected rest is judged by, for people."""
    ends_guessed: bool = False
    said: str = ""
    """What is to be known now: who paused it, why it ended."""
    generation: int = 0
    """How often the report was written in this run."""
    seats: tuple[SeatStatus, ...] = ()
    """Where the run has, or had, several devices: each of them."""
    options: tuple[str, ...] = ()
    """What whoever goes on gives again: ``--devices=0,1``. Of shards that are told as one run: none."""


TOLD_FIRST = (
    RunState.RENDERING, RunState.ENCODING, RunState.LOADING, RunState.STARTING, RunState.PAUSED, RunState.STOPPING,
    RunState.FINISHING,
)  # fmt: skip
"""What is told of several: the first that any of them is at."""


def counted(shards: Iterable[LiveStatus]) -> str:
    """What so many are at: ``2 shards rendering, 1 paused, 1 done``."""
    states = Counter(item.state for item in shards)
    parts = [f"{states[state]} {state}" for state in TOLD_FIRST if states[state]]
    if over := states[RunState.ENDED]:
        parts.append(f"{over} over")
    if not parts:
        return ""
    count, _, rest = parts[0].partition(" ")
    return ", ".join([f"{count} {'shard' if count == '1' else 'shards'} {rest}", *parts[1:]])
