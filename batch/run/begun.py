"""Which of a run's images were begun at a seat: those at work, and those that are being saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.plan.alike import load_key
from batch.records.kinds import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batch.plan.alike import LoadKey
    from batch.records.tasks import Task
    from batch.run.stock import Stock

    Times = Callable[[Task], tuple[float, float] | None]
    """Seconds of an image and of its decoding; None: nothing is known of it."""


class Begun:
    """One seat. Learns from what its worker tells; times in seconds, by the clock of whoever tells."""

    def __init__(self, stock: Stock, now: float = 0.0) -> None:
        """``stock`` is what is left; whatever is taken out of it is done."""
        self._left = stock.tasks
        self.at: dict[str, Task] = {}
        """One image, or those of a call, also when some of them are done."""
        self.saved: set[str] = set()
        """Ids of those that are being saved."""
        self.loaded: LoadKey | None = None
        self.waited = now
        """Since then it loads, while no image is at work; encoding is taken out."""
        self.encodes = False
        """The last thing heard of it is a text."""
        self._since = 0.0
        """When they began to be denoised, or the one that is now to be decoded."""
        self._decodes = False
        self._heard: tuple[Sequence[str], bool] = ((), False)

    def hear(self, ids: Sequence[str], stage: Stage, now: float) -> bool:
        """What is at work, of one call; whether that is new."""
        if (ids, stage == Stage.DECODE) == self._heard:  # step after step
            return False
        self._heard = (ids, stage == Stage.DECODE)
        at = {key: self._left[key] for key in ids if key in self._left}
        is_new = not at.keys() <= self.at.keys()
        if is_new:
            self.saved.update(task.id for task in self.at_work)
            self.at = at
            self.loaded = load_key(next(iter(at.values())))
        decodes = stage == Stage.DECODE
        if is_new or (decodes and not self._decodes):
            self._since = now
        self._decodes = decodes
        return is_new

    def done(self, key: str, now: float) -> None:
        """An image is done or has failed; of those of a call the next one is decoded."""
        if key in self.at and self._decodes:
            self._since = now
        self.saved.discard(key)

    def forget(self, now: float, *, saved: bool = False) -> None:
        """Nothing is at work or loaded any more; nor is anything being ``saved``."""
        self.at, self._decodes, self._heard = {}, False, ((), False)
        self.loaded, self.waited, self.encodes = None, now, False
        if saved:
            self.saved.clear()

    @property
    def at_work(self) -> list[Task]:
        """What is at work and not done."""
        return [task for key, task in self.at.items() if key in self._left]

    @property
    def tasks(self) -> list[Task]:
        """What is at work or being saved."""
        return [self._left[key] for key in self.saved.union(self.at) if key in self._left]

    def rest_s(self, now: float, times: Times) -> float:
        """What the images at work still take; what is being saved takes no more.

        Nothing of what a first image took longer counts for the others of its call.
        """
        found, passed = [times(task) or (0.0, 0.0) for task in self.at_work], now - self._since
        decoding = sum(decoded for _, decoded in found)
        if self._decodes:
            return max(0.0, decoding - passed)
        others = sum(whole for whole, _ in found) - decoding
        return max(0.0, others - passed) + decoding
