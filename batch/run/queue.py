"""Several manifests, one after the other, with one budget, one worker and one summary: a queue for the night."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from batch.base import errors
from batch.base.errors import DiskLow, Interrupted, LimitReached, StopRun, UserError
from batch.base.text import done_about, roughly
from batch.engines.keep import Keep
from batch.hub.downloads import FetchOptions
from batch.records.events import Closed, Preparing
from batch.run import runner
from batch.run.options import QueueEntry
from batch.run.remaining import remaining
from batch.run.targets import check as check_targets
from batch.store.shards import own_state

if TYPE_CHECKING:
    from batch.records.events import Listener
    from batch.run.notifier import Notifier
    from batch.run.options import Options
    from batch.run.prepare import Prepared
    from batch.run.steering import Steering

WORST = (
    errors.EXIT_OK,
    errors.EXIT_RESUMABLE,
    errors.EXIT_FAILED,
    errors.EXIT_FOLDER,
    errors.EXIT_USER,
    errors.EXIT_INTERRUPTED,
)
"""Exit codes, each worse than those before: a queue ends with the worst of its manifests."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A manifest that may begin; ``place`` is its place in the command."""

    place: int
    folder: Path
    found: QueueEntry
    """What is known of it before its turn."""
    seconds: float | None
    """What it takes, as far as that is known."""
    guessed: bool


@dataclass(slots=True, kw_only=True)
class Queue:
    """Manifests that are run in the order given. ``listeners`` makes who is shown the run of each."""

    manifests: Sequence[Path]
    options: Options
    listeners: Callable[[Path], Listener]
    stop: Steering
    targets: list[str] = field(default_factory=list)
    """Whom those that may begin want to have told."""
    _found: dict[int, QueueEntry] = field(default_factory=dict)
    _began: float = field(default_factory=monotonic)
    _started: int = 0
    """Images of all runs."""
    _ahead: Sequence[_Waiting] = ()
    """Whose turn it is, and those behind it."""

    def __post_init__(self) -> None:
        """Raise :class:`UserError` for what is wrong with all of them: an option, somebody who cannot be told."""
        if self.options.out is not None:
            raise UserError(
                f"--out {self.options.out}: that is one folder, and there are {len(self.manifests)} manifests. "
                "Leave it out, and each has outputs/<name>; or run them one by one"
            )
        self.targets += self.options.notify
        check_targets(self.targets)

    @property
    def entries(self) -> list[QueueEntry]:
        """What became of the manifests so far, in the order given."""
        return [self._found[place] for place in sorted(self._found)]

    @property
    def exit_code(self) -> int:
        """The worst of all."""
        return max((entry.exit_code for entry in self.entries), key=WORST.index, default=errors.EXIT_OK)

    @property
    def telling(self) -> list[Notifier]:
        """Who is still told of its runs."""
        results = (entry.result for entry in self.entries)
        return [result.telling for result in results if result is not None and result.telling is not None]

    @property
    def seconds(self) -> float:
        """Since it began."""
        return monotonic() - self._began

    @property
    def expected(self) -> str:
        """When all that is ahead will be done, or how long it takes where a limit comes before; "" where unknown.

        Of one alone its own run says that, and better.
        """
        known = [item.seconds for item in self._ahead if item.seconds is not None]
        images, seconds = sum(item.found.left for item in self._ahead), sum(known)
        guessed = any(item.guessed for item in self._ahead)
        if not images or len(known) < max(2, len(self._ahead)) or (guessed and self._started):
            return ""  # what was guessed before the first image is worse than what is known since
        if self._cut_off(images, seconds):
            return f"about {roughly(seconds)} for all that is left"
        return f"all {done_about(seconds, guessed=guessed)}"

    def run(self) -> Iterator[QueueEntry]:
        """Check all, then render one after the other; yields each when its end is known."""
        waiting: list[_Waiting] = []
        yield from self._check(waiting)
        keep = Keep([own_state(item.folder / ".run", self.options.shard).parent for item in waiting])
        try:
            yield from self._render(waiting, keep)
        finally:
            keep.close()

    def _noted(self, place: int, entry: QueueEntry) -> QueueEntry:
        self._found[place] = entry
        return entry

    def _check(self, waiting: list[_Waiting]) -> Iterator[QueueEntry]:
        """Read and plan all; yields those that cannot begin."""
        taken: dict[str, Path] = {}
        for index, manifest in enumerate(self.manifests):
            try:
                self._check_named_once(index)
                with self._shown(manifest) as listener:
                    if self.stop.finishing:
                        raise Interrupted(self.stop.reason)
                    _tell(listener, Preparing(f"checking {manifest}"))
                    job = runner.check(manifest, self.options, FetchOptions(listener=listener, stop=self.stop))
                check_targets(job.manifest.notify)
                folder = job.folder.root
                place = _place(folder)
                if place in taken:
                    raise UserError(
                        f"its run folder {folder} is that of {taken[place]} too. Give it a name of its own "
                        "(name: …), or make one manifest of both"
                    )
                found = self._waiting(index, job)
            except (errors.BatchError, OSError) as error:
                entry = QueueEntry(manifest=manifest, error=error, not_begun=isinstance(error, Interrupted))
                yield self._noted(index, entry)
            else:
                taken[place] = manifest
                waiting.append(found)
                self.targets += job.manifest.notify

    def _check_named_once(self, index: int) -> None:
        named = self.manifests[index]
        if any(_place(named) == _place(other) for other in self.manifests[:index]):
            raise UserError("named twice; it counts once")

    def _waiting(self, place: int, job: Prepared) -> _Waiting:
        options, plan = self.options, job.part
        where = remaining(
            plan, job.folder, job.manifest.run.retries, job.earlier,
            redo_degraded=options.redo_degraded, restore=options.restore, devices=options.devices, crew=job.crew,
            whole=job.plan,
        )  # fmt: skip
        done, left, takes = where.done + len(where.redo), len(where.to_render), where.estimate
        found = QueueEntry(manifest=self.manifests[place], images=len(plan.tasks), done=done, left=left)
        seconds = takes.seconds if takes is not None and left else 0.0
        if left and not job.crew:
            seconds = None  # how many devices a cluster has shows when it answers
        guessed = takes is not None and takes.is_guess and left > 0
        return _Waiting(place, job.folder.root, found, seconds, guessed)

    def _render(self, waiting: Sequence[_Waiting], keep: Keep) -> Iterator[QueueEntry]:
        """Run those that may begin; once something has ended the whole, yields the others as not begun."""
        ended: StopRun | None = None
        full: dict[int, StopRun] = {}
        for index, item in enumerate(waiting):
            self._ahead = waiting[index:]
            ended = ended or self._spent()
            if why := ended or full.get(_disk(item.folder)):
                yield self._noted(item.place, replace(item.found, error=why, not_begun=True))
                continue
            entry = self._one(item, keep)
            stopped = entry.error if entry.result is None else entry.result.stopped
            if isinstance(stopped, LimitReached):
                ended = LimitReached(stopped.limit)  # what is left there is that run's
            elif isinstance(stopped, Interrupted):
                ended = stopped
            elif isinstance(stopped, DiskLow):
                full[_disk(item.folder)] = stopped
            yield self._noted(item.place, entry)

    def _one(self, item: _Waiting, keep: Keep) -> QueueEntry:
        shared = replace(self.options.limits, since=self._began, started=self._started)
        options = replace(self.options, limits=shared, keep=keep)
        try:
            with self._shown(item.found.manifest) as listener:
                result = runner.run(item.found.manifest, options, listener, self.stop)
        except Exception as error:  # noqa: BLE001 - whatever it is, the night goes on with the others
            return replace(item.found, error=error)
        self._started += result.started
        return replace(item.found, images=result.total, done=result.done, left=result.left, result=result)

    @contextmanager
    def _shown(self, manifest: Path) -> Iterator[Listener]:
        """Who is shown a manifest; the terminal is free again when that is over, however it ends."""
        listener = self.listeners(manifest)
        try:
            yield listener
        finally:
            _tell(listener, Closed())

    def _cut_off(self, images: int, seconds: float) -> bool:
        """Whether a limit ends the whole before so many images, which take so long, are done."""
        asked = self.options.limits
        if asked.max_images is not None and self._started + images > asked.max_images:
            return True
        return any(left < seconds for _, left in asked.deadlines(self.seconds, datetime.now(UTC)))

    def _spent(self) -> StopRun | None:
        """What ends the whole before the next one begins."""
        if self.stop.finishing:
            return Interrupted(self.stop.reason)
        asked = self.options.limits
        if asked.max_images is not None and self._started >= asked.max_images:
            return LimitReached(f"--max-images {asked.max_images} is reached")
        deadlines = asked.deadlines(self.seconds, datetime.now(UTC))
        over = next((name for name, left in deadlines if left <= 0), None)
        return LimitReached(f"{over} is reached") if over else None


def _place(path: Path) -> str:
    """The same for two ways of naming one file or folder."""
    return os.path.normcase(os.path.realpath(path))  # links in a circle are no error here


def _tell(listener: Listener, event: Preparing | Closed) -> None:
    with suppress(OSError, ValueError):  # the terminal, or who reads the pipe, may be gone: the night goes on
        listener.on(event)


def _disk(folder: Path) -> int:
    """The file system that a folder is on, or will be."""
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists()).stat().st_dev
