"""A run that measures: visit after visit, each in a fresh process, warm-ups first, and no second way tried.

What runs out of memory is a result. What is larger at the same setting is skipped then, and the run folder says
why. Texts are encoded in every visit anew, into ``.run/embeds``, which is emptied before and after: the user's
cache would hide what encoding takes.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batch.base.errors import StopRun
from batch.base.text import plural
from batch.plan import measuring
from batch.plan.measuring import Walls
from batch.records.events import Happening, LeftOut
from batch.records.kinds import HappeningKind
from batch.records.spec import RunSpec
from batch.records.tasks import Task
from batch.run.execute import render
from batch.store import measured

if TYPE_CHECKING:
    from batch.engines.base import Helm
    from batch.plan.measuring import Visit
    from batch.run.execute import EngineChoice
    from batch.run.tally import Tally


class _Dominated(StopRun):
    """Ends a visit: the rest of it would run out of memory too."""


class _Broken(StopRun):
    """Ends a visit: the process that took another's place is cold, and has not encoded the texts itself."""


@dataclass(slots=True, kw_only=True)
class Measuring:
    """What one run does between the lock and the report."""

    spec: RunSpec
    engine: EngineChoice
    tally: Tally
    stop: Helm
    _pending: set[str] = field(init=False)
    """Ids that are to be rendered."""
    _walls: Walls = field(default_factory=lambda: Walls(()))
    _deaths: int = 0
    """As the tally counted them when the process at work began."""
    _patient: bool = False
    """A process that took another's place goes on with its work, so that what kills it is found out."""

    def run(self) -> None:
        """Measure what is left. Raises what stops the run; what is done stays done."""
        planned = {task.id for task in self.tally.plan.tasks}
        self._pending = {task.id for task in self.tally.left.to_render}
        self._walls = Walls(item for key, item in self.tally.folder.failures().items() if key in planned)
        self._keep_skipped()
        while self._pending:
            for visit in measuring.visits(self.tally.plan.tasks):
                self._visit(visit)
            self._pending = {task.id for task in self.tally.take_again()}

    def _visit(self, visit: Visit) -> None:
        """Fresh processes for what is pending of a visit: one, unless it dies."""
        in_vain = 0
        while True:
            self._skip(visit)
            tasks = measuring.with_warmups(visit, self._pending)
            if not tasks:
                return
            self.stop.between(self.tally)
            before, self._patient = len(self._pending), in_vain >= self.tally.run.retries
            try:
                self._measure(tasks)
            except _Dominated:
                self._skip(visit)
            except _Broken:
                in_vain = in_vain + 1 if len(self._pending) == before else 0
                continue
            return

    def _measure(self, tasks: Sequence[Task]) -> None:
        """One fresh process."""
        redo = frozenset(task.id for task in tasks if self.tally.folder.is_done(task.id))
        spec = replace(self.spec, redo=redo, cache=str(self.tally.folder.state))
        self._deaths = self.tally.deaths
        self._forget_texts()
        try:
            for outcome in render(
                self.tally.plan, tasks, self.tally.folder, spec, self.engine, self.tally,
                stop=self.stop, admit=self._admit,
            ):  # fmt: skip
                if outcome.failure is not None:
                    self._walls.add(outcome.failure)
                if outcome.key in self._pending:  # else it is a warm-up that is counted already
                    self._pending.discard(outcome.key)
                    self.tally.on(outcome)
        finally:
            self._forget_texts()

    def _admit(self, task: Task, _seat: int) -> None:
        if self.tally.deaths > self._deaths and not self._patient:
            raise _Broken("a worker died")
        if task.warmup:
            self.tally.gate.check(task)  # --max-images counts what is measured: else one at a time never ends
            return
        if why := self._dominated(task):
            raise _Dominated(why)
        self.tally.gate.admit(task)

    def _dominated(self, task: Task) -> str:
        return self._walls.dominated(task, self.tally.plan.images_per_call(task))

    def _skip(self, visit: Visit) -> None:
        """Leave out what is pending of a visit and would not fit."""
        found = {task: why for task in visit if task.id in self._pending and (why := self._dominated(task))}
        if not found:
            return
        self._pending -= {task.id for task in found}
        folder = self.tally.folder
        self.tally.skipped |= {task.id: why for task, why in found.items() if not folder.is_done(task.id)}
        self._keep_skipped()
        self.tally.on(LeftOut(len(found)))
        named = Counter((task.model, task.size, task.memory, why) for task, why in found.items())
        for (model, size, memory, why), count in named.items():
            text = f"skipped {plural(count, 'image')} of {model} at {size}, memory {memory}: {why}"
            self.tally.on(Happening(kind=HappeningKind.SKIPPED, text=text, data={"images": count, "reason": why}))

    def _keep_skipped(self) -> None:
        self.tally.folder.still_held()
        measured.keep_skipped(self.tally.folder.state, self.tally.skipped, self.tally.folder.runner)

    def _forget_texts(self) -> None:
        self.tally.folder.still_held()  # else they may be another runner's
        shutil.rmtree(self.tally.folder.state / "embeds", ignore_errors=True)
