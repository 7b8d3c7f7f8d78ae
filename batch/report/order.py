"""The manifest's order, which people read a run in: rendering goes from large to small."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from batch.records.tasks import Task

ManifestPlace = tuple[str, int, tuple[int, int], tuple[int, int], float]


def place_by(order: Mapping[str, Sequence[str]]) -> Callable[[Task], ManifestPlace]:
    """A key to sort tasks by: the manifest's lines, and of one line its values of the axes that rendering goes by.

    ``order`` has these, size and steps; of runs of older versions it is not known, and small comes before large.
    """
    ranks = {(name, value): place for name, values in order.items() for place, value in enumerate(values)}

    def place(task: Task) -> ManifestPlace:
        path, _, line = task.source.rpartition(":")
        size = ranks.get(("size", task.size), len(ranks)), task.width * task.height
        steps = ranks.get(("steps", str(task.steps)), len(ranks)), task.steps
        return path, int(line) if line.isdigit() else 0, size, steps, task.guidance

    return place
