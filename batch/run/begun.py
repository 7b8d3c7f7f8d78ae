"""Which of a run's images were begun: those at work, and those that are being saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.records.kinds import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from batch.plan.known import Known
    from batch.records.tasks import Task
    from batch.run.stock import Stock


class Begun:
    """Learns from what a worker tells; times in seconds, by the clock of whoever tells."""

    def __init__(self, stock: Stock) -> None:
        """``stock`` is what is left; whatever is taken out of it is done."""
        self._left = stock.tasks
        self.at: dict[str, Task] = {}
        """One image, or those of a call, also when some of them are done."""
        self._saved: set[str] = set()
        """Ids of those that are being saved."""
        self._since = 0.0
        """When they began to be denoised, or the one that is now to be decoded."""
        self._decodes = False

    def hear(self, ids: Sequence[str], stage: Stage, now: float) -> bool:
        """What is at work, of one call; whether that is new."""
        at = {key: self._left[key] for key in ids if key in self._left}
        is_new = not at.keys() <= self.at.keys()
        if is_new:
            self._saved.update(task.id for task in self.at_work)
            self.at = at
        decodes = stage == Stage.DECODE
        if is_new or (decodes and not self._decodes):
            self._since = now
        self._decodes = decodes
        return is_new

    def done(self, key: str, now: float) -> None:
        """An image is done or has failed; of those of a call the next one is decoded."""
        if key in self.at and self._decodes:
            self._since = now
        self._saved.discard(key)

    def forget(self, *, saved: bool = False) -> None:
        """Nothing is at work any more; nor is anything being ``saved``."""
        self.at, self._decodes = {}, False
        if saved:
            self._saved.clear()

    @property
    def at_work(self) -> list[Task]:
        """What is at work and not done."""
        return [task for key, task in self.at.items() if key in self._left]

    @property
    def count(self) -> int:
        """How many are at work or being saved."""
        return len(self._left.keys() & self._saved.union(self.at))

    def waiting(self) -> Iterable[Task]:
        """Images that were not begun, in their order."""
        begun = self._saved.union(self.at)
        return (task for key, task in self._left.items() if key not in begun)

    def over(self, now: float, known: Known, each: Callable[[Task], float]) -> float:
        """Of all that is left so much is over: images that are being saved, and what tells of those at work.

        Nothing of what a first image took longer counts for the others of its call.
        """
        saved = sum(each(self._left[key]) for key in self._saved if key in self._left)
        decoding = sum(map(known.decoding, self.at_work))
        others, passed = sum(map(each, self.at_work)) - decoding, now - self._since
        return saved + (others + min(passed, decoding) if self._decodes else min(passed, others))
