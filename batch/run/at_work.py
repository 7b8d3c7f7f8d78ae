"""Which image a run is at, and how long that still takes: what a stop has to wait for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from batch.base.text import roughly
from batch.records.events import Beat, Began, Closed, Encoded, Event, Expected, Happening, Listener, Loading
from batch.records.kinds import Stage
from batch.records.receipts import Outcome

RESERVED, LEAST_RESERVE_S, MOST_RESERVE_S = 0.25, 1.0, 15.0
"""Of the time that a stop may take, such a share is kept for saving and the report, within these seconds."""

ENDING_S, ENDING_IMAGE_S = 0.2, 1e-5
"""When all is written the program takes so long to end, and so much more for every image of its plan."""


@dataclass(slots=True)
class AtWork:
    """Learns from what a run tells. Times in seconds."""

    clock: Callable[[], float] = monotonic
    name: str = ""
    """Of the image at work; empty while there is none: while a model is loaded or a text encoded."""
    images: int = 0
    """Of the largest plan so far: what a program that ends has to let go."""
    _measures: bool = False
    _encoding: bool = False
    """A text is at work."""
    _since: float = 0.0
    _denoising: float = 0.0
    """When the first step was done."""
    _part: int = 0
    _parts: int = 0
    _image_s: float | None = None
    _decode_s: float = 0.0
    """What decoding took of late."""
    _save_s: float = 0.0
    """The longest that saving took."""

    def on(self, event: Event) -> None:
        """See :class:`~batch.records.events.Listener`."""
        match event:
            case Beat():
                self._beat(event)
            case Began():
                self._measures, self.images = event.measures, max(self.images, event.total)
            case Encoded(text, texts):
                self.name, self._encoding = "", text < texts
            case Expected():
                self._image_s = event.image_s
            case Outcome(receipt=receipt) if receipt is not None:
                cost = receipt.measurement
                self._decode_s = cost.decode.seconds if cost.decode is not None else 0.0
                self._save_s = max(self._save_s, cost.save_s or 0.0)
            case Loading() | Closed():
                self._nothing()
            case Happening(kind=kind) if kind.unloads:
                self._nothing()

    def _nothing(self) -> None:
        self.name, self._encoding = "", False

    def _beat(self, beat: Beat) -> None:
        if beat.stage == Stage.SAVE:  # goes on beside the next image
            return
        if beat.stage in (Stage.LOAD, Stage.ENCODE):
            self.name, self._encoding = "", beat.stage == Stage.ENCODE
            return
        self._encoding = False
        if self.name != beat.name:
            self.name, self._since = beat.name, self.clock()
            self._part = self._parts = 0
        if beat.stage == Stage.DENOISE and beat.part:
            if beat.part == 1 or not self._denoising:
                self._denoising = self.clock()
            self._part, self._parts = beat.part, beat.parts
        if beat.stage == Stage.DECODE:
            self._part = self._parts

    @property
    def left_s(self) -> float | None:
        """What the image at work still takes; None where nothing tells."""
        now = self.clock()
        by_steps = None
        if 1 < self._part <= self._parts:
            step = (now - self._denoising) / (self._part - 1) if self._part < self._parts else 0.0
            by_steps = step * (self._parts - self._part) + self._decode_s
        if self._image_s is None:
            return by_steps
        left = self._image_s - (now - self._since)
        return left if left > 0 else by_steps or 0.0

    @property
    def left(self) -> str:
        """The same for people: ``, in about 40s``; empty where nothing tells."""
        seconds = self.left_s
        return "" if seconds is None else f", in about {roughly(seconds)}"

    @property
    def until_a_pause(self) -> str:
        """What comes before a pause, for people: of the image at work, or of the one that is loaded for."""
        if self._measures:
            return "the setting at work is measured"
        if self.name:
            return f"{self.name} is finished{self.left}"
        if self._encoding:
            return "the text at work is encoded"
        return "the model is loaded, and one image or text is done"

    def reserve_s(self, within: float) -> float:
        """What has to be kept of the time that a stop may take; half of it at most."""
        share = min(MOST_RESERVE_S, RESERVED * within)
        return min(within / 2, max(LEAST_RESERVE_S, share, 2 * self._save_s))

    def ending_s(self, within: float) -> float:
        """What has to be kept beside that for the end of the program; a quarter at most."""
        return min(within / 4, ENDING_S + self.images * ENDING_IMAGE_S)


class Following:
    """Tells a run's listener, and before it what keeps in mind what is at work."""

    def __init__(self, listener: Listener, at_work: AtWork) -> None:
        self._listener, self._at_work = listener, at_work

    def on(self, event: Event) -> None:
        """See :class:`~batch.records.events.Listener`."""
        self._at_work.on(event)
        self._listener.on(event)
