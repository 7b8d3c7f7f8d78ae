"""What a run has learned of its own costs, as far as it decides who does what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from batch.plan.alike import load_key
from batch.plan.texts import encode_tasks
from batch.records.receipts import Outcome, Receipt, StagePeak
from batch.records.spec import RunSpec
from batch.records.tasks import Task

if TYPE_CHECKING:
    from batch.plan.alike import LoadKey


class TextCosts:
    """What encoding texts took: it stands on the first image that uses a text, wherever that is rendered.

    Where settings are measured it stands on every image: each is what one image takes.
    """

    def __init__(self, spec: RunSpec) -> None:
        self._spec = spec
        self._peaks: dict[str, StagePeak] = {}

    def told(self, outcome: Outcome) -> None:
        """Keep what a text took."""
        if outcome.encoded is not None:
            self._peaks[outcome.key] = outcome.encoded

    def of(self, images: Sequence[Task]) -> dict[str, StagePeak]:
        """What the texts of these images took, by key; nothing of those that count for others."""
        if not self._peaks:
            return {}
        take = self._peaks.__getitem__ if self._spec.measure else self._peaks.pop
        texts = (
            text.key
            for task in images
            for text in encode_tasks(task, self._spec.models[task.model].family, self._spec.device)
        )
        return {key: take(key) for key in texts if key in self._peaks}


class JoinCosts:
    """Whether it pays to load a model at one more seat. Seconds."""

    def __init__(self) -> None:
        self._loads: dict[LoadKey, float] = {}
        self._images: dict[LoadKey, float] = {}

    def told(self, receipt: Receipt) -> None:
        """Learn from an image."""
        key, cost = load_key(receipt.task), receipt.measurement
        if cost.load_s:
            self._loads[key] = cost.load_s
        else:
            self._images[key] = cost.total_s

    def pays(self, key: LoadKey, images: int, seats: int) -> bool:
        """Whether a seat more, beside so many, is done with its first image before they have made all that wait.

        Nothing is known at first: then all begin together.
        """
        image = self._images.get(key)
        if not image:
            return True
        return self._loads.get(key, 0.0) + image < images * image / seats
