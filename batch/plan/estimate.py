"""What a run will take, judged by the images made so far, here or in earlier runs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING

from batch.catalogue import pag
from batch.plan.alike import load_key, pace_key, session_key, size_name
from batch.plan.guess import Guess
from batch.plan.rates import Part, Rates, learn, place, setting_key
from batch.records.spec import Numerics
from batch.records.tasks import Task

if TYPE_CHECKING:
    from batch.plan.alike import SessionKey
    from batch.plan.rates import Family, Kind
    from batch.records.receipts import Receipt

BYTES_PER_PIXEL = {"jpeg": 0.7, "webp": 0.5, "avif": 0.4}
"""Of lossy formats at their default quality, on pictures with grain: used until images tell."""

LOSSLESS_BYTES_PER_PIXEL = 1.9
"""A photographic PNG of 16 megapixels takes 25 to 33 MB; the other lossless formats lie below."""

BESIDES = 48 * 1024
"""Bytes of a picture's thumbnail, receipt and part of the report, in blocks of 4 KiB."""

SLIGHT = 0.05
"""Of a sum: what is no more of it does not decide what the sum rests on."""


class EstimateSource(StrEnum):
    """What a figure rests on; of several, the weakest that bears on it."""

    THIS_RUN = "this run"
    EARLIER_RUNS = "earlier runs"
    GUESS = "a guess"
    NOT_KNOWN = "not known"
    """Of seconds: there is no figure."""
    AS_PHOTOGRAPHS = "as photographs take it"
    """Of the disk."""

    @property
    def phrase(self) -> str:
        """What stands behind a figure for people."""
        return _PHRASES.get(self, self.value)


_PHRASES = {
    EstimateSource.THIS_RUN: "as this run's images took",
    EstimateSource.EARLIER_RUNS: "as earlier runs took here",
    EstimateSource.GUESS: "a guess from how much there is to compute",
}

_WEAKER = list(EstimateSource)


@dataclass(frozen=True, slots=True)
class Seconds:
    """What something takes, and what that rests on."""

    value: float
    source: EstimateSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Expectations for the images that are to be rendered."""

    seconds: float | None
    """Loading and encoding with it. None: of at least one of the models nothing is known."""
    seconds_from: EstimateSource
    disk_bytes: int
    disk_from: EstimateSource
    peak_bytes: int | None
    """The largest memory any image of this run took so far, on the device or, without one, in the host."""

    @property
    def is_guess(self) -> bool:
        """Whether its seconds may be wrong by half."""
        return self.seconds_from == EstimateSource.GUESS


@dataclass(slots=True, kw_only=True)
class Known:
    """All that is known of what images take, the best first."""

    mine: Rates = field(default_factory=Rates)
    """Of the images of this process; it grows."""
    folder: Rates = field(default_factory=Rates)
    """Of those that the run folder held before."""
    history: Rates = field(default_factory=Rates)
    guess: Guess = field(default_factory=Guess)
    numerics: Mapping[str, Numerics] = field(default_factory=dict)
    """Batches and compiling, by :func:`batch.plan.alike.size_name`."""
    limit: int | None = None
    """Bytes of the card that the process is held to."""
    decodes: bool = False
    """Images are decoded from kept latents, and not denoised."""

    @property
    def sources(self) -> tuple[Rates, ...]:
        """The best first."""
        return self.mine, self.folder, self.history

    def image(self, task: Task) -> Seconds | None:
        """What an image takes from the one before to itself, once its model is warm; None: nothing is known."""
        stages = self._stages(task)
        if stages[0] is None:
            return None
        found = [stage for stage in stages if stage is not None]
        between = self.find(Part.BETWEEN, task)
        besides = between.value if between else self._of_any(Part.BETWEEN)
        return Seconds(sum(item.value for item in found) + besides, weakest(found))

    def _stages(self, task: Task) -> list[Seconds | None]:
        """Denoising and decoding; of a pipeline that is called whole, all in one."""
        if not self.decodes and not (denoised := self._warm(Part.DENOISE, task)):
            if whole := self._warm(Part.WHOLE, task):
                return [whole]
            denoised = self._guessed(Part.DENOISE, task)
        decoded = self._warm(Part.DECODE, task) or self._guessed(Part.DECODE, task)
        return [decoded] if self.decodes else [denoised, decoded]

    def _guessed(self, part: Part, task: Task) -> Seconds | None:
        found = self.guess.part(*self._place(part, task), self.sources)
        return None if found is None else Seconds(found * _units(part, task), EstimateSource.GUESS)

    def _warm(self, part: Part, task: Task) -> Seconds | None:
        """What a stage takes; a first image after a load is slow, so that any other tells more."""
        found = self.find(part, task) or self.find(part, task, first=True)
        return found and replace(found, value=found.value * _units(part, task))

    def load(self, task: Task) -> float:
        """What loading a task's model takes, with what its first image takes longer; 0 where nothing is known."""
        found = self.find(Part.LOAD, task)
        seconds = found.value if found else self.guess.load_s(task.model)
        if seconds is None:
            seconds = self._of_any(Part.LOAD)
        for part in (Part.DENOISE, Part.WHOLE, Part.DECODE):
            first, later = self.find(part, task, first=True), self.find(part, task)
            if first and later:
                seconds += max(0.0, first.value - later.value) * _units(part, task)
        return seconds

    def text(self, task: Task) -> float:
        """What encoding one of a task's texts takes; 0 where nothing is known."""
        found = self.find(Part.ENCODE, task)
        return found.value if found else self._of_any(Part.ENCODE)

    def saving(self, task: Task) -> float:
        """What is waited for behind the last image."""
        found = self.find(Part.SAVE, task)
        return found.value if found else 0.0

    def per_pixel(self, task: Task) -> tuple[float, EstimateSource]:
        """Bytes per pixel of the file. Pictures of other models, of random weights above all, pack otherwise."""
        if ("compression", "none") in task.format_options:
            return 3.0, EstimateSource.THIS_RUN
        found = self.find(Part.BYTES, task)
        if found is not None:
            return found.value, found.source
        return BYTES_PER_PIXEL.get(task.format, LOSSLESS_BYTES_PER_PIXEL), EstimateSource.AS_PHOTOGRAPHS

    def find(self, part: Part, task: Task, *, first: bool = False) -> Seconds | None:
        """What a part of a task takes; a size that was made tells more than the same of another one."""
        family, kind = self._place(part, task, first=first)
        found = [(rates.find(family, kind), source) for rates, source in zip(self.sources, _SOURCES, strict=True)]
        known = [(item, source) for item, source in found if item is not None]
        if not known:
            return None
        item, source = next((pair for pair in known if pair[0].close), known[0])
        return Seconds(item.value, source)

    def _place(self, part: Part, task: Task, *, first: bool = False) -> tuple[Family, Kind]:
        numerics = self.numerics.get(size_name(task), Numerics())
        return place(part, task, self.setting(task), numerics, first=first)

    def setting(self, task: Task) -> str:
        """The memory setting that a task will be rendered with: memory that ran out runs out again."""
        key = setting_key(task, self.limit)
        return next((rates.settings[key] for rates in self.sources if key in rates.settings), key[-1])

    def _of_any(self, part: Part) -> float:
        return next((found for rates in self.sources if (found := rates.of_any(part)) is not None), 0.0)


_SOURCES = (EstimateSource.THIS_RUN, EstimateSource.THIS_RUN, EstimateSource.EARLIER_RUNS)


def _units(part: Part, task: Task) -> int:
    return task.steps if part in (Part.DENOISE, Part.WHOLE) else 1


def weakest(parts: Iterable[Seconds]) -> EstimateSource:
    """What a sum rests on: the weakest source that more than a little of it is from."""
    listed = [part for part in parts if part.value > 0]
    shares: dict[EstimateSource, float] = {}
    for part in listed:
        shares[part.source] = shares.get(part.source, 0.0) + part.value
    bears = [source for source, share in shares.items() if share > SLIGHT * sum(shares.values())]
    return max(bears, key=_WEAKER.index, default=EstimateSource.THIS_RUN)


def cost(task: Task) -> int:
    """What denoising a task takes, in pixels times calls of the model."""
    return task.rendered_width * task.rendered_height * task.steps * pag.passes(task)


def disk_of(tasks: Iterable[Task], known: Known) -> int:
    """Bytes that these tasks take on the disk."""
    return sum(_disk(group, known) for group in groups(tasks))


def estimate(
    to_render: Sequence[Task],
    receipts: Collection[Receipt],
    known: Known | None = None,
    texts: Mapping[SessionKey, int] | None = None,
    *,
    loads: Callable[[Task], Hashable] = load_key,
) -> Estimate:
    """Judge ``to_render``, in its order, by the receipts of the same run, then by earlier runs on this machine.

    ``texts`` are to be encoded for them; a change of what ``loads`` says of two tasks is a model to load.
    """
    known = known or Known(folder=learn(receipts))
    grouped = groups(to_render)
    taken = seconds_of(grouped, known)
    stages = [item.measurement.together for item in receipts]
    peaks = [item.device or item.rss or 0 for item in stages]
    bears = (known.per_pixel(group.sample)[1] for group in grouped)
    seconds = None
    if taken is not None:
        seconds = taken.value + before(to_render, known, texts or {}, loads) + known.saving(to_render[-1])
    return Estimate(
        seconds=seconds,
        seconds_from=EstimateSource.NOT_KNOWN if taken is None else taken.source,
        disk_bytes=sum(_disk(group, known) for group in grouped),
        disk_from=max(bears, key=_WEAKER.index, default=EstimateSource.AS_PHOTOGRAPHS),
        peak_bytes=max(peaks, default=None),
    )


def rest(missing: Sequence[Task], receipts: Collection[Receipt]) -> Seconds | None:
    """What a folder's missing images take, by what is there: of the machine that rendered last.

    None where of some of them nothing is known. Texts are not counted: which of them are kept is not known here.
    """
    if not missing or not receipts:
        return None
    machine = max(receipts, key=lambda item: item.started_at).machine
    known = Known(folder=learn(item for item in receipts if item.machine == machine), limit=machine.vram_limit)
    taken = seconds_of(groups(missing), known)
    return taken and replace(taken, value=taken.value + before(missing, known, {}) + known.saving(missing[-1]))


def seconds_of(grouped: Collection[Group], known: Known) -> Seconds | None:
    """What the images of these groups take; None where of some nothing is known, or where there are none."""
    taken = [(group.count, known.image(group.sample)) for group in grouped]
    found = [Seconds(each.value * count, each.source) for count, each in taken if each is not None]
    if not found or len(found) < len(taken):
        return None
    return Seconds(sum(item.value for item in found), weakest(found))


def before(
    tasks: Iterable[Task],
    known: Known,
    texts: Mapping[SessionKey, int],
    loads: Callable[[Task], Hashable] = load_key,
) -> float:
    """What loading and encoding takes for tasks in this order."""
    heads = [next(items) for _, items in groupby(tasks, key=loads)]
    of_sessions = {session_key(task): task for task in heads}
    encoding = sum(known.text(task) * texts.get(key, 0) for key, task in of_sessions.items())
    return sum(map(known.load, heads)) + encoding


@dataclass(slots=True)
class Group:
    """Tasks that take as long: looked up once, however many there are."""

    sample: Task
    count: int = 0


def groups(tasks: Iterable[Task]) -> list[Group]:
    """Tasks by what they take."""
    found: dict[Hashable, Group] = {}
    for task in tasks:
        found.setdefault(pace_key(task), Group(task)).count += 1
    return list(found.values())


def _disk(group: Group, known: Known) -> int:
    pixels = group.sample.width * group.sample.height
    return round((pixels * known.per_pixel(group.sample)[0] + BESIDES) * group.count)
