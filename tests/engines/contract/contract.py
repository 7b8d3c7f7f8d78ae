"""Runs through an engine under test, and what must be there when one is over."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from batch.base import atomic
from batch.records.events import Event, Happening
from batch.records.receipts import Outcome
from batch.run import runner
from batch.run.options import Options, Result
from batch.run.steering import Steering
from batch.store.folder import RunFolder
from batch.upkeep.verify import verify
from tests.engines.contract.ledger import Ledger, LedgerBackend
from tests.engines.contract.promises import Kind
from tests.fake_session import FakeBackend, Fault
from tests.helpers import hashes, nothing, plan, receipts_of

JOB = """\
name: contract
grid: {model: demo, prompt: [a, b], seed: 0..2, steps: 2, size: 512x512}
run: {min_free_disk: 1MB, max_consecutive_failures: 50}
"""
IMAGES = 6

HANGS_S = 120.0
"""A run that takes longer is stopped, and the test fails: it was to take seconds."""


def job(seeds="0..2", *, prompts="[a, b]", **run) -> str:
    """The job with more seeds, and other settings under ``run``."""
    more = "".join(f"{key}: {value}, " for key, value in run.items())
    return (
        JOB.replace("0..2", seeds).replace("[a, b]", prompts).replace("{min_free_disk", f"{{{more}min_free_disk")
    )


@dataclass
class Watch:
    """What a run told; ``then`` is called with each event."""

    then: Callable[[Event], None] = nothing
    happenings: list[Happening] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def on(self, event: Event) -> None:
        if isinstance(event, Happening):
            self.happenings.append(event)
        elif isinstance(event, Outcome):
            self.outcomes.append(event)
        self.then(event)

    def kinds(self) -> list[str]:
        return [item.kind for item in self.happenings]

    def count(self, kind: str) -> int:
        return self.kinds().count(kind)


@dataclass(frozen=True)
class Ended:
    """A run that is over."""

    result: Result
    watch: Watch
    folder: RunFolder

    def told(self) -> Counter[str]:
        """How many outcomes were told of each image."""
        return Counter(item.key for item in self.watch.outcomes)

    def done(self) -> set[str]:
        """Ids with a receipt."""
        return set(hashes(self.folder.root))

    def assert_sound(self) -> None:
        """No image was told twice, each one told as done is there with its bytes, and nothing else is."""
        told = {item.key for item in self.watch.outcomes if item.receipt is not None}
        assert set(self.told().values()) <= {1}, self.told()
        assert told <= self.done()
        assert self.result.rendered == len(told)
        found = verify(self.folder.root, nothing)
        torn = {"damaged", "orphaned", "replaced", "changed", "copy", "moved"}
        assert torn.isdisjoint(found.counts), found.findings
        assert len(list(self.folder.image_files())) == len(self.done())
        assert list(self.folder.root.rglob(f"*{atomic.TEMP_SUFFIX}")) == []

    def assert_all_done(self, images: int = IMAGES) -> None:
        """Each image is there once, sound, and nothing failed."""
        self.assert_sound()
        assert (self.result.done, self.result.failed, self.result.stopped) == (images, 0, None)
        assert self.folder.failures() == {}
        assert verify(self.folder.root, nothing).ok
        assert len(receipts_of(self.folder.root)) == images


class Contract:
    """One engine, one run folder; run after run may be made in it."""

    def __init__(
        self, kind: Kind, work: Path, place: Path, *, address: str = "", hangs_s: float = HANGS_S
    ) -> None:
        """``address`` is where a cluster is that runs of other processes join; those of this one are in it."""
        self.kind, self.work = kind, work
        self.address, self.hangs_s = address, hangs_s
        self.memo = place / "memo"
        self.ledger = Ledger(place / "ledger")
        self.root = work / "run"

    def write(self, text: str = JOB) -> Path:
        path = self.work / "job.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    def once(self, kind: str, stage: str = "denoise", times: int = 1, **more) -> Fault:
        """A fault that strikes so often in all."""
        return Fault(kind, stage, times=times, memo=str(self.memo), **more)

    def backend(self, *faults: Fault, **more) -> LedgerBackend:
        return LedgerBackend(FakeBackend(faults), str(self.ledger.folder), root=str(self.root), **more)

    def ids(self, text: str = JOB) -> dict[tuple[str, int], str]:
        """The images' ids by prompt and seed."""
        return {(task.prompt, task.seed): task.id for task in plan(self.write(text)).tasks}

    def run(
        self,
        *faults: Fault,
        text: str = JOB,
        then: Callable[[Event], None] = nothing,
        stop: Steering | None = None,
        backend: LedgerBackend | None = None,
        **options,
    ) -> Ended:
        """Render what is missing."""
        watch = Watch(then)
        chosen = Options(backend=backend or self.backend(*faults), out=self.root, **self.kind.options(), **options)
        stop = stop or Steering()
        hangs = threading.Timer(self.hangs_s, stop.set)
        hangs.start()
        try:
            result = runner.run(self.write(text), chosen, watch, stop)
        finally:
            hangs.cancel()
        result.telling.close()
        return Ended(result, watch, RunFolder(self.root))

    def undisturbed(self, text: str = JOB) -> dict[str, str]:
        """The hashes of a run in which nothing goes wrong, in this process."""
        out = self.work / "undisturbed"
        chosen = Options(backend=FakeBackend(), out=out, engine="local")
        runner.run(self.write(text), chosen, Watch(), Steering()).telling.close()
        return hashes(out)
