"""What is known of the time and the room that images take, the best first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from batch.plan.alike import size_name
from batch.plan.guess import Guess
from batch.plan.rates import CostPart, Rates, place, setting_key
from batch.records.spec import Numerics
from batch.records.tasks import Task

if TYPE_CHECKING:
    from batch.plan.rates import CostFamily, CostKind

BYTES_PER_PIXEL = {"jpeg": 0.7, "webp": 0.5, "avif": 0.4}
"""Of lossy formats at their default quality, on pictures with grain: used until images tell."""

LOSSLESS_BYTES_PER_PIXEL = 1.9
"""A photographic PNG of 16 megapixels takes 25 to 33 MB; the other lossless formats lie below."""

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
    EstimateSource.THIS_RUN: "judged by this run's images",
    EstimateSource.EARLIER_RUNS: "judged by earlier runs here",
    EstimateSource.GUESS: "a guess from how much there is to compute",
}

WEAKER = list(EstimateSource)
"""The further behind, the weaker."""


@dataclass(frozen=True, slots=True)
class ExpectedSeconds:
    """What something takes, and what that rests on."""

    value: float
    source: EstimateSource


@dataclass(slots=True, kw_only=True)
class Known:
    """All that is known of what images take, the best first."""

    mine: Rates = field(default_factory=Rates)
    """Of the images of this process; it grows."""
    folder: Rates = field(default_factory=Rates)
    """Of those that the run folder holds; it grows with them."""
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

    def image(self, task: Task) -> ExpectedSeconds | None:
        """What an image takes from the one before to itself, once its model is warm; None: nothing is known."""
        stages = self._stages(task)
        if stages[0] is None:
            return None
        found = [stage for stage in stages if stage is not None]
        between = self.find(CostPart.BETWEEN, task)
        besides = between.value if between else self._of_any(CostPart.BETWEEN)
        return ExpectedSeconds(sum(item.value for item in found) + besides, weakest(found))

    def _stages(self, task: Task) -> list[ExpectedSeconds | None]:
        """Denoising and decoding; of a pipeline that is called whole, all in one."""
        if not self.decodes and not (denoised := self._warm(CostPart.DENOISE, task)):
            if whole := self._warm(CostPart.WHOLE, task):
                return [whole]
            denoised = self._guessed(CostPart.DENOISE, task)
        decoded = self._warm(CostPart.DECODE, task) or self._guessed(CostPart.DECODE, task)
        return [decoded] if self.decodes else [denoised, decoded]

    def _guessed(self, part: CostPart, task: Task) -> ExpectedSeconds | None:
        found = self.guess.part(*self._place(part, task), self.sources)
        return None if found is None else ExpectedSeconds(found * _units(part, task), EstimateSource.GUESS)

    def _warm(self, part: CostPart, task: Task) -> ExpectedSeconds | None:
        """What a stage takes; a first image after a load is slow, so that any other tells more.

        Unless even the first one of this run was faster than those of earlier ones: the machine was busy then.
        """
        found, first = self.find(part, task), self.find(part, task, first=True)
        if found is None or (first and first.value < found.value and _is_weaker(found.source, first.source)):
            found = first
        return found and replace(found, value=found.value * _units(part, task))

    def load(self, task: Task) -> float:
        """What loading a task's model takes, with what its first image takes longer; 0 where nothing is known."""
        found = self.find(CostPart.LOAD, task)
        seconds = found.value if found else self.guess.load_s(task.model)
        if seconds is None:
            seconds = self._of_any(CostPart.LOAD)
        for part in (CostPart.DENOISE, CostPart.WHOLE, CostPart.DECODE):
            first, later = self.find(part, task, first=True), self.find(part, task)
            if first and later:
                seconds += max(0.0, first.value - later.value) * _units(part, task)
        return seconds

    def text(self, task: Task) -> float:
        """What encoding one of a task's texts takes; 0 where nothing is known."""
        found = self.find(CostPart.ENCODE, task)
        return found.value if found else self._of_any(CostPart.ENCODE)

    def saving(self, task: Task) -> float:
        """What is waited for behind the last image."""
        found = self.find(CostPart.SAVE, task)
        return found.value if found else 0.0

    def decoding(self, task: Task) -> float:
        """What decoding an image takes; 0 where nothing is known, or where it is no stage of its own."""
        stages = self._stages(task)
        return sum(stage.value for stage in (stages if self.decodes else stages[1:]) if stage is not None)

    def per_pixel(self, task: Task) -> tuple[float, EstimateSource]:
        """Bytes per pixel of the file. Pictures of other models, of random weights above all, pack otherwise."""
        if ("compression", "none") in task.format_options:
            return 3.0, EstimateSource.THIS_RUN
        found = self.find(CostPart.BYTES, task)
        if found is not None:
            return found.value, found.source
        return BYTES_PER_PIXEL.get(task.format, LOSSLESS_BYTES_PER_PIXEL), EstimateSource.AS_PHOTOGRAPHS

    def find(self, part: CostPart, task: Task, *, first: bool = False) -> ExpectedSeconds | None:
        """What a part of a task takes; a size that was made tells more than the same of another one."""
        family, kind = self._place(part, task, first=first)
        found = [(rates.find(family, kind), source) for rates, source in zip(self.sources, _SOURCES, strict=True)]
        known = [(item, source) for item, source in found if item is not None]
        if not known:
            return None
        item, source = next((pair for pair in known if pair[0].close), known[0])
        return ExpectedSeconds(item.value, source)

    def _place(self, part: CostPart, task: Task, *, first: bool = False) -> tuple[CostFamily, CostKind]:
        numerics = self.numerics.get(size_name(task), Numerics())
        return place(part, task, self.setting(task), numerics, first=first)

    def setting(self, task: Task) -> str:
        """The memory setting that a task will be rendered with: memory that ran out runs out again."""
        key = setting_key(task, self.limit)
        return next((rates.settings[key] for rates in self.sources if key in rates.settings), key[-1])

    def _of_any(self, part: CostPart) -> float:
        return next((found for rates in self.sources if (found := rates.of_any(part)) is not None), 0.0)


_SOURCES = (EstimateSource.THIS_RUN, EstimateSource.THIS_RUN, EstimateSource.EARLIER_RUNS)


def _is_weaker(one: EstimateSource, other: EstimateSource) -> bool:
    return WEAKER.index(one) > WEAKER.index(other)


def _units(part: CostPart, task: Task) -> int:
    return task.steps if part in (CostPart.DENOISE, CostPart.WHOLE) else 1


def weakest(parts: Iterable[ExpectedSeconds]) -> EstimateSource:
    """What a sum rests on: the weakest source that more than a little of it is from."""
    listed = [part for part in parts if part.value > 0]
    shares: dict[EstimateSource, float] = {}
    for part in listed:
        shares[part.source] = shares.get(part.source, 0.0) + part.value
    bears = [source for source, share in shares.items() if share > SLIGHT * sum(shares.values())]
    return max(bears, key=WEAKER.index, default=EstimateSource.THIS_RUN)
