"""Which images a run is at, and how long they still take: what a stop has to wait for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic

from batch.base.text import roughly
from batch.records.events import Beat, Began, Closed, Crew, Encoded, Event, Expected, Happening, Listener, Loading
from batch.records.kinds import Stage
from batch.records.receipts import Outcome

RESERVED, LEAST_RESERVE_S, MOST_RESERVE_S = 0.25, 1.0, 15.0
"""Of the time that a stop may take, such a share is kept for saving and the report, within these seconds."""

ENDING_S, ENDING_IMAGE_S = 0.2, 1e-5
"""When all is written the program takes so long to end, and so much more for every image of its plan."""


NAMED = 2
"""Images at work that are named; the others are counted."""


@dataclass(slots=True)
class _Image:
    """The image at work at a seat, as far as it is told. Times in seconds."""

    name: str
    ids: set[str]
    since: float
    denoising: float = 0.0
    """When the first step was done."""
    part: int = 0
    parts: int = 0

    def hear(self, beat: Beat, now: float) -> None:
        if beat.stage == Stage.DENOISE and beat.part:
            if beat.part == 1 or not self.denoising:
                self.denoising = now
            self.part, self.parts = beat.part, beat.parts
        if beat.stage == Stage.DECODE:
            self.part = self.parts

    def left_s(self, now: float, image_s: float | None, decode_s: float) -> float | None:
        """``image_s`` is what it takes in all, where that is known."""
        by_steps = None
        if 1 < self.part <= self.parts:
            step = (now - self.denoising) / (self.part - 1) if self.part < self.parts else 0.0
            by_steps = step * (self.parts - self.part) + decode_s
        if image_s is None:
            return by_steps
        left = image_s - (now - self.since)
        return left if left > 0 else by_steps or 0.0


@dataclass(slots=True)
class AtWork:
    """Learns from what a run tells: a stop waits for the slowest of the images at work. Times in seconds."""

    clock: Callable[[], float] = monotonic
    images: int = 0
    """Of the largest plan so far: what a program that ends has to let go."""
    _measures: bool = False
    _seats: int = 1
    _encoding: set[int] = field(default_factory=set)
    """Seats at which a text is at work."""
    _at: dict[int, _Image] = field(default_factory=dict)
    _where: dict[str, int] = field(default_factory=dict)
    """Where images that are not done were at work."""
    _image_s: float | None = None
    _images_s: Mapping[int, float] = field(default_factory=dict)
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
            case Crew(seats):
                self._crew({seat.number for seat in seats})
            case Encoded(text, texts) if self._seats == 1:
                self._nothing()
                self._encoding = {0} if text < texts else set()
            case Expected():
                self._image_s, self._images_s = event.image_s, event.images_s
            case Outcome():
                self._outcome(event)
            case Loading() if self._seats == 1:
                self._nothing()
            case Closed():
                self._nothing()
            case Happening(kind=kind, seat=seat) if kind.unloads:
                self._nothing(seat)

    def _crew(self, numbers: set[int]) -> None:
        self._seats = max(1, len(numbers))
        for gone in {*self._at, *self._encoding} - numbers:
            self._nothing(gone)

    def _nothing(self, seat: int | None = None) -> None:
        """Nothing is at work there; anywhere, where no seat is given."""
        for number in {*self._at, *self._encoding} if seat is None else {seat}:
            self._at.pop(number, None)
            self._encoding.discard(number)

    def _beat(self, beat: Beat) -> None:
        if beat.stage == Stage.SAVE:  # goes on beside the next image
            return
        if beat.stage in (Stage.LOAD, Stage.ENCODE):
            self._nothing(beat.seat)
            if beat.stage == Stage.ENCODE:
                self._encoding.add(beat.seat)
            return
        self._encoding.discard(beat.seat)
        image, now = self._at.get(beat.seat), self.clock()
        if image is None or image.name != beat.name:
            image = self._at[beat.seat] = _Image(beat.name, set(beat.ids), now)
            self._where.update(dict.fromkeys(beat.ids, beat.seat))
        image.hear(beat, now)

    def _outcome(self, outcome: Outcome) -> None:
        if outcome.receipt is not None:
            cost = outcome.receipt.measurement
            self._decode_s = cost.decode.seconds if cost.decode is not None else 0.0
            self._save_s = max(self._save_s, cost.save_s or 0.0)
        seat = self._where.pop(outcome.key, -1)
        if (image := self._at.get(seat)) is not None and outcome.key in image.ids and self._seats > 1:
            image.ids.discard(outcome.key)
            if not image.ids:  # there may be nothing more to do for the seat
                self._nothing(seat)

    @property
    def name(self) -> str:
        """Of the images at work; empty while there is none: while models are loaded or texts encoded."""
        names = [image.name for _, image in sorted(self._at.items(), key=lambda item: item[0])]
        if (more := len(names) - NAMED) > 0:
            return f"{', '.join(names[:NAMED])} and {more} more"
        return " and ".join(names)

    @property
    def several(self) -> bool:
        """Whether more than one is."""
        return len(self._at) > 1

    @property
    def left_s(self) -> float | None:
        """What the images at work still take; None where nothing tells."""
        now = self.clock()
        left = [
            image.left_s(now, self._images_s.get(seat, self._image_s), self._decode_s)
            for seat, image in self._at.items()
        ]
        known = [seconds for seconds in left if seconds is not None]
        return max(known) if known and len(known) == len(left) else None

    @property
    def left(self) -> str:
        """The same for people: ``, in about 40s``; empty where nothing tells."""
        seconds = self.left_s
        return "" if seconds is None else f", in about {roughly(seconds)}"

    @property
    def until_a_pause(self) -> str:
        """What comes before a pause, for people: of the images at work, or of the one that is loaded for."""
        if self._measures:
            return "the setting at work is measured"
        if self._at:
            return f"{self.name} {'are' if self.several else 'is'} finished{self.left}"
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
