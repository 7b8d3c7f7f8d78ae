"""What is told at the end: the summary, the picture that goes with it, and of a queue one message."""

import base64
import io
import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from batch.base.errors import Interrupted, LimitReached, UserError
from batch.records.events import Closed, Expected, Happening
from batch.records.kinds import Status
from batch.records.receipts import ErrorInfo, Failure, Machine, Measurement, Outcome
from batch.run import enclosure, notify, summary
from batch.run.account import Account
from batch.run.notifier import Message, NotifyEvent
from batch.run.options import QueueEntry, Result
from batch.run.targets import check
from batch.store.folder import RunFolder
from tests.conftest import SMALL
from tests.fake_session import Fault
from tests.helpers import Seen, fake_run
from tests.run.hooks import WRITES, hook
from tests.small_receipts import a_receipt, a_task


@pytest.fixture
def picture(work):
    """A picture that a message may carry."""
    path = work / "a, b? 50%.jpg"
    Image.new("RGB", (40, 30), "red").save(path)
    return path


def message(picture=None, text="all is well", title="night"):
    return Message(
        event=NotifyEvent.DONE, title=title, text=text, counts={"done": 1}, folders=[Path()], picture=picture
    )


def sent(url, told):
    (target,) = (line._target for line in check([url])._lines)
    return target.tell(told, 20.0, threading.Event())


def test_a_service_gets_the_picture(picture):
    with hook() as (url, got):
        assert sent(url, message(picture)) == ""
    ((_, body),) = got
    (attached,) = body["attachments"]
    assert base64.b64decode(attached["base64"]) == picture.read_bytes()
    assert body["message"] == "all is well"


def test_a_form_gets_the_picture_too(picture):
    with hook(scheme="form") as (url, got):
        assert sent(url, message(picture)) == ""
    assert picture.read_bytes() in got[0][1]


def test_a_service_that_refuses_the_picture_is_told_without(work):
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    Image.fromarray(noise).save("noise.jpg", quality=95)
    with hook(most=20_000) as (url, got):
        assert sent(url, message(work / "noise.jpg")) == ""
    assert [len(body["attachments"]) for _, body in got] == [1, 0]


def test_a_service_without_attachments_is_told(picture, monkeypatch):
    from apprise.plugins.custom_json import NotifyJSON

    monkeypatch.setattr(NotifyJSON, "attachment_support", False)
    with hook() as (url, got):
        assert sent(url, message(picture)) == ""
    assert [body["attachments"] for _, body in got] == [[]]


def test_a_picture_that_is_gone_keeps_nobody_from_being_told(work):
    with hook() as (url, got):
        assert sent(url, message(work / "gone.jpg")) == ""
    assert got[-1][1]["message"] == "all is well"


@pytest.mark.parametrize(("titles", "shown"), [(250, "first line\nsecond line\n…"), (0, "first line\n…")])
def test_a_text_that_is_too_long_for_a_service_ends_at_a_line(monkeypatch, titles, shown):
    from apprise.plugins.custom_json import NotifyJSON

    monkeypatch.setattr(NotifyJSON, "body_maxlen", 30)
    monkeypatch.setattr(NotifyJSON, "title_maxlen", titles)
    with hook() as (url, got):
        assert sent(url, message(text="first line\nsecond line\nthird line that is long")) == ""
    assert got[0][1]["message"].endswith(shown)
    assert len(got[0][1]["message"]) <= 30


def test_a_command_gets_the_place_of_the_sheet(command, manifest):
    result = fake_run(manifest(), seen=Seen(), notify=(command(WRITES, "told.jsonl"),))
    told = json.loads(Path("told.jsonl").read_text())
    place = Path(told["environ"]["RUN_BATCH_PICTURE"])
    assert str(place) == told["stdin"]["picture"]
    assert place.parent == (result.folder / ".run").absolute()
    with Image.open(result.report.sheets[0]) as sheet, Image.open(place) as small:
        assert small.format == "JPEG"
        assert small.width == min(1280, sheet.width)
        assert small.width / small.height == pytest.approx(sheet.width / sheet.height, rel=0.01)


def test_nobody_to_tell_makes_no_picture(manifest):
    result = fake_run(manifest(), seen=Seen())
    assert not (result.folder / ".run" / enclosure.FILE).exists()


def test_where_nothing_is_rendered_there_is_no_picture(command, manifest):
    fake_run(manifest(), Fault("error"), seen=Seen(), notify=(command(WRITES, "told.jsonl"),))
    assert json.loads(Path("told.jsonl").read_text())["stdin"]["picture"] is None


def test_without_a_sheet_it_is_the_last_picture(manifest):
    result = fake_run(manifest(), seen=Seen())
    bare = replace(result, report=replace(result.report, sheets=()))
    folder = RunFolder(result.folder)
    thumb = folder.thumb_path(result.account.last.task.id)
    with Image.open(enclosure.make(folder, bare)) as made, Image.open(thumb) as image:
        assert made.size == image.size


def test_a_large_sheet_becomes_a_small_picture(manifest):
    result = fake_run(manifest(), seen=Seen())
    noise = np.random.default_rng(0).integers(0, 255, (5000, 7000, 3), np.uint8)
    Image.fromarray(noise).save(result.report.sheets[0], quality=60)
    made = enclosure.make(RunFolder(result.folder), result)
    assert made.stat().st_size < 1_000_000
    with Image.open(made) as image:
        assert image.size == (1280, 1280)  # its upper left, in which one still sees something


def test_a_sheet_that_is_no_picture_any_more(manifest):
    result = fake_run(manifest(), seen=Seen())
    result.report.sheets[0].write_bytes(b"torn")
    with Image.open(enclosure.make(RunFolder(result.folder), result)) as made:
        assert max(made.size) <= 1280


def a_result(account, **more):
    fields = {"folder": Path("run"), "total": 20, "done": 12, "done_before": 0, "rendered": 12, "failed": 0}
    fields |= {"given_up": 0, "seconds": 7200.0, "report": None}
    return Result(**(fields | more), account=account)


def done(number, seconds=100.0, **more):
    receipt = replace(a_receipt(a_task(number, name=f"picture {number}"), seconds, **more.pop("cost", {})), **more)
    return Outcome(key=receipt.task.id, status=Status.DONE, receipt=receipt)


def failed(number, text, stage="decode", kind="OutOfMemory"):
    error = ErrorInfo(kind=kind, message=text, stage=stage)
    failure = Failure(
        task=a_task(number), error=error, measurement=Measurement(), machine=Machine(), attempts=1, started_at=""
    )
    return Outcome(key=failure.task.id, status=Status.FAILED, failure=failure, error=error)


def account(*events):
    made = Account()
    for event in events:
        made.on(event)
    return made


def test_what_is_left_is_told_once():
    stopped = LimitReached("--max-images 2 is reached", "4 images are left")
    first, second, _ = summary.lines(a_result(account(Expected(seconds=3660.0)), stopped=stopped))
    assert first == "stopped: --max-images 2 is reached; 4 images are left"
    assert second == "about 1h 01m more"


def test_the_summary_of_a_night():
    rendered = [done(number, 100.0 + number, cost={"energy_j": 36_000.0}) for number in range(11)]
    made = account(
        *rendered,
        done(11, degraded_from="full"),
        failed(12, "CUDA out of memory. Tried to allocate 2.25 GiB"),
        failed(13, "CUDA out of memory. Tried to allocate 4.50 GiB"),
        failed(14, "the picture is of one colour", kind="Invalid"),
        Expected(seconds=3660.0),
    )
    stopped = LimitReached("--until 07:00 is reached")
    said = summary.lines(a_result(made, failed=4, stopped=stopped))
    assert said == [
        "stopped: --until 07:00 is reached",
        "4 left, about 1h 01m more",
        "12 images rendered in 2h 00m, 6 an hour",
        "2 failed in decode: CUDA out of memory. Tried to allocate 2.25 GiB",
        "1 failed in decode: the picture is of one colour",
        "1 failed in earlier runs",
        "1 degraded: rendered with a smaller memory setting than the one asked for",
        "110 Wh, 10 an image",
        "slowest: picture 10, 1m 50s",
    ]
    assert summary.title("night", a_result(made, failed=4)) == "night: 12 of 20 done, 4 failed"


def happened(kind):
    return Happening(kind=kind, text="")


def test_a_pause_is_no_time_of_rendering():
    times = iter([100.0, 190.0, 200.0, 217.0])
    made = Account(clock=lambda: next(times))
    pause = [happened("paused"), happened("slower"), happened("resumed"), Expected(seconds=60.0)]
    for event in (*pause, happened("paused"), Closed(), Closed()):  # it ends in its second pause
        made.on(event)
    result = a_result(made, rendered=19, seconds=120.0, total=12)
    assert summary.rendered(result) == "19 images rendered in 13.0s (not counting a pause of 1m 47s), 5262 an hour"
    entry = QueueEntry(manifest=Path("a.yaml"), images=12, done=12, result=result)
    other = QueueEntry(manifest=Path("b.yaml"), images=12, done=12, result=a_result(Account(), seconds=10.0))
    assert summary.of(entry) == "a.yaml: 12 of 12 done, 13.0s (not counting a pause of 1m 47s); run"
    assert summary.together([entry, other])[0].startswith(
        "in all: 31 images rendered in 23.0s (not counting a pause of 1m 47s), 4852 an hour"
    )
    assert (
        summary.lines(a_result(made, rendered=2, seconds=107.0))[0]
        == "2 images rendered in 0.00s (not counting a pause of 1m 47s)"
    )


def test_one_that_failed_and_was_done_then_has_not_failed():
    assert account(failed(1, "no text"), done(1)).causes == []


def test_more_causes_than_fit_are_counted():
    made = account(*(failed(number, "abcdefgh"[number] * 300) for number in range(6)))
    said = summary.lines(a_result(made, failed=6))
    assert said[-1] == "2 failed for 2 other reasons"
    assert max(map(len, said)) <= summary.LETTERS


def test_nothing_is_said_of_the_rest_where_nothing_is_expected():
    made = account(*(done(number) for number in range(12)))
    said = summary.lines(a_result(made, stopped=Interrupted("interrupted")))
    assert said[1] == "8 left"


def test_a_run_says_why_images_failed(cli, manifest, monkeypatch):
    ended = cli("run", manifest(), "--set", "run.on_oom=fail")
    assert "degraded" not in ended.out
    result = fake_run(manifest(), Fault("error", seed=0), seen=Seen(), out=Path("other"))
    assert list(summary.details(result)) == ["2 failed in denoise: a fault was asked for"]


def queue_of(cli, *paths):
    return cli("run", *paths, "--quiet")


def told(path="told.jsonl"):
    return [json.loads(line)["stdin"] for line in Path(path).read_text().splitlines()]


def test_a_queue_is_told_of_once(cli, command, manifest):
    whom = f"notify: [{json.dumps(command(WRITES, 'told.jsonl'))}]\n"
    paths = [manifest(whom + SMALL, "a.yaml"), manifest(SMALL, "b.yaml"), manifest("grid: 1", "c.yaml")]
    assert queue_of(cli, *paths).code == 2
    (message,) = told()
    assert message["event"] == "failed"
    assert message["title"] == "2 of 3 manifests done: 8 of 8 images"
    assert message["counts"] == {"done": 8, "failed": 0, "missing": 0, "not-run": 1}
    assert message["folders"] == [str(Path("outputs", name).absolute()) for name in "ba"]
    assert message["folder"] == message["folders"][0]
    assert Path(message["picture"]).parent.parent == Path(message["folder"])
    first, *each = message["message"].splitlines()
    assert first.startswith("in all: 8 images rendered in ")
    assert [line.partition(": ")[2].split(",")[0] for line in each[:2]] == ["4 of 4 done"] * 2
    assert "NOT RUN" in each[2]
    with Image.open(io.BytesIO(Path(message["picture"]).read_bytes())) as image:
        assert image.format == "JPEG"


def test_of_a_run_of_a_queue_that_failed_one_hears_at_once(command, manifest):
    from tests.run.test_queue import queue

    target = command(WRITES, "told.jsonl")
    paths = [manifest(SMALL, "a.yaml"), manifest(SMALL.replace("0..1", "1"), "b.yaml")]
    list(queue(paths, Fault("error", seed=0), notify=(target,)).run())
    (message,) = told()
    assert (message["event"], message["title"]) == ("failed", "a: 2 of 4 done, 2 failed")
    assert "2 failed in denoise" in message["message"]


def test_the_title_counts_manifests_that_were_done_before(work, command):
    finished = QueueEntry(manifest=Path("a.yaml"), images=18, done=18, error=Interrupted("x"), not_begun=True)
    some = QueueEntry(manifest=Path("b.yaml"), images=40, done=7, left=33, error=Interrupted("x"), not_begun=True)
    notifier = check([command(WRITES, "told.jsonl")])
    notify.tell_of_all(notifier, [finished, some], 130)
    assert notifier.close() == []
    (message,) = told()
    assert message["title"] == "1 of 2 manifests done: 25 of 58 images"
    assert message["counts"] == {"done": 25, "failed": 0, "missing": 33, "not-run": 0}


def test_an_error_of_several_lines_is_one_in_the_summary():
    entry = QueueEntry(
        manifest=Path("a.yaml"), error=UserError("torch is wrong; right is\n    pip install torch\nnow")
    )
    assert summary.of(entry) == "a.yaml: NOT RUN: torch is wrong; right is; pip install torch; now"
