"""What a run is asked for beside its manifest, and how it ended; of a queue, each of its manifests."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from batch import engines
from batch.base import errors
from batch.base.errors import EXIT_FAILED, EXIT_OK, EXIT_RESUMABLE, StopRun
from batch.base.text import plural
from batch.render.diffusers_backend import Diffusers
from batch.run.account import Account
from batch.run.limits import Limits

if TYPE_CHECKING:
    from batch.engines.keep import Keep
    from batch.records.shard import Shard
    from batch.render.backend import Backend
    from batch.report.book import Report
    from batch.run.notifier import Notifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line adds to a manifest."""

    out: Path | None = None
    overrides: tuple[str, ...] = ()
    devices: str | None = None
    engine: str = ""
    """Empty takes the default."""
    ray_address: str = ""
    """Of the Ray cluster that ``--engine ray`` renders on; empty starts one."""
    retry_failed: bool = False
    keep_latents: bool = False
    fallback: bool = True
    """Out of memory: go on with a smaller setting, where the manifest does not forbid it."""
    redo_degraded: bool = False
    restore: bool = False
    """Render pictures again that somebody moved or changed."""
    retry_oom: bool = False
    """Of a measurement: try again what ran out of memory, and what was skipped for it."""
    vram_limit: int | None = None
    """Bytes of the card that the process may take."""
    task_timeout: float | None = None
    """Seconds without a sign of life after which the worker counts as hung."""
    stop_within: float | None = None
    """Seconds that a stop may take, saving and the report included."""
    backend: Backend = field(default_factory=Diffusers)
    """What renders."""
    shard: Shard | None = None
    """The part to render; None: all."""
    limits: Limits = field(default_factory=Limits)
    notify: tuple[str, ...] = ()
    """Whom to tell, besides those that the manifest names."""
    keep: Keep | None = None
    """Of a queue: the worker that its runs share. Who is told hears of one of these runs only where it failed."""

    @property
    def engine_name(self) -> str:
        """The one that renders. Raises :class:`~batch.base.errors.UserError` for a default that is none."""
        return self.engine or engines.default()

    @property
    def lasting(self) -> tuple[str, ...]:
        """What whoever goes on with the run gives again: ``--devices=0,1``. Each option is one word.

        Without limits, which are over, orders that are carried out once, and who is told, which may be a secret.
        The shard is the folder's to know.
        """
        own = (text for text in self.overrides if text.partition("=")[0].strip() != "notify")
        on_ray = self.engine_name == "ray"  # in another shell its variables may be others
        values = {
            "--engine": self.engine or ("ray" if on_ray else ""),
            "--ray-address": self.ray_address or (os.environ.get("RAY_ADDRESS", "") if on_ray else ""),
            "--devices": self.devices or "",
            "--vram-limit": f"{self.vram_limit}" if self.vram_limit is not None else "",
            "--task-timeout": f"{self.task_timeout:g}s" if self.task_timeout is not None else "",
            "--stop-within": f"{self.stop_within:g}s" if self.stop_within is not None else "",
        }
        flags = {"--keep-latents": self.keep_latents, "--no-fallback": not self.fallback}
        return (
            *(f"--set={text}" for text in own),
            *(f"{name}={value}" for name, value in values.items() if value),
            *(name for name, is_set in flags.items() if is_set),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherShard:
    """Another part of the job, of which images are not there."""

    shard: Shard
    missing: int
    at_work: bool
    """Somebody renders them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a run ended."""

    folder: Path
    total: int
    done: int
    """Images of the plan that are there now, as the report counts them."""
    done_before: int
    rendered: int
    lost: int = 0
    """Finished pictures that were deleted or damaged while it ran."""
    to_redo: int = 0
    """Of the done ones, those that were to be rendered again, and were not."""
    trash: tuple[Path, ...] = ()
    """Where pictures were moved that lay in the place of others."""
    failed: int
    given_up: int
    """Of the failed ones, those that have failed as often as ``retries`` allows."""
    out_of_memory: int = 0
    """Of a measurement: images whose result is that they do not fit; they count as no failure."""
    skipped: int = 0
    """Of a measurement: images that were not tried since smaller ones did not fit."""
    started: int = 0
    """Images that it began to render."""
    shard: Shard | None = None
    """The part that this is about; None: all images."""
    whole: int = 0
    """Images of all parts."""
    others: tuple[OtherShard, ...] | None = ()
    """The other parts of which images are not there; None where nobody has looked."""
    account: Account = field(default_factory=Account)
    seconds: float
    report: Report | None
    """None where it could not be written."""
    stopped: StopRun | None = None
    warnings: tuple[str, ...] = ()
    """What went wrong beside the images: no report."""
    telling: Notifier | None = field(default=None, compare=False, repr=False)
    """Who is being told of it; whoever ends the program waits for them, or leaves them."""

    @property
    def lost_in_words(self) -> str:
        """What became of those."""
        were = "was" if self.lost == 1 else "were"
        return f"{plural(self.lost, 'finished picture')} {were} deleted or damaged meanwhile"

    @property
    def elsewhere(self) -> int | None:
        """Images of other parts that are not there; None where nobody has looked."""
        return None if self.others is None else sum(other.missing for other in self.others)

    @property
    def left(self) -> int:
        """Images of the plan that a later run renders."""
        known = self.done + self.failed + self.out_of_memory + self.skipped
        return max(0, self.total - known)

    @property
    def exit_code(self) -> int:
        """What the command line ends with."""
        if self.stopped is not None:
            return self.stopped.exit_code
        return EXIT_FAILED if self.failed else EXIT_RESUMABLE if self.lost else EXIT_OK


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueEntry:
    """A manifest of a queue and what became of it: a result, or why there is none."""

    manifest: Path
    images: int = 0
    """Of its plan; 0 where it could not be planned."""
    done: int = 0
    """Of these, images that are there: after its run, or as they were found before its turn."""
    left: int = 0
    """Of these, images that a later run renders."""
    result: Result | None = None
    error: Exception | None = None
    """What kept it from running."""
    not_begun: bool = False
    """Nothing is wrong with it: the error ended the queue before its turn."""

    @property
    def left_out(self) -> bool:
        """Whether something is to be put right before it can run."""
        return self.result is None and not self.not_begun

    @property
    def complete(self) -> bool:
        """Whether it is not begun, and there was nothing to do."""
        return self.not_begun and self.images == self.done > 0 and not self.left

    @property
    def why(self) -> str:
        """Why there is no result."""
        return errors.in_words(self.error) if self.error is not None else ""

    @property
    def exit_code(self) -> int:
        """What it would have ended with by itself."""
        if self.result is not None:
            return self.result.exit_code
        if self.complete and not isinstance(self.error, errors.Interrupted):
            return EXIT_OK
        return self.error.exit_code if isinstance(self.error, errors.BatchError) else errors.EXIT_FAILED
