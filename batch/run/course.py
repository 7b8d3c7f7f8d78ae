"""The middle and the end of a run: what it was told to render is rendered, and what came of it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from batch.base.devices import one
from batch.base.errors import (
    BatchError,
    CannotGoOn,
    DiskFull,
    DiskLow,
    FailedInARow,
    FolderError,
    FolderLost,
    Interrupted,
    StopRun,
    UserError,
)
from batch.base.text import plural
from batch.records.events import Closed, Happening, Preparing
from batch.records.kinds import HappeningKind
from batch.records.shard import Shard
from batch.run.execute import EngineChoice, render
from batch.run.measure import Measuring
from batch.run.notify import tell
from batch.run.options import OtherShard, Result
from batch.run.summary import time_taken
from batch.store import events, shards

if TYPE_CHECKING:
    from batch.plan.plan import Plan
    from batch.records.spec import RunSpec
    from batch.records.tasks import Task
    from batch.report.book import Report
    from batch.run.live import LiveListener
    from batch.run.options import Options
    from batch.run.steering import Steering
    from batch.run.tally import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One run whose work is known. Its folder is held."""

    options: Options
    stop: Steering
    tally: Tally
    live: LiveListener
    start: float
    """When it began, by :func:`time.perf_counter`."""
    trash: frozenset[Path]
    """What lay there before."""
    whole: Plan
    """All that the folder is for, also where this run renders a part."""

    def render(self, spec: RunSpec) -> StopRun | None:
        """Render what is missing; what stopped it."""
        tally, options = self.tally, self.options
        tasks: Sequence[Task] = tally.left.to_render
        engine = EngineChoice(
            name=options.engine,
            devices=options.devices,
            backend=options.backend,
            keep=options.keep,
            ray_address=options.ray_address,
        )
        try:
            if tasks:
                tally.gate.check(tasks[0])  # before a model is loaded for nothing
            if spec.measure:
                # Every setting is measured in a fresh process, and alone on the card.
                if engine.keep is not None:
                    engine.keep.close()
                engine = replace(engine, name="process", keep=None, devices=one(options.devices))
                Measuring(spec=spec, engine=engine, tally=tally, stop=self.stop).run()
                return None
            while tasks:
                for outcome in render(
                    tally.plan, tasks, tally.folder, spec, engine, tally, stop=self.stop, admit=tally.gate.admit,
                    check=tally.gate.check, ahead=tally.gate.ahead,
                ):  # fmt: skip
                    tally.on(outcome)
                tasks = tally.take_again()
        except DiskFull as error:
            return DiskLow(f"{error}. {tally.gate.remedy()}")
        except StopRun as error:
            self.stop.tell(tally)  # it may have come up where nobody looked, as while a worker started
            return error
        except BatchError as error:
            data = {events.CANNOT_GO_ON: True}
            tally.log.write(Happening(kind=HappeningKind.STOPPED, text=f"the run stopped: {error}", data=data))
            raise
        finally:
            tally.on(Closed())
            tally.folder.sweep(own=True)  # a worker that was killed while it saved has left its temp file
        return None

    def end(self, stopped: StopRun | None) -> Result:
        """Log how it ended, write the report, begin to tell those who want to be told."""
        tally, folder, left = self.tally, self.tally.folder, self.tally.left
        seconds = perf_counter() - self.start  # without the report, in the log as in the summary
        made, unwritten = None, ""
        if not isinstance(stopped, FolderLost):  # else the log and the report are another runner's
            time = time_taken(seconds, tally.account.paused_s)
            rendered = f"{plural(tally.rendered, 'image')} rendered in {time}"
            text = rendered if stopped is None else f"the run stopped: {stopped}; {rendered}"
            kind = HappeningKind.END if stopped is None else HappeningKind.STOPPED
            tally.log.write(Happening(kind=kind, text=text, data=_why_data(stopped)))
            try:
                with self.stop.reporting():
                    made, unwritten = self._reported()
            except KeyboardInterrupt:
                stopped = stopped or Interrupted("interrupted while the report was written")
                unwritten = f"the report was left out; 'report {folder.root}' makes up for it later"
            self.live.say("" if stopped is None else f"stopped: {stopped}")
        own = frozenset(task.id for task in tally.plan.tasks)
        done = tally.done if made is None else len(own & made.there)
        tally.lost = max(0, tally.done - done)
        result = Result(
            folder=folder.root,
            total=len(tally.plan.tasks),
            done=done,
            done_before=left.done + len(left.redo),
            rendered=tally.rendered,
            lost=tally.lost,
            to_redo=len(tally.to_redo),
            trash=tuple(path for path in folder.trash.with_pictures() if path not in self.trash),
            failed=tally.failed + len(left.given_up),
            given_up=len(left.given_up) + tally.given_up,
            out_of_memory=left.out_of_memory + tally.out_of_memory,
            skipped=len(tally.skipped),
            started=tally.gate.started,
            account=tally.account,
            shard=folder.shard,
            whole=len(self.whole.tasks),
            others=None if made is None else self._others(made.there),
            report=made,
            seconds=seconds,
            stopped=stopped,
            warnings=(unwritten,) if unwritten else (),
        )
        whole = self.options.keep is None
        tell(tally.notifier, tally.plan.name, result, tally.figures(), folder, whole=whole)
        return replace(result, telling=tally.notifier)

    def _others(self, there: frozenset[str]) -> tuple[OtherShard, ...]:
        """The other parts of which images are not there."""
        folder = self.tally.folder
        if (mine := folder.shard) is None:
            return ()
        busy = {run.shard for run in shards.at_work(folder.state)}
        others = (shard for number in range(1, mine.of + 1) if (shard := Shard(number, mine.of)) != mine)
        missing = {shard: sum(task.id not in there for task in shard.part(self.whole.tasks)) for shard in others}
        return tuple(
            OtherShard(shard=shard, missing=count, at_work=shard in busy)
            for shard, count in missing.items()
            if count
        )

    def _reported(self) -> tuple[Report | None, str]:
        """The report; or a warning, since a full disk ends no run whose pictures are there."""
        try:
            self.tally.on(Preparing("writing the report"))
            return self.live.report(), ""
        # Nor does what somebody wrote into a record.
        except (OSError, FolderError, UserError, ValueError, ArithmeticError, LookupError) as error:
            why, root = getattr(error, "strerror", None) or error, self.tally.folder.root
            return None, f"the report could not be written ({why}); 'report {root}' makes up for it later"
        finally:
            self.live.on(Closed())  # past the tally, which would tell once more what is left


def _why_data(stopped: StopRun | None) -> dict[str, object]:
    """What the log's readers are to know of an end beside its text."""
    if isinstance(stopped, FailedInARow):
        return {events.IN_A_ROW: stopped.count, events.CANNOT_GO_ON: True}
    return {events.CANNOT_GO_ON: True} if isinstance(stopped, CannotGoOn) else {}
