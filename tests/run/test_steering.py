"""What a signal or an order comes to, by what is at work; with a clock of its own."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.base.errors import Interrupted, StoppedEarly
from batch.manifest.schema import RunOptions
from batch.records.events import Beat, Began, Closed, Encoded, Expected, Loading
from batch.records.kinds import Stage
from batch.run.limits import Limits
from batch.run.options import Options
from batch.run.steering import Steering
from batch.run.stopping import Level
from batch.store.orders import AnswerState, Order, OrderKind
from tests.helpers import Seen

BEATS = [Beat("a fox", stage, 1, 2) for stage in Stage]
HAPPENS = st.one_of(
    st.sampled_from([*BEATS, Loading(1), Closed(), *OrderKind, "signal"]),
    st.floats(0, 1e4),
)


class Run:
    """A run that is told what comes up, and what it said."""

    def __init__(self, *, stop="finish", within=None, limits=None):
        self.now = 100.0
        self.steering = Steering(lambda: self.now)
        self.seen = Seen()
        options = Options(stop_within=within, limits=limits or Limits())
        self.listener = self.steering.follow(self.seen, RunOptions(stop=stop), options)

    def on(self, *events):
        for event in events:
            self.listener.on(event)
        return self

    def interrupted(self):
        self.steering.tell(self.listener)  # so that the run will say it
        assert self.steering.interrupt() is None
        self.steering.tell(self.listener)
        return told(self.seen.happenings[-1])


def told(happening):
    """As a terminal shows it."""
    return happening.text + happening.hint


def denoising(step=1, steps=20):
    return Beat("a fox", Stage.DENOISE, step, steps)


def test_an_image_at_work_is_finished_and_then_dropped():
    run = Run().on(Loading(1), Beat("", Stage.LOAD), denoising(), Expected(seconds=600.0, image_s=40.0))
    run.now += 10
    said = run.interrupted()
    assert said == "stopping: a fox is finished first, in about 30s (again: it is dropped)"
    assert (run.steering.finishing, run.steering.is_set()) == (True, False)
    assert "what is at work is dropped" in run.interrupted()
    assert run.steering.is_set()
    run.steering.interrupt()
    assert run.steering.level == Level.KILL


@pytest.mark.parametrize("event", [Loading(3), Encoded(1, 3), Beat("a fox", Stage.LOAD), Beat("x", Stage.ENCODE)])
def test_where_no_image_is_at_work_it_drops(event):
    run = Run().on(denoising(), event)
    assert "what is at work is dropped" in run.interrupted()
    assert run.steering.level == Level.DROP


def test_nothing_is_begun_in_place_of_what_was_finished():
    run = Run().on(denoising())
    run.interrupted()
    run.on(Beat("an owl", Stage.LOAD))  # was given just before
    assert run.steering.is_set()


def test_an_image_that_was_finished_is_not_called_dropped():
    run = Run().on(denoising())
    run.interrupted()
    run.on(Closed())
    run.steering.tell(run.listener)
    assert (run.seen.kinds(), run.steering.level) == (["stopping"], Level.DROP)
    assert run.steering.answer() == "stopping: the image is finished, and the report follows"


@pytest.mark.parametrize(
    ("within", "image_s", "level"),
    [(20, 14.0, Level.FINISH), (20, 16.0, Level.DROP), (20, None, Level.FINISH), (100, 84.0, Level.FINISH)],
)
def test_a_stop_with_a_time_takes_what_fits(within, image_s, level):
    run = Run(within=float(within)).on(denoising(), Expected(seconds=None, image_s=image_s))
    run.interrupted()
    assert run.steering.level == level


def test_the_time_of_a_stop_runs_out():
    run = Run(within=20.0).on(denoising())
    assert "within 20s at most" in run.interrupted()
    run.now += 14.7
    assert not run.steering.is_set()
    run.now += 0.2
    assert run.steering.is_set()
    assert not run.steering.out_of_time
    run.now += 2.5
    assert run.steering.out_of_time


def test_steps_tell_how_long_an_image_still_takes():
    run = Run()
    for step in range(1, 6):
        run.on(denoising(step))
        run.now += 2
    assert "in about 38s" in run.interrupted()  # 15 steps, of which the one at work is 2 s old


def test_a_manifest_may_have_it_dropped():
    run = Run(stop="drop").on(denoising())
    assert "what is at work is dropped" in run.interrupted()


def test_while_a_report_is_written_the_second_leaves_it_out():
    run = Run().on(denoising(), Closed())
    run.now += 5  # nobody listens: it is told at once
    with run.steering.reporting():
        said = told(run.steering.interrupt())
        assert said == "stopping: the report is written first (again: without it)"
        run.steering.leave_report()
        assert "the report is left out" in told(run.steering.interrupt())
        with pytest.raises(KeyboardInterrupt):
            run.steering.leave_report()
    run.steering.leave_report()


def test_a_run_that_was_dropped_has_its_report():
    run = Run().on(denoising())
    run.steering.obey(Order(OrderKind.DROP, "somebody"))
    with run.steering.reporting():
        run.steering.leave_report()
    assert run.steering.reason == "somebody asked for it"


STOP = Order(OrderKind.STOP, "somebody")


def last_told(run):
    run.steering.tell(run.listener)
    return run.seen.happenings[-1]


def test_what_drops_an_image_is_what_is_told():
    """The time that was up, the time that would be, and a Ctrl-C: not the `stop` before."""
    run = Run(within=20.0).on(denoising())
    run.steering.obey(STOP)
    said = last_told(run)
    assert (said.text, said.data["by"]) == ("stopping: a fox is finished first", "somebody")
    assert said.hint == ", within 20s at most (somebody asked for it; Ctrl-C: it is dropped)"
    run.now += 16
    late = last_told(run)
    assert late.text.startswith("stopping: --stop-within 20s is up: what is at work is dropped")
    assert (late.hint, "by" in late.data) == (" (Ctrl-C: at once)", False)

    run = Run(within=20.0).on(denoising(), Expected(seconds=None, image_s=60.0))
    run.steering.obey(STOP)
    assert last_told(run).text.startswith("stopping: --stop-within 20s is too short for a fox: ")

    run = Run().on(denoising())
    run.steering.obey(STOP)
    run.steering.tell(run.listener)
    run.steering.interrupt()
    dropped = last_told(run)
    assert "what is at work is dropped" in dropped.text and "somebody" not in told(dropped)
    assert run.steering.reason == "somebody asked for it"


def test_between_two_runs_a_signal_is_told_at_once():
    run = Run().on(denoising(), Closed())
    run.steering.tell(run.listener)
    run.steering.released()
    assert "what is complete is kept" in run.steering.interrupt().text


def test_what_else_helps_is_told_where_it_does():
    """A terminal of the run has Ctrl-C, another one `stop --drop`, and history nothing."""
    run = Run().on(denoising(), Expected(seconds=None, image_s=30.0))
    run.steering.obey(STOP)
    at_first = last_told(run)
    assert "drop" not in at_first.text and "Ctrl-C: it is dropped" in at_first.hint
    assert run.steering.answer() == "stopping: a fox is finished first, in about 30s; `stop --drop` drops it"
    run.steering.obey(Order(OrderKind.DROP, "somebody"))
    assert run.steering.answer() == "stopping: what is complete is kept, what is at work is dropped"


@given(st.lists(HAPPENS))
def test_whatever_comes_in_whatever_order(happens):
    run, level = Run(within=30.0), Level.GO_ON
    for item in happens:
        if isinstance(item, OrderKind):
            run.steering.obey(Order(item, "somebody"))
        elif item == "signal":
            run.steering.interrupt()
        elif isinstance(item, float):
            run.now += item
        else:
            run.on(item)
        run.steering.tell(run.listener)
        assert run.steering.level >= level
        level = run.steering.level
        assert run.steering.is_set() == (level >= Level.DROP)
    asked = [item for item in happens if item == "signal" or item in (OrderKind.STOP, OrderKind.DROP)]
    assert (level > Level.GO_ON) == bool(asked)


def test_a_pause_outlasts_no_deadline(monkeypatch):
    run = Run(limits=Limits(max_hours=8.0))

    def sleep(_seconds):
        run.now += 600

    monkeypatch.setattr("batch.run.steering.time.sleep", sleep)
    run.steering.obey(Order(OrderKind.PAUSE, "somebody"))
    with pytest.raises(StoppedEarly, match="--max-hours 8 is reached, and the run was paused"):
        run.steering.rest(run.listener)
    assert run.now == 100.0 + 8 * 3600
    assert run.seen.kinds() == ["paused"]


def test_a_pause_says_when_the_run_ends_nevertheless():
    until = datetime.now(UTC).replace(second=30) + timedelta(days=2)
    run = Run(limits=Limits(until=until, max_hours=90.0))
    run.steering.obey(Order(OrderKind.PAUSE, "somebody"))
    run.steering.obey(STOP)
    with pytest.raises(Interrupted):
        run.steering.rest(run.listener)
    ends = f"; it ends on {until.astimezone():%Y-%m-%d at %H:%M}, paused or not"
    assert run.seen.happenings[0].text.endswith(f"`resume` continues it{ends}")
    run = Run(limits=Limits(until=until))
    run.steering.obey(Order(OrderKind.PAUSE, "somebody"))
    run.steering._paused = True
    assert run.steering.answer() == f"paused: its memory is free{ends}"


def test_a_pause_without_a_deadline_ends_by_itself_never():
    for limits in (Limits(), Limits(max_images=3), Limits(max_hours=1e300)):
        run = Run(limits=limits)
        run.steering.obey(Order(OrderKind.PAUSE, "somebody"))
        run.steering._paused = True
        assert run.steering.answer() == "paused: its memory is free"


@pytest.mark.parametrize(
    ("events", "until"),
    [
        ([denoising(), Expected(seconds=60.0, image_s=9.0)], "a fox is finished, in about 9s"),
        ([denoising(), Loading(1)], "the model is loaded, and one image or text is done"),
        ([denoising(), Beat("", Stage.LOAD)], "the model is loaded, and one image or text is done"),
        ([Beat("", Stage.ENCODE)], "the text at work is encoded"),
        ([Beat("", Stage.ENCODE), Encoded(1, 2)], "the text at work is encoded"),
        (
            [Began(name="n", folder=Path("n"), total=4, done=0, to_render=4, measures=True), denoising()],
            "the setting at work is measured",
        ),
    ],
)
def test_a_pause_says_what_comes_before_it(events, until):
    run = Run().on(*events)
    run.steering.obey(Order(OrderKind.PAUSE, "somebody"))
    assert run.steering.answer_state == AnswerState.PAUSING
    assert run.steering.answer() == f"pausing when {until}"


def test_a_stop_has_its_time_until_somebody_is_told():
    run = Run(within=20.0).on(denoising())
    assert run.steering.left_s is None
    run.interrupted()
    run.now += 19
    assert run.steering.left_s == pytest.approx(0.8)  # and a moment for the end of the program


@pytest.mark.parametrize(("images", "kept"), [(100, 0.2), (27_000, 0.47)])
def test_a_report_is_left_in_time_for_the_end_of_the_program(images, kept):
    began = Began(name="n", folder=Path("n"), total=images, done=0, to_render=images)
    run = Run(within=5.0).on(began, denoising())
    run.interrupted()
    with run.steering.reporting():
        run.now += 4.9 - kept
        run.steering.leave_report()
        assert run.steering.look_s(0.5) == pytest.approx(0.1, abs=0.01)
        run.now += 0.11
        assert run.steering.to_be_woken()
        with pytest.raises(KeyboardInterrupt):
            run.steering.leave_report()
    run.steering.released()  # the plan is still there
    with pytest.raises(KeyboardInterrupt), run.steering.reporting():
        pytest.fail("it is not begun any more")


def test_options_with_a_time_that_is_none(cli, manifest, work):
    manifest()
    refused = cli("run", "job.yaml", "--stop-within", "soon")
    assert (refused.code, "write 90s, 10m or 1h" in refused.err) == (2, True)
    assert not Path("outputs").exists()
