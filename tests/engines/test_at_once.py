"""A finished image is told while the next one is rendered, and each of them once."""

import time
from pathlib import Path

import pytest

from batch.base.errors import Interrupted
from batch.engines.local import _Telling
from batch.records.events import Beat
from batch.records.kinds import Stage, Status
from batch.records.receipts import Outcome
from batch.run import runner
from batch.run.options import Options
from batch.run.steering import Steering
from tests.engines.steered import done
from tests.fake_session import FakeBackend, FakeSession
from tests.helpers import Seen

JOB = """\
name: job
grid: {model: demo, prompt: a, seed: 0..3, steps: 2, size: 512x512}
run: {min_free_disk: 1MB, batch: BATCH, compile: off}
"""


class Attentive(FakeSession):
    """Renders on when all before is saved, and goes on showing signs of life."""

    def denoise(self, tasks, embeds, steps, beat):
        while done() < tasks[0].seed:
            time.sleep(0.02)
        for _ in range(10 if tasks[0].seed else 0):
            time.sleep(0.05)
            beat(Stage.DENOISE, 0, 0)
        return super().denoise(tasks, embeds, steps, beat)


class Backend(FakeBackend):
    def open(self, source, _dtype, _device, *, measure=False):
        return Attentive(source)


class Told:
    """The seeds that were told, and how many of them when a call came to be decoded."""

    def __init__(self):
        self.seeds, self.before = [], {}

    def on(self, event):
        if isinstance(event, Beat) and event.stage == Stage.DECODE:
            self.before.setdefault(event.ids, len(self.seeds))
        elif isinstance(event, Outcome):
            self.seeds.append(event.receipt.task.seed)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("engine", ["local", "process"])
def test_an_image_is_told_while_the_next_is_rendered(manifest, work, engine, batch):
    path, told = manifest(JOB.replace("BATCH", str(batch))), Told()
    options = Options(backend=Backend(), out=Path("run"), engine=engine)
    result = runner.run(path, options, told, Steering())
    assert (result.done, result.stopped) == (4, None)
    assert told.seeds == [0, 1, 2, 3]
    if engine == "process":  # in this process nothing can be yielded before a call is over
        assert list(told.before.values()) == ([0, 1, 2, 3] if batch == 1 else [0, 2])


def test_an_engine_in_this_process_yields_whatever_it_told():
    """For whoever counts what is yielded, as a comparison with pictures rendered again does."""
    worker, told = Slow(), _Telling(Seen(), Steering())
    worker.listener = told
    assert [outcome.key for outcome in told.with_told(worker.work())] == ["0", "1", "2"]
    seen = []
    with pytest.raises(Interrupted):
        seen.extend(outcome.key for outcome in told.with_told(worker.work(then=Interrupted("interrupted"))))
    assert seen == ["0", "1", "2"]


class Slow:
    """Tells one image in the middle of another, and yields those that are ready."""

    def work(self, then=None):
        self.listener.on(Outcome(key="0", status=Status.DONE))
        yield Outcome(key="1", status=Status.DONE)
        self.listener.on(Outcome(key="2", status=Status.DONE))
        if then is not None:
            raise then
