"""When a run is expected to end, against runs whose times are known."""

from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from batch.plan.alike import session_key
from batch.plan.estimate import cost
from batch.plan.guess import Guess
from batch.plan.known import Known
from batch.plan.rates import learn
from batch.records.events import Beat, Began, Closed, Expected, Happening, LeftOut, Loading
from batch.records.kinds import HappeningKind, Stage
from batch.records.receipts import Outcome
from batch.records.tasks import Task
from batch.records.values import Call
from batch.run import pace as run_pace
from batch.run.limits import Gate, Limits
from batch.run.pace import FEW, Pace
from batch.store.folder import RunFolder
from tests.helpers import fake_run, happen
from tests.known_times import Times, told
from tests.small_receipts import a_task

TIMES = Times(models={"large": 2.5})
BEGAN = Began(name="known", folder=Path("run"), total=4, done=0, to_render=4)
OFFLOAD = {"memory": "offload", "memory_steps": (Call(name="model_cpu_offload"),)}


def mixed(seeds: int = 4) -> list[Task]:
    """Two models, three sizes, two step counts, guidance on and off, a memory setting; as plans order them."""
    tasks = [
        a_task(
            0, model=model, prompt=prompt, seed=seed, steps=steps, guidance=guidance,
            rendered_width=size, rendered_height=size, **(OFFLOAD if size == 1536 else {}),
        )
        for model in ("small", "large")
        for size in (1536, 1024, 768)
        for steps in (20, 12)
        for guidance in (4.5, 1.0)
        for seed in range(seeds)
        for prompt in ("a fox", "a whale")
    ]  # fmt: skip
    tasks.sort(key=lambda task: (task.model == "large", -cost(task)))
    return [replace(task, id=f"{number:016x}", name=f"image-{number}") for number, task in enumerate(tasks)]


def alike(count: int) -> list[Task]:
    """So many images that take as long."""
    return [replace(mixed(1)[0], id=f"{number:016x}", name=f"image-{number}") for number in range(count)]


def denoising(step: int, *tasks: Task) -> Beat:
    """Of one image, or of those of a call."""
    return Beat("a fox", Stage.DENOISE, step, 20, tuple(task.id for task in tasks))


def earlier(times: Times = TIMES) -> list:
    """Receipts of an earlier run: one size, one number of steps, both memory settings."""
    tasks = [
        a_task(900 + number, model=model, steps=8, rendered_width=side, rendered_height=side, **setting)
        for model in ("small", "large")
        for setting in ({}, OFFLOAD)
        for number, side in enumerate((640, 896, 640, 896))
    ]
    tasks = [replace(task, id=f"{900 + number:016x}") for number, task in enumerate(tasks)]
    return [item.event.receipt for item in told(tasks, times, None) if isinstance(item.event, Outcome)]


class Watched:
    """A run of known times, and what was expected in it: at which image, when, and what."""

    def __init__(self, tasks, work, times=TIMES, limits=None, known=None, **more) -> None:
        self.now = 0.0
        self.expected: list[tuple[int, float, Expected]] = []
        gate = Gate(
            limits or Limits(), RunFolder(work), tasks, min_free_disk=0, known=known, clock=lambda: self.now
        )  # fmt: skip
        texts = dict.fromkeys([next(items).id for _, items in groupby(tasks, session_key)], 2)
        pace = Pace(tasks, gate, texts, clock=lambda: self.now, **more)
        done = 0
        for item in told(tasks, times, work):
            self.now = item.at
            if isinstance(item.event, Outcome):
                gate.finished(item.event)
                done += 1
            if found := pace.after(item.event):
                self.expected.append((done, self.now, found))

    def error(self, done: int) -> float:
        """By how much what was expected of the rest was wrong, as a share of what it took."""
        at, expected = next((at, expected) for count, at, expected in self.expected if count == done)
        return expected.seconds / (self.now - at) - 1


@pytest.fixture
def history():
    return Known(history=learn(earlier()))


def test_after_ten_images_the_end_is_known_within_a_tenth(work, history):
    run = Watched(mixed(), work, known=history)
    errors = [run.error(count) for count in range(10, 90)]
    assert max(map(abs, errors)) < 0.1
    assert run.expected[0][2].source == "judged by earlier runs here"
    assert abs(run.error(0)) < 0.25  # before the first one is there


def test_without_earlier_runs_it_is_known_once_all_kinds_are(work):
    """What was never rendered here is a guess, and said to be one."""
    guess = Guess(weights={"small": 4.0, "large": 10.0})
    run = Watched(mixed(), work, known=Known(guess=guess))
    first = next(item for count, _, item in run.expected if count == 1)
    assert first.seconds is None or first.source.startswith("a guess")
    tenth = next(item for count, _, item in run.expected if count == 10)
    assert tenth.seconds is None or tenth.source.startswith("a guess")
    assert max(abs(run.error(count)) for count in range(60, 90)) < 0.1


def test_limits_are_part_of_what_is_expected(work, history):
    few = Watched(mixed(), work, limits=Limits(max_images=3), known=history)
    first = few.expected[0][2]
    whole = Watched(mixed(), work, known=Known(history=learn(earlier()))).expected[0][2]
    assert (first.cutoff.limit, first.cutoff.images, first.cutoff.clock) == ("--max-images", 3, False)
    assert first.ends_s == pytest.approx(15 + 6 + 3 * 89, rel=0.15)
    assert (first.seconds, whole.cutoff) == (whole.seconds, None)  # how long the rest is has one answer
    short = Watched(mixed(), work, limits=Limits(max_hours=0.5), known=history)
    _, at, expected = next(item for item in short.expected if item[0] == 8)
    assert (expected.cutoff.limit, expected.ends_s) == ("--max-hours 0.5", pytest.approx(1800 - at))
    assert expected.seconds > 2 * expected.ends_s
    by_then = sum(isinstance(item.event, Outcome) and item.at <= 1800 for item in told(mixed(), TIMES, work))
    assert expected.cutoff.images == pytest.approx(by_then, abs=1)


def of_texts(work, limits, seconds=30.0):
    """Forty images, each with a text of its own that takes so long: their pace, what one takes, what loading."""
    known = Known(history=learn(earlier(replace(TIMES, text=seconds))))
    tasks = alike(40)
    gate = Gate(limits, RunFolder(work), tasks, min_free_disk=0, known=known, clock=lambda: 0.0)
    pace = Pace(tasks, gate, {task.id: 1 for task in tasks}, clock=lambda: 0.0)
    return pace, known.image(tasks[0]).value, known.load(tasks[0])


def test_texts_count_for_the_images_that_need_them(work):
    """In portions: a limit is not said to let fewer images be done because of the texts of all."""
    pace, each, load = of_texts(work, Limits(max_hours=0.5, max_images=20))
    told = pace.after(BEGAN)
    by_then = (1800 - load) / (each + 30)
    assert (told.cutoff.limit, told.cutoff.images) == ("--max-hours 0.5", pytest.approx(by_then, abs=1))
    assert told.cutoff.images < 20
    pace.after(Loading(4))
    assert pace.after(LeftOut(0)).cutoff == told.cutoff  # a portion lies before images that are done by then
    few, _, _ = of_texts(work, Limits(max_hours=0.5, max_images=5))
    told = few.after(BEGAN)
    assert (told.cutoff.limit, told.cutoff.images) == ("--max-images", 5)
    assert told.ends_s == pytest.approx(load + 5 * (each + 30), rel=0.01)
    assert told.seconds == pytest.approx(load + 40 * (each + 30), rel=0.01)


def test_texts_that_come_at_once_lie_before_the_first_image(work):
    pace, each, load = of_texts(work, Limits(max_hours=0.5))
    pace.after(Loading(40))
    told = pace.after(LeftOut(0))
    assert told.cutoff.images == int((1800 - load - 40 * 30) / each)
    assert told.seconds == pytest.approx(load + 40 * (each + 30), rel=0.01)


def test_an_image_at_work_is_among_those_done_at_a_limit(work):
    pace, each, _ = of_texts(work, Limits(max_hours=0.01))
    pace.after(denoising(1, alike(1)[0]))
    told = pace.after(LeftOut(0))
    assert told.cutoff.seconds < each and told.cutoff.images == 1


def test_a_limit_beyond_the_end_cuts_nothing_off(work, history):
    run = Watched(alike(4), work, limits=Limits(max_hours=5, max_images=4), known=history)
    assert {item.cutoff for *_, item in run.expected} == {None}


def test_what_was_loaded_and_saved_is_not_expected_again(work, history):
    tasks = alike(4)
    gate = Gate(Limits(), RunFolder(work), tasks, min_free_disk=0, known=history)
    clock = [0.0]
    pace = Pace(tasks, gate, {}, clock=lambda: clock[0])

    def expected(event) -> float:
        return pace.after(event).seconds

    each, load = history.image(tasks[0]).value, history.load(tasks[0])
    saving = history.saving(tasks[0])
    assert expected(BEGAN) == pytest.approx(4 * each + load + saving, rel=0.01)
    clock[0] = load / 2
    assert expected(Loading(0)) == pytest.approx(4 * each + load + saving, rel=0.01)
    clock[0] += load
    pace.after(denoising(1, tasks[0]))
    clock[0] += each
    pace.after(denoising(1, tasks[1]))  # the first one is being saved
    clock[0] += each / 2
    pace.after(denoising(10, tasks[1]))
    assert expected(LeftOut(0)) == pytest.approx(2.5 * each + saving, rel=0.01)
    pace.after(Happening(kind=HappeningKind.WORKER_DIED, text="it died"))
    assert expected(LeftOut(0)) == pytest.approx(3 * each + load + saving, rel=0.01)


def test_images_of_one_call_are_at_work_together(work, history):
    tasks = alike(4)
    clock = [0.0]
    gate = Gate(Limits(), RunFolder(work), tasks, min_free_disk=0, known=history)
    pace = Pace(tasks, gate, {}, clock=lambda: clock[0])
    pace.after(denoising(1, *tasks[:3]))
    clock[0] = 10.0
    told = pace.after(LeftOut(0))
    each = history.image(tasks[0]).value
    assert told.image_s == pytest.approx(3 * each, rel=0.01)
    pace.after(denoising(1, tasks[3]))
    clock[0] = 20.0
    assert pace.after(LeftOut(0)).seconds == pytest.approx(each - 10 + history.saving(tasks[3]), rel=0.01)


def test_a_slow_first_image_is_no_part_of_the_others_in_its_call(work, history):
    """Four in a call, the first of them three times as slow: three are to be decoded all the same."""
    tasks, clock = alike(5), [0.0]
    gate = Gate(Limits(), RunFolder(work), tasks, min_free_disk=0, known=history)
    pace = Pace(tasks, gate, {}, clock=lambda: clock[0])
    each = history.image(tasks[0]).value
    pace.after(denoising(1, *tasks[:4]))
    clock[0] = 12 * each
    pace.after(Beat("", Stage.DECODE, 1, 1, tuple(task.id for task in tasks[:4])))
    decoding = history.decoding(tasks[0])
    clock[0] += decoding
    left = pace.after(Outcome(key=tasks[0].id, status="failed"))
    assert left.seconds == pytest.approx(each + 3 * decoding + history.saving(tasks[0]), rel=0.01)
    assert left.image_s == pytest.approx(4 * each, rel=0.01)  # of the whole call, as long as it lasts


def test_the_rate_is_that_of_the_expected_end(work, history):
    """Without gaps: of images alone, and none before a few of this run are there."""
    run = Watched(mixed(), work, known=history)
    rates = [(done, item) for done, _, item in run.expected if item.seconds]
    assert {item.per_hour for done, item in rates if done < FEW} == {None}
    assert all(item.per_hour for done, item in rates if done >= FEW)
    _, last = rates[-2]
    assert last.per_hour == pytest.approx(2 * 3600 / last.seconds, rel=0.35)


def test_a_pause_is_told_at_once_and_ends_with_loading(work, history):
    tasks, clock = alike(4), [0.0]
    gate = Gate(Limits(), RunFolder(work), tasks, min_free_disk=0, known=history)
    pace = Pace(tasks, gate, {}, clock=lambda: clock[0])
    going = pace.after(BEGAN).seconds
    pace.after(denoising(1, tasks[0]))
    assert pace.after(happen("paused", HappeningKind.PAUSED)).seconds == pytest.approx(going)
    clock[0] = 1e5
    assert pace.after(happen("resumed", HappeningKind.RESUMED)).seconds == pytest.approx(going)
    assert pace.after(Closed()).seconds == pytest.approx(going)  # what the next run would need


def test_the_clock_goes_on_in_a_pause(work, history):
    tasks, clock = alike(4), [0.0]
    limits = Limits(max_hours=5, max_images=3)
    gate = Gate(limits, RunFolder(work), tasks, min_free_disk=0, known=history, clock=lambda: clock[0])
    pace = Pace(tasks, gate, {}, clock=lambda: clock[0])
    assert pace.after(BEGAN).cutoff.limit == "--max-images"
    assert pace.after(happen("paused", HappeningKind.PAUSED)).cutoff.limit == "--max-images"
    pace = Pace(tasks[:3], gate, {}, clock=lambda: clock[0])
    assert pace.after(BEGAN).cutoff is None
    told = pace.after(happen("paused", HappeningKind.PAUSED))  # it may last beyond the limit
    assert (told.cutoff.limit, told.cutoff.seconds, told.cutoff.images) == ("--max-hours 5", 18000, None)
    assert pace.after(happen("resumed", HappeningKind.RESUMED)).cutoff is None


def test_a_model_that_is_loaded_again_and_again_is_counted(work, history):
    tasks = alike(10)
    gate = Gate(Limits(), RunFolder(work), tasks, min_free_disk=0, known=history)
    once = Pace(tasks, gate, {}, 0, clock=lambda: 0.0).after(BEGAN).seconds
    thrice = Pace(tasks, gate, {}, 4, clock=lambda: 0.0).after(BEGAN).seconds
    assert thrice - once == pytest.approx(2 * history.load(tasks[0]))


def test_a_measurement_goes_by_what_its_images_took_with_all_else(work):
    tasks, clock = alike(4), [0.0]
    gate = Gate(Limits(), RunFolder(work), tasks, min_free_disk=0)
    pace = Pace(tasks, gate, {}, 0, measures=True, clock=lambda: clock[0])
    assert pace.after(BEGAN).seconds is None
    clock[0] = 60.0
    told = pace.after(Outcome(key=tasks[0].id, status="failed"))
    assert (told.seconds, told.source) == (180.0, "as this run went so far")
    assert pace.after(LeftOut(2)).seconds == 60.0


def test_judging_costs_little_of_the_time(work, history):
    tasks, clock = mixed(), [0.0]

    def slow() -> float:
        clock[0] += 0.05
        return clock[0]

    gate = Gate(Limits(), RunFolder(work), tasks, min_free_disk=0, known=history, clock=lambda: 0.0)
    pace = Pace(tasks, gate, {}, clock=slow)
    told = [pace.after(Outcome(key=task.id, status="failed")) for task in tasks]
    assert 0 < sum(item is not None for item in told) < 0.05 * len(tasks) + 2


def test_a_run_tells_when_it_will_end(manifest, work, monkeypatch):
    monkeypatch.setattr(run_pace, "SHARE", 1e9)  # images of no time are judged all the same
    seen = Expectations()
    fake_run(manifest(), seen=seen, out=work / "run", engine="local")
    told = [kind for kind in seen.kinds if kind != "Preparing"]
    assert told[:2] == ["Began", "Expected"]
    assert seen.kinds.count("Outcome") == 4
    last = seen.expected[-1]
    assert (last.seconds, last.source) == (0.0, "")
    assert any(item.source == "judged by this run's images" for item in seen.expected)


class Expectations:
    """Hears what a run tells."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.expected: list[Expected] = []

    def on(self, event) -> None:
        self.kinds.append(type(event).__name__)
        if isinstance(event, Expected):
            self.expected.append(event)
