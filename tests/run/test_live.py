"""What a run says of itself in its folder while it goes on, and that whatever is in the way ends no run."""

import errno
import json
import time
from pathlib import Path

import pytest

from batch.base import atomic
from batch.base.text import duration
from batch.cli import progress
from batch.cli.progress import Silent
from batch.records.events import (
    Beat,
    Began,
    Closed,
    Crew,
    Cutoff,
    Encoded,
    Expected,
    Happening,
    LeftOut,
    Loading,
    Preparing,
)
from batch.records.kinds import HappeningKind, Stage, Status
from batch.records.live import LiveStatus, RunState
from batch.records.receipts import ErrorInfo, Failure, Machine, Measurement, Outcome
from batch.report.write import write_report
from batch.run import growing
from batch.run import live as run_live
from batch.run.live import LiveListener, after
from batch.run.live_seats import LiveSeats
from batch.run.remaining import Remaining
from batch.run.steering import Steering
from batch.store import events, live
from batch.store.folder import RunFolder
from batch.store.receipts import Scan
from tests.conftest import SMALL
from tests.fake_session import Fault
from tests.helpers import fake_run, happen
from tests.known_seats import seats
from tests.store.small_task import task

FRESH = LiveStatus(state=RunState.STARTING, name="x", pid=1, host="h", began=1.0, updated=1.0)


@pytest.fixture
def often(monkeypatch):
    """Reports as often as can be."""
    monkeypatch.setattr(growing, "SOON_S", 0.05)
    monkeypatch.setattr(growing, "EVERY_S", 0.1)
    monkeypatch.setattr(growing, "SHARE", 1)


def told(*events, status=FRESH):
    for event in events:
        status = after(status, event)
    return status


BEGAN = Began(name="x", folder=Path(), total=9, done=2, to_render=6)


def test_the_states_of_a_run():
    begun = told(Preparing("starting the worker"), BEGAN)
    assert (begun.state, begun.said, begun.to_render) == (RunState.STARTING, "starting the worker", 6)
    loading = told(Loading(3), status=begun)
    assert (loading.state, loading.said) == (RunState.LOADING, "")
    encoding = told(Encoded(2, 3), status=loading)
    assert (encoding.state, encoding.part, encoding.parts) == (RunState.ENCODING, 2, 3)
    working = told(Beat("a", Stage.DENOISE, 3, 20), Beat("", Stage.SAVE), status=encoding)
    assert (working.state, working.image, working.stage) == (RunState.RENDERING, "a", Stage.DENOISE)
    assert (working.part, working.parts) == (3, 20)


def test_what_somebody_asked_for_lasts():
    stopping = told(happen("in 20 s", HappeningKind.STOPPING), Beat("a", Stage.DENOISE, 4, 20))
    assert (stopping.state, stopping.said, stopping.part) == (RunState.STOPPING, "in 20 s", 4)
    dropping = Happening(kind=HappeningKind.STOPPING, text="at once", data={"level": "drop"})
    assert told(dropping, status=stopping).image == ""
    paused = told(happen("paused by me", HappeningKind.PAUSED), Loading(0), Beat("a", Stage.DECODE))
    assert paused.state == RunState.PAUSED
    resumed = told(happen("", HappeningKind.RESUMED), Beat("a", Stage.DECODE), status=paused)
    assert (resumed.state, resumed.said) == (RunState.RENDERING, "")


def test_a_pause_has_no_image_no_end_and_no_rate():
    at_work = told(BEGAN, Beat("a", Stage.DENOISE, 3, 20), Expected(seconds=60, per_hour=30.0))
    paused = told(
        happen("paused: by me", HappeningKind.PAUSED), Expected(seconds=70, per_hour=30.0), status=at_work
    )
    assert (paused.image, paused.stage, paused.parts) == ("", None, 0)
    assert (paused.ends_at, paused.per_hour, paused.rest_s) == (None, None, 70)
    resumed = told(happen("", HappeningKind.RESUMED), Expected(seconds=70), status=paused)
    assert resumed.state == RunState.LOADING and resumed.ends_at is not None
    stopping = told(happen("", HappeningKind.STOPPING), Expected(seconds=50), status=at_work)
    assert (stopping.ends_at, stopping.rest_s, stopping.image) == (None, 50, "a")
    over = told(Closed(), status=at_work)
    assert (over.state, over.image, over.ends_at) == (RunState.FINISHING, "", None)


def test_a_limit_is_told_apart():
    cutoff = Cutoff(limit="--until 04:27", seconds=30, images=5)
    now = told(BEGAN, Expected(seconds=600, cutoff=cutoff))
    assert (now.ends_by, now.ends_with, now.rest_s) == ("--until 04:27", 5, 600)
    assert abs(now.ends_at - time.time() - 30) < 5
    more = told(*[Outcome(key="", status="done")] * 6, status=now)
    assert more.ends_with == more.done > 5  # never fewer than are done


def test_a_pause_keeps_the_limit_that_ends_it():
    resting = happen("paused: by me", HappeningKind.PAUSED)
    images = Cutoff(limit="--max-images", seconds=35, images=46, clock=False)
    now = told(BEGAN, resting, Expected(seconds=600, cutoff=images))
    assert (now.ends_at, now.resumed_s, now.ends_by, now.ends_with) == (None, 35, "--max-images", 46)
    clock = Cutoff(limit="--until 04:27", seconds=30)
    now = told(BEGAN, resting, Expected(seconds=600, cutoff=clock))
    assert (now.resumed_s, now.ends_by, now.ends_with) == (600, "--until 04:27", None)
    assert abs(now.ends_at - time.time() - 30) < 5  # paused or not
    going = told(happen("", HappeningKind.RESUMED), Expected(seconds=60), status=now)
    assert (going.resumed_s, going.ends_by) == (None, "")


def test_a_text_is_no_image_and_does_not_hide_how_many():
    now = told(
        BEGAN, Loading(12), Encoded(3, 12), Beat("a red square", Stage.LOAD), Beat("a red square", Stage.ENCODE)
    )
    assert (now.state, now.image, now.part, now.parts) == (RunState.ENCODING, "", 3, 12)
    assert told(Beat("b", Stage.DENOISE, 1, 2), Beat("c", Stage.LOAD), status=now).state == RunState.RENDERING


def test_loading_is_shown_where_it_lasts(manifest, work, monkeypatch):
    fake_run(manifest(SMALL), seen=Silent(), out=work / "run", engine="local")
    folder = RunFolder(work / "run")
    listener = LiveListener(folder, Silent(), remaining_of(folder))
    for event in (BEGAN, Beat("a", Stage.DENOISE, 1, 2), Beat("b", Stage.LOAD)):
        listener.on(event)
    assert listener._at_this_moment().state == RunState.RENDERING
    monkeypatch.setattr(run_live, "LOADS_S", 0.0)
    loading = listener._at_this_moment()
    assert (loading.state, loading.image) == (RunState.LOADING, "")


def test_a_run_that_ends_while_it_loads_has_ended(manifest, work, monkeypatch):
    fake_run(manifest(SMALL), seen=Silent(), out=work / "run", engine="local")
    folder = RunFolder(work / "run")
    monkeypatch.setattr(run_live, "LOADS_S", 0.0)
    with folder.hold(), LiveListener(folder, Silent(), remaining_of(folder)) as listener:
        listener.on(Beat("a", Stage.LOAD))
    assert live.read(folder.state).state == RunState.ENDED
    with folder.hold(), LiveListener(folder, Silent(), remaining_of(folder)) as listener:
        listener.on(Beat("a", Stage.LOAD))
        listener.on(Closed())
        assert listener._at_this_moment().state == RunState.FINISHING


def remaining_of(folder):
    return Remaining(done=0, to_render=(), given_up=(), failed_before=0, extra=0, scan=folder.scan())


@pytest.mark.parametrize("event", [Closed(), happen("it rests", HappeningKind.PAUSED), Loading(0)])
def test_where_nothing_is_at_work_no_image_is(event):
    working = told(BEGAN, Beat("a", Stage.DENOISE, 3, 20))
    idle = told(event, status=working)
    assert (idle.image, idle.stage, idle.part, idle.parts) == ("", None, 0, 0)


def test_images_are_counted():
    error = ErrorInfo(kind="OutOfMemoryError", message="", stage=Stage.DENOISE)
    failure = Failure(
        task=task(), error=error, measurement=Measurement(), machine=Machine(), attempts=1, started_at=""
    )
    done = Outcome(key="a", status=Status.DONE)
    failed = Outcome(key="b", status=Status.FAILED, failure=failure)
    now = told(BEGAN, done, failed, LeftOut(3))
    assert (now.done, now.failed, now.to_render) == (3, 1, 1)
    expected = told(Expected(seconds=60, source="as before", per_hour=30.0), status=now)
    assert abs(expected.ends_at - time.time() - 60) < 5
    assert (expected.ends_from, expected.per_hour) == ("as before", 30.0)


def test_a_status_is_read_as_it_was_written(tmp_path):
    assert live.read(tmp_path) is None
    status = told(BEGAN, Beat("</script>&\u2028 Fu\u00df", Stage.DENOISE, 1, 2))
    live.write(tmp_path, status, "me")
    text = (tmp_path / "status.js").read_text(encoding="ascii")
    assert text.startswith("runBatchStatus({") and text.endswith("});\n")
    assert not set("<>&") & set(text)
    assert live.read(tmp_path) == status
    (tmp_path / "status.js").write_text("runBatchStatus({});")
    assert live.read(tmp_path) is None


def test_a_report_that_takes_long_is_told_of(manifest, work, monkeypatch, capsys):
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)

    def slowly(*args):
        time.sleep(0.3)
        return write_report(*args)

    monkeypatch.setattr("batch.report.write.write_report", slowly)
    result = fake_run(manifest(SMALL), seen=progress.Lines(), out=work / "run", engine="local")
    assert capsys.readouterr().err.splitlines()[-1].endswith(" writing the report …")
    ended = events.read(RunFolder(work / "run"))[-1]
    assert ended.text == f"{result.rendered} images rendered in {duration(result.seconds)}"


def reports(folder):
    paths = [*folder.glob("contact_sheet*.jpg"), folder / "results.csv", folder / "report.html"]
    return {path.name: path.read_bytes() for path in paths}


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_last_report_is_that_of_the_command(manifest, work, often, interrupted):
    seen, stop = Seen(), Steering()
    if interrupted:
        seen.then = stop.set
    path = manifest(SMALL.replace("0..1", "0..9") + "run: {min_free_disk: 1MB, retries: 1}\n")
    slow, bad = Fault("slow", seconds=0.05), Fault("error", seed=2)
    fake_run(path, slow, bad, seen=seen, stop=stop, out=work / "run", engine="local")
    assert seen.grown, "no report on the way"
    at_the_end = reports(work / "run")
    assert ("not rendered yet" in at_the_end["report.html"].decode()) and b'"live":' not in at_the_end[
        "report.html"
    ]
    write_report(RunFolder(work / "run"))
    assert reports(work / "run") == at_the_end
    status = live.read(work / "run" / ".run")
    assert status.state == RunState.ENDED
    assert bool(status.said) == interrupted
    assert status.generation == len(list((work / "run" / ".run" / "page").iterdir()))
    rows = at_the_end["results.csv"].decode().splitlines()[1:]
    assert status.done == sum(",done," in row for row in rows)
    assert (status.done < 18) == interrupted


class Seen(Silent):
    """Looks for the page of a run that goes on; ``then`` is called when it is there with three images."""

    grown = False

    def __init__(self, then=lambda: None):
        self.then, self.done = then, 0

    def on(self, event):
        if isinstance(event, Outcome) and event.receipt:
            self.done += 1
        (page,) = [*Path.cwd().rglob("report.html")] or [None]
        if page and not self.grown and b'"live":' in page.read_bytes() and self.done > 3:
            self.grown = True
            self.then()


def test_a_status_or_report_that_cannot_be_written_ends_no_run(manifest, work, often, monkeypatch):
    refused = []

    def full(path, data, runner="any", **how):
        if path.suffix in (".js", ".html", ".jpg"):
            refused.append(path.name)
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, data, runner, **how)

    real = atomic.write
    monkeypatch.setattr(atomic, "write", full)
    path = manifest(SMALL.replace("0..1", "0..5") + "run: {min_free_disk: 1MB}\n")
    result = fake_run(path, Fault("slow", seconds=0.1), seen=Silent(), out=work / "run", engine="local")
    assert (result.rendered, result.stopped) == (12, None)
    assert len(result.warnings) == 1 and "the report could not be written" in result.warnings[0]
    assert {"status.js", "contact_sheet.jpg"} <= set(refused)


def test_a_folder_that_is_lost_is_not_written_to(manifest, work, often):
    """Another runner has it: neither its status nor its reports are ours."""

    class Thief(Silent):
        count = 0

        def on(self, event):
            self.count += isinstance(event, Outcome)
            if self.count == 3:
                state = work / "run" / ".run"
                who = json.loads((state / "lock.json").read_text())
                (state / "lock.json").write_text(json.dumps(who | {"token": "another"}))
                time.sleep(1)  # what was being written is written
                (state / "status.js").write_text("theirs")
                (work / "run" / "report.html").write_text("theirs")

    path = manifest(SMALL.replace("0..1", "0..9") + "run: {min_free_disk: 1MB}\n")
    result = fake_run(path, Fault("slow", seconds=0.1), seen=Thief(), out=work / "run", engine="local")
    assert "was taken" in str(result.stopped)
    assert (work / "run" / ".run" / "status.js").read_text() == "theirs"
    assert (work / "run" / "report.html").read_text() == "theirs"


def test_reports_come_soon_and_then_seldom(manifest, work, monkeypatch):
    """The first for the page, the second with the first image; then none before a minute has gone."""
    fake_run(manifest(SMALL), seen=Silent(), out=work / "run", engine="local")
    folder = RunFolder(work / "run")
    done = [Outcome(key=key, status=Status.DONE, receipt=item) for key, item in folder.scan().receipts.items()]
    monkeypatch.setattr(growing, "SOON_S", 0.05)
    counts = []
    reports = growing.Growing(folder, Scan(), 1.0, lambda: counts.append(rows_done(folder)))
    reports.start()
    until(lambda: counts == [0])
    reports.take(done[0])
    until(lambda: counts == [0, 1])
    reports.take(done[1])
    time.sleep(0.4)
    assert counts == [0, 1]
    reports.hurry()  # a pause begins
    until(lambda: counts == [0, 1, 2])
    assert reports.finish().done == len(done)
    assert (rows_done(folder), reports.generation) == (len(done), 4)


def rows_done(folder):
    return (folder.root / "results.csv").read_text(encoding="utf-8").count(",done,")


def until(holds):
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_each_seat_is_told_where_there_are_several():
    several = LiveSeats()
    for event in (
        Crew(seats("fast", "fast", "fast")), Beat("a", Stage.DENOISE, 3, 20, ("a",), 0),
        Beat("", Stage.LOAD, seat=1), Beat("", Stage.SAVE, seat=2), Beat("t", Stage.ENCODE, seat=2),
    ):  # fmt: skip
        several.on(event)
    assert [(seat.label, seat.state, seat.image, seat.part) for seat in several.statuses] == [
        ("cuda:0", "rendering", "a", 3), ("cuda:1", "loading", "", 0), ("cuda:2", "encoding", "", 0),
    ]  # fmt: skip
    several.on(Outcome(key="a", status="done"))
    several.on(happen("it died", HappeningKind.WORKER_DIED, seat=1))
    several.on(Crew(seats("fast", "fast")))
    assert [seat.state for seat in several.statuses] == ["waiting", "loading", "gone"]  # a fresh worker starts
    several.on(happen("paused", HappeningKind.PAUSED))
    assert [seat.state for seat in several.statuses] == ["waiting", "waiting", "gone"]
    several.on(Crew(seats("fast")))
    assert len(several.statuses) == 3  # of those that there were, too


def test_one_seat_is_told_as_ever():
    one = LiveSeats()
    for event in (Crew(seats("fast")), Beat("a", Stage.DENOISE, 3, 20, ("a",), 0)):
        one.on(event)
    assert (one.statuses, one.renders) == ((), False)


def test_a_portion_of_texts_does_not_hide_what_is_rendered_meanwhile(manifest, work):
    fake_run(manifest(SMALL), seen=Silent(), out=work / "run", engine="local")
    folder = RunFolder(work / "run")
    listener = LiveListener(folder, Silent(), remaining_of(folder))
    for event in (
        BEGAN, Crew(seats("fast", "fast")), Beat("a", Stage.DENOISE, 1, 2, ("a",), 0), Loading(4), Encoded(1, 4),
        Expected(seconds=60, image_s=10.0, images_s={0: 10.0, 1: 500.0}),
        Beat("b", Stage.DENOISE, 1, 2, ("b",), 1),
    ):  # fmt: skip
        listener.on(event)
    now = listener._at_this_moment()
    assert (now.state, now.image, len(now.seats)) == (RunState.RENDERING, "b", 2)
    assert 400 < now.image_left_s <= 500
    listener.on(Beat("a", Stage.DENOISE, 2, 2, ("a",), 0))
    assert listener._at_this_moment().image_left_s <= 10
    live.write(folder.state, now, "me")
    assert live.read(folder.state).seats == now.seats
