"""What a measurement makes of a plan's pictures: warm-ups, repeats and passes, and what need not be tried. Pure.

A setting is all that tasks share but for prompt, negative prompt, style and seed. It is visited in two passes, the
second one backwards (A B B A), so that a card that becomes warmer is unfair to none; the repeats are split over
them. A visit is a fresh process, so each begins with warm-ups: the first images of the setting, as many as go into
one call, rendered, measured, kept, and told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from batch.plan import alike, names
from batch.plan.identity import identify
from batch.records.receipts import Failure
from batch.records.tasks import Task

PASSES = 2

Visit = tuple[Task, ...]
"""What one fresh process renders: the images of a setting in one pass, the warm-ups first."""


def expanded(pictures: Iterable[Task], repeats: int, batch: int, template: str, begun: str) -> list[Task]:
    """Every picture with its repeats and the warm-ups before them, in the order in which they are measured.

    ``batch`` is how many images go into one call; ``template`` and ``begun`` are those of :func:`names.assign`.
    """
    settings: dict[Hashable, list[Task]] = {}
    for picture in pictures:
        settings.setdefault(alike.setting_key(picture), []).append(picture)
    first = -(-repeats // PASSES)  # of three, two and one
    shares = [share for share in (range(1, first + 1), range(first + 1, repeats + 1)) if share]
    tasks: list[Task] = []
    for number, share in enumerate(shares):
        for group in list(settings.values())[:: 1 if number % 2 == 0 else -1]:
            tasks += [_of(picture, share[0], warmup=True) for picture in group[:batch]]
            tasks += [_of(picture, repeat) for repeat in share for picture in group]
    return names.assign(tasks, template, begun)


def _of(picture: Task, repeat: int, *, warmup: bool | None = None) -> Task:
    return identify(replace(picture, repeat=repeat, warmup=warmup))


def visits(tasks: Iterable[Task]) -> list[Visit]:
    """The visits of a plan that :func:`expanded` made, in order: each begins where warm-ups do."""
    found: list[list[Task]] = []
    for task in tasks:
        if not found or (task.warmup and not found[-1][-1].warmup):
            found.append([])
        found[-1].append(task)
    return [tuple(visit) for visit in found]


def with_warmups(visit: Visit, wanted: Collection[str]) -> list[Task]:
    """The wanted images of a visit; its warm-ups too where one of them is to be measured."""
    warm = any(task.id in wanted for task in visit if not task.warmup)
    return [task for task in visit if task.id in wanted or (task.warmup and warm)]


class Walls:
    """Sizes that did not fit, and what that tells about others at the same memory setting."""

    def __init__(self, failures: Iterable[Failure]) -> None:
        self._failed: dict[Hashable, list[Failure]] = {}
        for failure in failures:
            self.add(failure)

    def add(self, failure: Failure) -> None:
        """Take in a failure; only a measured image that ran out of memory tells something."""
        if failure.out_of_memory and not failure.task.warmup:
            self._failed.setdefault(alike.wall_key(failure.task), []).append(failure)

    def dominated(self, task: Task, batch: int) -> str:
        """Why an image need not be tried in calls of ``batch``: one no larger did not fit. Empty if it must.

        What ``auto`` adds goes by the size and the card, so it tells about its own size only.
        """
        for failure in self._failed.get(alike.wall_key(task), ()):
            other = failure.task
            same = (other.rendered_width, other.rendered_height) == (task.rendered_width, task.rendered_height)
            larger = task.memory != "auto" and _pixels(task) > _pixels(other)
            if failure.batch <= batch and (same or larger):
                together = f" in calls of {failure.batch}" if failure.batch > 1 else ""
                return f"dominated by {other.size}{together}: out of memory in {failure.error.stage}"
        return ""


def _pixels(task: Task) -> int:
    return task.rendered_width * task.rendered_height


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a measurement has still to do."""

    tasks: tuple[Task, ...]
    """In order, with the warm-ups that fresh processes need."""
    skipped: Mapping[str, str]
    """Ids that are not tried, and why."""
    out_of_memory: int
    """Images whose result is that they do not fit."""


def left(
    tasks: Sequence[Task],
    done: Mapping[str, bool],
    failures: Mapping[str, Failure],
    given_up: Collection[str],
    batch: Callable[[Task], int],
) -> Left:
    """Judge a plan by what its folder holds.

    ``done`` says of every image that is there whether it was the first of its process: one that is no warm-up is
    measured again then. ``batch`` is how many images go into one call with a task.
    """

    def settled_by_result(task: Task) -> bool:
        failure = failures.get(task.id)
        return failure is not None and failure.is_result and failure.batch <= batch(task)

    cold = {task.id for task in tasks if done.get(task.id) and not task.warmup}
    missing = [task for task in tasks if task.id not in done or task.id in cold]
    results = {task.id for task in missing if settled_by_result(task)}
    walls = Walls(failures[key] for key in results)
    skipped = {
        task.id: why
        for task in missing
        if task.id not in results and task.id not in done and (why := walls.dominated(task, batch(task)))
    }
    settled = results.union(given_up, skipped)
    wanted = {task.id for task in missing if task.id not in settled}
    chosen = [task for visit in visits(tasks) for task in with_warmups(visit, wanted)]
    rendered = {task.id for task in chosen}
    return Left(
        tasks=tuple(chosen),
        skipped={key: why for key, why in skipped.items() if key not in failures},
        out_of_memory=len(results - rendered),
    )
