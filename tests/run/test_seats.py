"""When a run at several seats is expected to end, against simulated runs whose times are known."""

import platform
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from batch.base.errors import LimitReached
from batch.cli.progress import Silent
from batch.engines.base import Seated
from batch.engines.local import LocalEngine
from batch.plan.known import Known
from batch.plan.rates import CostPart, learn
from batch.records.events import Beat, Crew, Encoded, Expected, Happening, Loading, Seat
from batch.records.kinds import HappeningKind, Stage
from batch.records.receipts import Machine, Outcome
from batch.run.knowing import of_seats
from batch.run.limits import Gate, Limits
from batch.run.pace import Pace
from batch.run.schedule import Batch, ModelQueue, SeatTime, schedule
from batch.store import events, history, live
from batch.store.folder import RunFolder
from tests.helpers import fake_run
from tests.known_seats import Run, seats
from tests.run.test_pace import BEGAN, TIMES, alike, denoising, earlier, mixed

FACTORS = {"fast": 1.0, "slow": 3.0}


def history_of(seat):
    """What earlier runs tell of a kind."""
    factor = FACTORS[seat.kind]
    scaled = replace(TIMES, step=TIMES.step * factor, decode=TIMES.decode * factor, load=TIMES.load * factor)
    return Known(history=learn(replace(item, machine=Machine(device=seat.kind)) for item in earlier(scaled)))


class Watched:
    """A simulated run, and what was expected in it: at which image, when, and what."""

    def __init__(self, work, run, limits=None, of_seat=history_of, **more) -> None:
        self.now, self.run = 0.0, run
        self.expected: list[tuple[int, float, Expected]] = []
        self.outcomes: list[float] = []
        known = of_seat(run.crew[0]) if of_seat else None
        self.gate = Gate(
            limits or Limits(), RunFolder(work), run.tasks, min_free_disk=0, known=known, of_seat=of_seat,
            clock=lambda: self.now,
        )  # fmt: skip
        firsts = {task.model: task.id for task in reversed(run.tasks)}.values()
        texts = dict.fromkeys(firsts, run.texts) if run.texts else {}
        pace = Pace(run.tasks, self.gate, texts, clock=lambda: self.now, **more)
        for item in run.told():
            self.now = item.at
            if isinstance(item.event, Crew):
                self.gate.crew(item.event)
            if isinstance(item.event, Outcome):
                self.gate.finished(item.event)
                self.outcomes.append(self.now)
            if found := pace.after(item.event):
                self.expected.append((len(self.outcomes), self.now, found))

    def errors(self, first, until=None):
        """Of what was expected from so many images on, as a share of what it took."""
        found = [
            (count, expected.seconds / (self.now - at) - 1)
            for count, at, expected in self.expected
            if first <= count < (until or len(self.run.tasks) - 5) and expected.seconds is not None
        ]
        assert found
        return dict(found)

    def worst(self, first, until=None):
        return max(map(abs, self.errors(first, until).values()))


def a_run(tasks, *kinds, **more):
    return Run(tasks, seats(*kinds), FACTORS, TIMES, **more)


@pytest.mark.parametrize(
    "kinds", [("fast",), ("fast", "fast"), ("fast", "slow"), ("slow", "fast", "fast", "fast")]
)
def test_after_ten_images_the_end_is_known_within_a_tenth(work, kinds):
    """Of two models, three sizes, with texts: and before the first image about as well."""
    run = Watched(work, a_run(mixed(), *kinds, texts=8))
    assert len(run.outcomes) == 192
    assert run.worst(10) < 0.1
    assert abs(run.errors(0, 1)[0]) < 0.2


def test_a_kind_without_a_past_is_judged_by_how_it_compares(work):
    """The slow card has no history: once it has rendered a few, the end is known as well."""
    of_seat = lambda seat: history_of(seat) if seat.kind == "fast" else Known()  # noqa: E731
    run = Watched(work, a_run(mixed(), "fast", "slow"), of_seat=of_seat)
    assert run.expected[2][2].seconds is not None  # as if it were as fast
    assert run.worst(12, 85) < 0.1


def test_without_any_past_it_is_known_once_all_kinds_of_images_are(work):
    run = Watched(work, a_run(alike(60), "fast", "slow"), of_seat=None)
    assert run.worst(10) < 0.1


def test_a_worker_that_dies_loads_again_at_its_seat_alone(work):
    run = a_run(alike(60), "fast", "fast")
    run.at(1000.0, lambda: run.dies(1))
    found = Watched(work, run)
    assert found.worst(10) < 0.1


def test_a_seat_that_left_is_not_counted(work):
    run = a_run(alike(60), "fast", "fast", "slow")
    run.at(1000.0, lambda: run.dies(0, leaves=True))
    found = Watched(work, run)
    gone = sum(at <= 1000 for at in found.outcomes)
    before = [item for count, _, item in found.expected if 10 <= count < gone]
    after = next(item for _, at, item in found.expected if at >= 1000)
    assert after.seconds > 1.4 * before[-1].seconds
    assert found.worst(gone + 1) < 0.1


def test_a_pause_ends_with_loading_at_every_seat(work):
    found = Watched(work, a_run(alike(60), "fast", "slow", pause=(1000.0, 40_000.0)))
    resumed = sum(at <= 40_000 for at in found.outcomes)
    assert found.worst(resumed + 1) < 0.1
    told = [item for _, at, item in found.expected if 1000 < at < 42_000]
    assert max(item.seconds for item in told) < 5000  # none of them counts the pause


def test_the_rate_is_that_of_all_seats(work):
    one = Watched(work, a_run(alike(60), "fast"))
    four = Watched(work, a_run(alike(60), "fast", "fast", "fast", "slow"))
    rates = [run.expected[len(run.expected) // 2][2].per_hour for run in (one, four)]
    assert rates[1] / rates[0] == pytest.approx(3 + 1 / 3, rel=0.05)


def test_a_limit_by_the_clock_is_told_with_what_all_do_by_then(work):
    found = Watched(work, a_run(alike(60), "fast", "slow"), limits=Limits(max_hours=1000 / 3600))
    by_then = sum(at <= 1000 for at in found.outcomes)
    _, at, told = next(item for item in found.expected if item[0] == 10)
    assert told.cutoff.seconds == pytest.approx(1000 - at)
    assert told.cutoff.images == pytest.approx(by_then, abs=2)


def test_a_limit_by_number_counts_all_seats(work):
    found = Watched(work, a_run(alike(60), "fast", "fast"), limits=Limits(max_images=30))
    _, at, told = next(item for item in found.expected if item[0] == 10)
    assert (told.cutoff.limit, told.cutoff.images) == ("--max-images", 30)
    assert told.ends_s == pytest.approx(found.outcomes[29] - at, rel=0.1)


# What is told at several seats


class Told:
    """Two fast cards with a history, and nothing else but what a test tells."""

    def __init__(self, work, count=8, texts=None, kinds=("fast", "fast")):
        self.tasks, self.clock = alike(count), [0.0]
        crew = Crew(seats(*kinds))
        self.known = history_of(crew.seats[0])
        gate = Gate(Limits(), RunFolder(work), self.tasks, min_free_disk=0, known=self.known, of_seat=history_of)
        gate.crew(crew)
        self.pace = Pace(self.tasks, gate, texts or {}, clock=lambda: self.clock[0])
        self.pace.after(BEGAN)
        self.first = self.pace.after(crew)
        self.each, self.load = self.known.image(self.tasks[0]).value, self.known.load(self.tasks[0])
        self.saving = self.known.saving(self.tasks[0])

    def now(self):
        return self.pace.after(Happening(kind=HappeningKind.RESUMED, text="", seat=99))


def test_a_crew_is_news_and_the_same_again_is_none(work):
    told = Told(work)
    assert told.first.seconds == pytest.approx(4 * told.each + told.load + told.saving, rel=0.01)
    assert told.pace.after(Crew(seats("fast", "fast"))) is None
    more = told.pace.after(Crew(seats("fast", "fast", "fast", "fast")))
    assert more.seconds == pytest.approx(2 * told.each + told.load + told.saving, rel=0.01)


def test_the_last_image_is_not_shared(work):
    assert Told(work, 9).first.seconds - Told(work, 8).first.seconds == pytest.approx(Told(work).each)


def test_what_is_at_work_is_known_for_each_seat(work):
    told = Told(work)
    for seat in (0, 1):
        told.pace.after(replace(denoising(1, told.tasks[seat]), seat=seat))
    told.clock[0] = told.each / 2
    assert told.now().seconds == pytest.approx(3.5 * told.each + told.saving, rel=0.02)
    assert set(told.now().images_s) == {0, 1}
    told.pace.after(Happening(kind=HappeningKind.WORKER_DIED, text="", seat=1))
    died = told.now().seconds  # it loads, and its image comes again: the other one takes half of that
    expected = 3.5 * told.each + told.saving + (told.load + told.each / 2) / 2
    assert died == pytest.approx(expected, abs=told.each / 2 + 1)
    assert died > 3.5 * told.each + told.saving


def test_portions_that_overlap_are_counted_together(work):
    """Two models at work at once: a portion comes while the one before is being encoded."""
    told = Told(work, texts={"0" * 15 + str(number): 4 for number in range(8)})
    text = told.known.text(told.tasks[0])
    whole = told.now().seconds
    assert whole == pytest.approx(4 * told.each + 16 * text + told.load + told.saving, rel=0.02)
    for event in (Loading(4), Encoded(1, 4), Loading(8), Encoded(2, 12)):
        told.clock[0] += text if event == Encoded(2, 12) else 0.0
        told.pace.after(event)
    assert whole - told.now().seconds == pytest.approx(2 * text / 2, rel=0.05)


def test_texts_that_several_encode_at_once_tell_what_one_takes(work):
    told = Told(work, texts={"0" * 16: 100})
    told.pace.after(Loading(100))
    for seat in (0, 1):
        told.pace.after(Beat("t", Stage.ENCODE, seat=seat))
    for text in range(1, 60):
        told.clock[0] += 5.0
        told.pace.after(Encoded(text, 100))
    assert told.known.text(told.tasks[0]) == pytest.approx(10.0)


# The gate


def a_gate(work, limits, kinds=("fast", "slow")):
    clock, crew = [0.0], seats(*kinds)
    gate = Gate(
        limits, RunFolder(work), alike(20), min_free_disk=0, known=history_of(crew[0]), of_seat=history_of,
        clock=lambda: clock[0],
    )  # fmt: skip
    gate.crew(Crew(crew))
    return gate, clock


def test_the_clock_ends_a_slow_seat_and_not_the_others(work):
    gate, clock = a_gate(work, Limits(max_hours=1))
    task = alike(1)[0]
    for seat in (0, 1):
        gate.admit(task, seat)
    each = [gate.speeds.image(seat, task).value for seat in (0, 1)]
    assert each[1] == pytest.approx(3 * each[0], rel=0.05)
    clock[0] = 3600 - 2 * each[0]
    gate.check(task, 0)
    with pytest.raises(
        LimitReached, match=r"the next image takes about 4m \d\ds on cuda:1 judged by earlier runs"
    ):
        gate.check(task, 1)


def test_what_is_loaded_is_known_for_each_seat(work):
    gate, clock = a_gate(work, Limits(max_hours=1), ("fast", "fast"))
    task = alike(1)[0]
    gate.admit(task, 0)
    clock[0] = 3600 - gate.speeds.image(0, task).value - 1
    gate.check(task, 0)
    with pytest.raises(LimitReached, match="on cuda:1"):
        gate.check(task, 1)


def test_images_ahead_are_those_that_all_seats_do_in_time(work):
    one = len(list(a_gate(work, Limits(max_hours=0.25), ("fast",))[0].ahead(alike(20))))
    three = len(list(a_gate(work, Limits(max_hours=0.25), ("fast", "slow", "slow"))[0].ahead(alike(20))))
    assert (one, three) == (10, 16)  # 900 s at 88 s an image


def test_kinds_learn_apart(work):
    gate, _ = a_gate(work, Limits())
    for item in earlier(replace(TIMES, step=8 * TIMES.step)):
        gate.finished(
            Outcome(key=item.task.id, status="done", receipt=replace(item, machine=Machine(device="slow")))
        )
    assert not gate.speeds.at(0).mine.values and gate.speeds.at(1).mine.values
    assert gate.known is gate.speeds.at(0)
    task = alike(1)[0]
    assert gate.speeds.image(1, task).value > 6 * gate.speeds.image(0, task).value
    afresh = gate.speeds.afresh()
    assert not afresh.at(1).mine.values and afresh.at(1).folder.values


def test_what_earlier_runs_tell_is_asked_for_each_kind():
    """And of each machine: what was rendered on the one tells nothing of the other."""
    here = platform.node()
    for host, device, step in ((here, "fast", 1.0), (here, "slow", 3.0), ("node7", "fast", 2.0)):
        rates = learn(earlier(replace(TIMES, step=step)))
        rates.machine = Machine(host=host, device=device)
        history.record(rates)
    plan, task = SimpleNamespace(models={}, choices={}), alike(1)[0]
    of_seat = of_seats(plan, (), Known(decodes=True))
    found = [
        of_seat(Seat(number=0, device="cuda:0", kind=kind, host=host))
        for kind, host in (("fast", ""), ("slow", ""), ("fast", "node7"))
    ]
    steps = [known.find(CostPart.DENOISE, task).value for known in found]
    assert steps == pytest.approx([steps[0], 3 * steps[0], 2 * steps[0]])
    assert all(known.decodes for known in found)


# The schedule


def one_by_one(desks, queues):
    """As :func:`schedule`, without haste."""
    queues = {key: [(item.seconds, item.count) for item in queue.batches] for key, queue in queues.items()}
    free = {number: desk.free for number, desk in enumerate(desks)}
    images = [seconds for batches in queues.values() for seconds, count in batches for _ in range(count)]
    for seconds in images:
        number = min(free, key=lambda item: (free[item], item))
        free[number] += seconds[desks[number].kind]
    return max(free.values())


@pytest.mark.parametrize("count", [0, 1, 7, 30, 1000])
@pytest.mark.parametrize("busy", [0.0, 40.0])
def test_many_images_are_planned_as_if_one_by_one(count, busy):
    def world():
        desks = [SeatTime(number % 2, number * 3.3 + busy * (number == 2), "m") for number in range(5)]
        return desks, {"m": ModelQueue((9.0, 9.0), [Batch(count, (2.0, 7.0)), Batch(count // 2, (1.5, 4.0))])}

    expected = one_by_one(*world())
    found = schedule(*world())
    assert found.seconds == pytest.approx(expected)
    assert found.count == count + count // 2
    half = schedule(*world(), within=expected / 2)
    assert half.seconds <= max(expected / 2, busy + 4 * 3.3) and half.count <= found.count


def test_a_seat_stays_with_its_model_while_there_is_work_for_it():
    desks = [SeatTime(0, 0.0, "a"), SeatTime(0, 0.0, "b")]
    queues = {"a": ModelQueue((100.0,), [Batch(10, (1.0,))]), "b": ModelQueue((100.0,), [Batch(10, (1.0,))])}
    assert schedule(desks, queues).seconds == 10.0


@pytest.mark.parametrize("count", [8, 512])
def test_judging_costs_little_of_the_time(work, count):
    """Ten thousand images of 24 settings: what is told is spaced by what it cost."""
    tasks = [replace(task, id=f"{number:016x}") for number, task in enumerate(mixed(420)[:10_000])]
    gate = Gate(Limits(max_hours=9), RunFolder(work), tasks, min_free_disk=0, known=history_of(seats("fast")[0]))
    crew = Crew(seats(*["fast"] * count))
    gate.crew(crew)
    pace = Pace(tasks, gate, {})
    pace.after(replace(BEGAN, total=len(tasks)))
    begun = time.process_time()
    pace.after(crew)
    judged = time.process_time() - begun
    beats = [
        Beat("x", Stage.DENOISE, step, 20, (tasks[number].id,), number % count)
        for number in range(1000)
        for step in range(20)
    ]
    begun = time.process_time()
    for beat in beats:
        pace.after(beat)
    heard = (time.process_time() - begun) / 1000
    assert judged < 0.3  # so that it is told every 15 s at most
    assert heard * count / 3.0 < 0.02, "of the time, at 3 s an image"


def test_a_run_of_several_devices_tells_and_keeps_which(manifest, work, monkeypatch):
    """All the way through: this engine renders at the first of them only."""
    monkeypatch.setattr(LocalEngine, "start", lambda *_, **__: Seated(seats("fake", "fake")))
    result = fake_run(manifest(), seen=Silent(), out=work / "run", engine="local")
    assert result.account.by_seat == {"cuda:0": 4}
    log = events.read(RunFolder(work / "run"))
    assert [item.text for item in log if item.kind == "devices"] == ["it renders on 2 devices: cuda:0, cuda:1"]
    assert not [item for item in events.last_run(log) if item.kind == "devices"]  # for the log alone
    assert live.read(work / "run" / ".run").seats[1].label == "cuda:1"
