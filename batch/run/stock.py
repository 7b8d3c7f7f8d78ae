"""The images that a run has before it, counted by what they take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.plan.alike import load_key, pace_key
from batch.plan.estimate import CostGroup

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable

    from batch.plan.alike import LoadKey
    from batch.records.tasks import Task


class Stock:
    """Images in their order: those that take as long are looked up once, however many there are."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self.tasks = {task.id: task for task in tasks}
        self._groups: dict[Hashable, CostGroup] = {}
        self._loads: dict[LoadKey, CostGroup] = {}
        for task in self.tasks.values():
            self._groups.setdefault(pace_key(task), CostGroup(task)).count += 1
            self._loads.setdefault(load_key(task), CostGroup(task)).count += 1

    def take(self, key: str) -> None:
        """An image is not to come any more."""
        task = self.tasks.pop(key, None)
        if task is not None:
            self._groups[pace_key(task)].count -= 1
            self._loads[load_key(task)].count -= 1

    @property
    def groups(self) -> Collection[CostGroup]:
        """Of images that take as long."""
        return [group for group in self._groups.values() if group.count]

    @property
    def loads(self) -> dict[LoadKey, CostGroup]:
        """Of images for which a model is loaded once."""
        return {key: group for key, group in self._loads.items() if group.count}
