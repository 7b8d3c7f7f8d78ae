"""What renders: a backend chooses a device and opens sessions on it, each one model that works stage by stage.

The real ones are :mod:`batch.render.diffusers_backend` and :mod:`batch.render.session`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from batch.records.kinds import HappeningKind, Stage
from batch.records.receipts import CardState, Machine, StagePeak, TextTokens
from batch.records.spec import ModelSource
from batch.records.tasks import EncodeTask, Task
from batch.records.values import Call

if TYPE_CHECKING:  # the command line imports this file, and numpy takes longer than all of it
    from batch.render.guards import Pixels

T = TypeVar("T")
L = TypeVar("L")

Heartbeat = Callable[[Stage, int, int], None]
"""Told a sign of life: the stage, and how many of how many of its parts are done. May raise to give up."""


TOKENS = "tokens"
"""The note in the header of a text's embeddings that holds its :class:`~batch.records.receipts.TextTokens`."""


class Loads(StrEnum):
    """Which components are loaded: those that encode texts, those that render, or the autoencoder alone."""

    TEXTS = "texts"
    TEXTS_ON_CPU = "texts on the CPU"
    IMAGES = "images"
    DECODER = "decoder"


@dataclass(frozen=True, slots=True)
class Timed(Generic[T]):
    """What a stage made, and what it cost."""

    value: T
    peak: StagePeak
    energy_j: float | None = None
    warmup: bool = False
    """The model was compiled on the way."""
    texts: tuple[TextTokens, ...] = ()
    """Of a pipeline that is called whole: how much of its prompt was read."""


@dataclass(frozen=True, slots=True)
class Oddity:
    """What a session found odd about an image or its model and let pass: what a run's log calls it, and says."""

    kind: HappeningKind
    text: str


class CardMeter(Protocol):
    """What a session measures its stages with."""

    @property
    def memory_source(self) -> str:
        """Where the peak of the device comes from: see :mod:`batch.render.meter`."""
        ...

    def card(self) -> CardState | None:
        """The card now, and who else computed on it since the last call; None without one."""
        ...


class Session(Protocol[L]):
    """One model in one dtype on one device; ``L`` is what its latents are. Not for several threads at once.

    Every stage raises :class:`~batch.render.failures.StageFailed` when it fails; the session stays usable, and
    nothing of the failed stage is held on the device. :class:`~batch.base.errors.DeviceLost` says that no stage
    will work in this process again.
    """

    @property
    def staged(self) -> bool:
        """Whether the pipeline is called in parts, and has embeddings and latents to show."""
        ...

    @property
    def meter(self) -> CardMeter:
        """What measures the stages."""
        ...

    @property
    def compiled(self) -> bool:
        """Whether the model at work is compiled."""
        ...

    @property
    def scheduler(self) -> Mapping[str, Any]:
        """The scheduler of the last stage and its configuration in effect, as JSON data; {} if there is none."""
        ...

    def encode(self, task: EncodeTask, beat: Heartbeat) -> Timed[bytes]:
        """Embeddings of one text as the bytes of a safetensors file, which says how much of it was read.

        Raises :class:`~batch.render.failures.StageFailed` when memory runs out,
        :class:`~batch.base.errors.LoadFailed` when the model cannot be loaded, and
        :class:`~batch.base.errors.CannotGoOn` when the text cannot be encoded.
        """
        ...

    def prepare(self, part: Loads, task: Task, *, compiled: bool = False) -> tuple[Call, ...]:
        """Load what a task needs, ``compiled`` where that is possible; its memory setting for this card.

        Raises :class:`~batch.base.errors.LoadFailed` when the model cannot be loaded.
        """
        ...

    def denoise(
        self, tasks: Sequence[Task], embeds: Sequence[Sequence[bytes]], steps: tuple[Call, ...], beat: Heartbeat
    ) -> Timed[L]:
        """Latents ``[n, ...]`` from the embeddings of each task's texts, the prompt's first, in one call.

        The tasks differ in texts and seed only. One image that is no picture fails all of them.
        """
        ...

    def decode(
        self, task: Task, latents: L, steps: tuple[Call, ...], beat: Heartbeat, *, float32: bool = False
    ) -> Timed[Pixels]:
        """Pixels from latents under a memory setting; ``float32`` where the model's own precision failed."""
        ...

    def whole(self, task: Task, steps: tuple[Call, ...], beat: Heartbeat) -> Timed[Pixels]:
        """Pixels of a pipeline that is called whole."""
        ...

    def latents_bytes(self, latents: L) -> bytes:
        """Latents as the bytes of a safetensors file."""
        ...

    def latents_from(self, data: bytes) -> L:
        """Latents that were kept. Raises :class:`~batch.render.failures.StageFailed` when they are none."""
        ...

    def take_load_s(self) -> float | None:
        """Seconds of loading since the image before, of text encoders too; once."""
        ...

    def take_excuse(self) -> str:
        """Why nothing is compiled though it was asked for; empty when it was told."""
        ...

    def take_objections(self) -> list[Oddity]:
        """What was found odd since the last call."""
        ...

    def cannot_compile(self) -> None:
        """Compiling has failed: the model is rendered as it is from now on."""
        ...

    def anew(self) -> None:
        """Another run begins: what is told once is told again, and loading before it counts for no image."""
        ...

    def close(self) -> None:
        """Give the memory back."""
        ...


@dataclass(frozen=True, slots=True)
class Offered:
    """Devices to render on: at least one, all of one kind as torch calls it (cuda, mps, cpu)."""

    devices: tuple[str, ...]
    """As torch calls them: ``cuda:0``, ``cpu``."""
    note: str = ""
    """What to know of the choice, for people: cards that are left out."""


class Backend(Protocol):
    """Renders on the devices of this machine. Can be pickled: it goes to the process that renders."""

    def devices(self, asked: str | None, /) -> Offered:
        """All devices asked for: ``0,1``, ``cpu,cpu``, ``all``; None: all cards of the first one's kind.

        Raises :class:`~batch.base.errors.UserError` for one that is not there.
        """
        ...

    def cap(self, device: str, limit: int, /) -> str:
        """Hold this process to ``limit`` bytes of the device, before anything is on it. What was done, in words.

        Raises :class:`~batch.base.errors.UserError` where it cannot be held.
        """
        ...

    def describe(self, device: str, /) -> Machine:
        """The machine as every receipt records it."""
        ...

    def open(self, source: ModelSource, dtype: str, device: str, /, *, measure: bool = False) -> Session[Any]:
        """A session of one model, which is loaded when it is needed.

        ``measure``: every stage begins without what the one before left in the allocator.
        """
        ...
