"""What comes up while a run goes on, and who is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from batch.records.kinds import HappeningKind, Stage
from batch.records.receipts import Outcome


@dataclass(frozen=True, slots=True)
class Preparing:
    """What goes on before anything can be loaded: "reading the manifest", "starting the worker"."""

    text: str


@dataclass(frozen=True, slots=True)
class Downloading:
    """A line about a download: what is fetched, that it is there, what went wrong on the way."""

    text: str


@dataclass(frozen=True, slots=True)
class Received:
    """So many bytes of a model are there of those that were missing; the same number when that is all."""

    name: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """The work is known; nothing is rendered yet."""

    name: str
    folder: Path
    total: int
    """Images of the plan."""
    done: int
    to_render: int
    most: int | None = None
    """Of these the limits let so many start; None: all."""
    measures: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A place at which a run renders: a device, and one worker after the other on it."""

    number: int
    """From 0; it is never given again in the same run."""
    device: str
    """As its worker calls it: ``cuda:1``, ``cpu``."""
    kind: str = ""
    """What receipts call the device: "NVIDIA H100 80GB HBM3"."""
    host: str = ""
    """Where it is, if that is another machine than the one that the run was started on."""
    label: str = ""
    """For people: ``cuda:1``, ``cpu 2``, ``node7 cuda:0``."""


@dataclass(frozen=True, slots=True)
class Crew:
    """The seats of a run: told before anything is rendered, and anew when one joins or leaves."""

    seats: tuple[Seat, ...]


@dataclass(frozen=True, slots=True)
class Loading:
    """The model is about to be loaded and that many texts encoded."""

    texts: int
    loaded: bool = False
    """It is there already: this is another portion of the texts."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """So many texts of so many are encoded."""

    text: int
    texts: int


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life: what is being worked on, the stage, and how many of how many of its parts are done."""

    name: str
    """For people; of a batch "NAME and 3 more"."""
    stage: Stage
    part: int = 0
    parts: int = 0
    ids: tuple[str, ...] = ()
    """The images at work: one, or those of a batch."""
    seat: int = 0
    """Where it is worked on: a :class:`Seat`'s number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that a run's log keeps: memory ran out, the worker died, a picture was bad.

    ``kind`` is a word for programs, ``text`` a sentence for people; ``data`` is plain JSON.
    """

    kind: HappeningKind
    text: str
    task: str = ""
    """Id of the task it happened to."""
    data: Mapping[str, object] = field(default_factory=dict)
    seat: int | None = None
    """Where it happened, a :class:`Seat`'s number; None where it concerns the whole run."""
    hint: str = ""
    """What a terminal shows behind the text, and means nothing later: what another Ctrl-C would do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutoff:
    """A limit that ends the run before all is done."""

    limit: str
    """The option: ``--until 2026-11-29 04:27``."""
    seconds: float | None
    """The run ends in so many; None where that is not known."""
    images: int | None = None
    """About so many of the plan are done by then."""
    clock: bool = True
    """It ends at that time whatever images take; else when they are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """How long the rest takes, judged anew: after each image, and when it loads or encodes."""

    seconds: float | None
    """What all that is left takes, loading and encoding with it, whatever limits say; None: nothing is known."""
    source: str = ""
    """What that rests on, for people: "judged by this run's images"."""
    guessed: bool = False
    """It may be wrong by half."""
    image_s: float | None = None
    """What the image at work takes in all; of several, that of the seat that told last."""
    images_s: Mapping[int, float] = field(default_factory=dict)
    """The same for each seat, by its number, where it is known."""
    per_hour: float | None = None
    """Images an hour that the rest is expected to go at while images are at work."""
    cutoff: Cutoff | None = None
    """Where the run will end before."""

    @property
    def ends_s(self) -> float | None:
        """The run is expected to end in so many seconds: all is done, or a limit is reached."""
        return self.cutoff.seconds if self.cutoff else self.seconds


@dataclass(frozen=True, slots=True)
class LeftOut:
    """So many of the images that were to be rendered will not be."""

    count: int


@dataclass(frozen=True, slots=True)
class Closed:
    """No image more will come, or the report is written: free the terminal."""


Event = (
    Preparing
    | Downloading
    | Received
    | Began
    | Crew
    | Loading
    | Encoded
    | Beat
    | Happening
    | Expected
    | Outcome
    | LeftOut
    | Closed
)
"""An :class:`Outcome` says that one image is done or has failed."""


class Listener(Protocol):
    """Who is told what comes up: the terminal, a log, a test."""

    def on(self, event: Event) -> None:
        """One event, in the order in which they happen; of one thread at a time."""
