"""A stop and a pause in the middle of a run."""

import threading
from dataclasses import dataclass, field

import psutil

from batch.base.errors import EXIT_INTERRUPTED
from batch.records.events import Beat, Event, Happening
from batch.records.kinds import HappeningKind, Stage
from batch.records.receipts import Outcome
from batch.run.steering import Steering
from batch.store.orders import Order, OrderKind
from tests.engines.contract.contract import job
from tests.fake_session import Fault

TEXT = job("0..9")
IMAGES = 20
SLOW = Fault("slow", seconds=0.15)


@dataclass
class Midway:
    """Does something once, when so many images are done and another one is being denoised."""

    act: object
    images: int = 3
    done: int = 0
    acted: bool = False

    def __call__(self, event: Event) -> None:
        self.done += isinstance(event, Outcome)
        at_work = isinstance(event, Beat) and event.stage == Stage.DENOISE
        if at_work and self.done >= self.images and not self.acted:
            self.acted = True
            self.act()


def goes_on(contract, ended):
    """The same command, undisturbed: what was done stays done, and what was not is rendered."""
    before, rendered = ended.done(), contract.ledger.times("denoise")
    contract.run(text=TEXT).assert_all_done(IMAGES)
    after = contract.ledger.times("denoise")
    assert {key: after[key] for key in before} == {key: rendered[key] for key in before}
    assert sum(after.values()) - sum(rendered.values()) == IMAGES - len(before)


def test_a_stop_finishes_what_is_at_work(contract):
    stop = Steering()
    ended = contract.run(SLOW, text=TEXT, stop=stop, then=Midway(stop.interrupt))
    ended.assert_sound()
    assert ended.result.stopped.exit_code == EXIT_INTERRUPTED
    assert 3 < ended.result.rendered < IMAGES
    # Nothing was begun in vain.
    assert set(contract.ledger.times("denoise")) == ended.done()
    goes_on(contract, ended)


def test_a_stop_that_drops(contract):
    stop = Steering()
    ended = contract.run(SLOW, text=TEXT, stop=stop, then=Midway(stop.set))
    ended.assert_sound()
    assert ended.result.stopped.exit_code == EXIT_INTERRUPTED
    assert 3 <= ended.result.rendered < IMAGES
    dropped = set(contract.ledger.times("denoise")) - ended.done()
    assert len(dropped) <= contract.kind.workers
    assert set(contract.ledger.times("decode")) == ended.done()  # what is rendered is saved
    assert ended.folder.failures() == {}
    goes_on(contract, ended)


@dataclass
class Pause:
    """Pauses midway, looks at what is left while it rests, and resumes."""

    contract: object
    stop: Steering
    resting: list[int] = field(default_factory=list)
    """Processes that are there all the same."""
    begun: int = 0

    def begin(self):
        self.stop.obey(Order(OrderKind.PAUSE, "a test"))

    def __post_init__(self):
        self.midway = Midway(self.begin)

    def __call__(self, event):
        self.midway(event)
        if isinstance(event, Happening) and event.kind == HappeningKind.PAUSED:
            # Beside the run, which waits and tells nothing more until it is resumed.
            threading.Thread(target=self._look).start()

    def _look(self):
        self.begun = len(self.contract.ledger.entries("denoise"))
        own = psutil.Process().pid
        workers = [psutil.Process(pid) for pid in self.contract.ledger.pids() - {own} if psutil.pid_exists(pid)]
        _, there = psutil.wait_procs(workers, timeout=5)
        self.resting = [worker.pid for worker in there]
        self.saved = len(list(self.contract.root.glob(".run/receipts/*/*.json")))
        self.stop.obey(Order(OrderKind.RESUME, "a test"))


def test_a_pause_saves_everything_and_gives_the_device_back(contract):
    stop = Steering()
    pause = Pause(contract, stop)
    ended = contract.run(SLOW, text=TEXT, stop=stop, then=pause)
    ended.assert_all_done(IMAGES)
    assert ended.watch.kinds() == ["paused", "resumed"]
    assert pause.resting == []
    assert 3 < pause.saved == pause.begun < IMAGES
    assert set(contract.ledger.times("denoise").values()) == {1}


def test_a_stop_while_it_rests(contract):
    stop = Steering()

    def then(event):
        midway(event)
        if isinstance(event, Happening) and event.kind == HappeningKind.PAUSED:
            stop.interrupt()

    midway = Midway(lambda: stop.obey(Order(OrderKind.PAUSE, "a test")))
    ended = contract.run(SLOW, text=TEXT, stop=stop, then=then)
    ended.assert_sound()
    assert ended.result.stopped.exit_code == EXIT_INTERRUPTED
    assert set(contract.ledger.times("denoise")) == ended.done()
    goes_on(contract, ended)
