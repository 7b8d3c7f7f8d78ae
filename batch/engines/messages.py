"""What the parent and its worker process say to each other. Pickled; no pixels and no tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from batch.records.events import Beat, Happening
from batch.records.kinds import Stage
from batch.records.receipts import Outcome, StagePeak
from batch.records.spec import RunSpec
from batch.records.tasks import EncodeTask, Task


@dataclass(frozen=True, slots=True)
class Begin:
    """To the worker: the run."""

    spec: RunSpec


@dataclass(frozen=True, slots=True)
class Move:
    """To the worker, before another run: where it prints and writes its stacks from now on. It does not answer."""

    log: Path
    stacks: Path


@dataclass(frozen=True, slots=True)
class Assignment:
    """To the worker: do this. ``alone``: save everything before, so that a death has one cause.

    ``more`` holds images that are rendered in the same call.
    """

    task: Task | EncodeTask
    more: tuple[Task, ...] = ()
    step_down: Stage | None = None
    """A stage that took the last worker with it for want of memory: it starts a rung lower."""
    alone: bool = False
    died_at: frozenset[int] = frozenset()
    """Numbers of seats at which a worker died over it, with nothing else in hand."""
    encoded: Mapping[str, StagePeak] = field(default_factory=dict)
    """What encoding the texts of these images took, by the texts' keys, which counts for them."""


@dataclass(frozen=True, slots=True)
class Drain:
    """To the worker: save what is rendered."""


@dataclass(frozen=True, slots=True)
class Stop:
    """To the worker: drop what is being rendered and save the rest."""


@dataclass(frozen=True, slots=True)
class Bye:
    """To the worker: end, when everything is saved."""


@dataclass(frozen=True, slots=True)
class DumpStacks:
    """To the worker: write where every thread is (where a signal cannot ask for it)."""


@dataclass(frozen=True, slots=True)
class Ready:
    """From the worker: the device it renders on, and what receipts say of it."""

    device: str
    kind: str = ""
    """What receipts call the device."""
    devices: tuple[str, ...] = ()
    """All that were asked for, this one first."""
    note: str = ""
    """What to know of that choice, for people: cards that are left out."""


@dataclass(frozen=True, slots=True)
class Idle:
    """From the worker: give me work; after :class:`Drain`, everything is saved."""


@dataclass(frozen=True, slots=True)
class Ended:
    """From the worker: an error ends the run, or this process. Nothing follows."""

    error: Exception
    trace: str = ""
    """Where it happened, when it was not raised on purpose."""


FromWorker = Ready | Idle | Ended | Beat | Happening | Outcome
ToWorker = Begin | Move | Assignment | Drain | Stop | Bye | DumpStacks
