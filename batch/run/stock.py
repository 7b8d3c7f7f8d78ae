"""The images that a run has before it, and their texts, counted by what they take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.plan.alike import load_key, pace_key, session_key
from batch.plan.estimate import CostGroup

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Mapping

    from batch.plan.alike import LoadKey, SessionKey
    from batch.records.tasks import Task


class Stock:
    """Images in their order: those that take as long are looked up once, however many there are."""

    def __init__(self, tasks: Iterable[Task], texts: Mapping[str, int]) -> None:
        """``texts`` are to be encoded for images, by their ids."""
        self.tasks = {task.id: task for task in tasks}
        self.texts = {key: texts[key] for key in self.tasks if key in texts} if texts else {}
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
            self.texts.pop(key, None)

    def of(self, tasks: Iterable[Task]) -> Stock:
        """Some of the images, with their texts."""
        return Stock(tasks, self.texts)

    def asked(self, session: SessionKey, count: int) -> None:
        """So many texts of the session's first images are being encoded: they are not to come any more."""
        for key in [key for key in self.texts if session_key(self.tasks[key]) == session]:
            if count <= 0:
                return
            count -= self.texts.pop(key)

    @property
    def groups(self) -> Collection[CostGroup]:
        """Of images that take as long."""
        return [group for group in self._groups.values() if group.count]

    @property
    def loads(self) -> dict[LoadKey, CostGroup]:
        """Of images for which a model is loaded once."""
        return {key: group for key, group in self._loads.items() if group.count}
