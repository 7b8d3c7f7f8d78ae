"""When a run was at work, as its history and its receipts tell."""

import shlex
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from batch.cli.progress import Silent
from batch.records.receipts import ErrorInfo, Failure, FileRef, Machine, Measurement, Receipt, StagePeak
from batch.records.tasks import Task
from batch.report.page.overview import commands
from batch.report.sessions import moment, sessions
from batch.store.events import LogEntry
from batch.store.folder import RunFolder
from tests.helpers import fake_run

TASK = Task(
    model="demo", dtype="float32", prompt="a fox", seed=0, width=512, height=512, rendered_width=512,
    rendered_height=512, steps=1, guidance=1.0,
)  # fmt: skip


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def event(kind: str, at: float) -> LogEntry:
    return LogEntry(time=iso(at), runner="me", kind=kind, text=kind)


def receipt(at: float, seconds: float = 10.0, load_s: float | None = None) -> Receipt:
    cost = Measurement(
        load_s=load_s, encode=StagePeak(seconds=0.0), denoise=StagePeak(seconds=seconds),
        decode=StagePeak(seconds=1.0), save_s=2.0,
    )  # fmt: skip
    file = FileRef(path="images/a.png", bytes=1, sha256="", width=512, height=512)
    return Receipt(task=TASK, file=file, measurement=cost, machine=Machine(), attempts=1, started_at=iso(at))


def failure(at: float) -> Failure:
    error = ErrorInfo(kind="ValueError", message="no")
    return Failure(
        task=TASK, error=error, measurement=Measurement(whole=StagePeak(seconds=3.0)), machine=Machine(),
        attempts=1, started_at=iso(at),
    )  # fmt: skip


def test_each_start_is_a_session_with_its_images():
    history = [
        event("started", 1000), event("paused", 1100), event("paused", 1150), event("resumed", 1200),
        event("end", 1300), event("started", 9000), event("worker-died", 9050),
    ]  # fmt: skip
    records = [receipt(9010, load_s=5.0), receipt(1005), failure(1250), receipt(1210)]
    first, second = sessions(history, records, {TASK.id})
    assert (first.began, first.ended, first.end, first.pauses) == (1000, 1300, "end", ((1100, 1200),))
    assert (first.images, first.failed, first.denoise_s, first.decode_s, first.save_s) == (2, 1, 23.0, 2.0, 4.0)
    assert (second.began, second.ended, second.end) == (9000, 9050, "")  # killed: its last sign of life
    assert (second.images, second.load_s, first.gone, second.gone) == (1, 5.0, (), ())


def test_a_run_that_was_killed_ends_before_the_next_begins():
    first, second = sessions(
        [event("started", 100), event("started", 105)], [receipt(101), receipt(106)], {TASK.id}
    )
    assert (first.ended, second.ended) == (105, 119)


def test_one_that_rests_to_its_end():
    (only,) = sessions([event("started", 100), event("paused", 150), event("stopped", 400)], [], ())
    assert only.pauses == ((150, 400),)


def test_images_from_before_the_history_are_a_session():
    before, after = sessions(
        [event("started", 500), event("end", 600)], [receipt(100), receipt(200), receipt(510)], ()
    )
    assert (before.began, before.ended, before.end, before.images) == (100, 213, "", 2)
    assert after.images == 1
    assert sum(gone.denoise_s + gone.decode_s for gone in before.gone) == before.denoise_s + before.decode_s
    assert sessions([], [], ()) == []


@pytest.mark.parametrize("text", ["", "yesterday", "0001-01-01T00:00:00+14:00", "9" * 300])
def test_what_is_no_time_is_none(text):
    assert moment(text) is None or isinstance(moment(text), float)


def test_the_commands_name_manifest_and_folder_for_a_shell(manifest, work):
    path = manifest("grid: {model: demo, prompt: a fox, steps: 1, size: 512x512}\nrun: {min_free_disk: 1MB}\n")
    odd = path.rename(path.with_name("it's $(a) job;.yaml"))
    fake_run(odd, seen=Silent(), out=work / "out it", engine="local")
    folder = RunFolder(work / "out it")
    source = folder.origin().source
    said = commands(folder.root, source, images=3, measures=True)
    words = shlex.split(said["failed"])
    assert words[-5:] == ["run", str(odd), "--out", str(work / "out it"), "--retry-failed"]
    assert shlex.split(said["plan"])[-1] == str(odd)
    assert said["unfit"].endswith(" --retry-oom")
    assert said["past"] == f"{said['go_on']} --set run.max_consecutive_failures=3"
    assert "unfit" not in commands(folder.root, source, images=3, measures=False)
    given = commands(folder.root, source, images=3, measures=False, options=("--devices=0,1", "--set=seed=0, 1"))
    more = ["--devices", "0,1", "--set", "seed=0, 1", "--retry-failed"]
    assert shlex.split(given["failed"])[-6:] == [str(work / "out it"), *more]
    assert list(commands(folder.root, "", images=3, measures=True)) == ["picks"]


def test_the_devices_of_a_session_are_those_at_once():
    def on(count: object) -> LogEntry:
        return replace(event("devices", 1001), data={"devices": count})

    history = [
        event("started", 1000),
        on(2),
        on(3),
        on("many"),
        on(10**30),
        event("end", 1300),
        event("started", 9000),
    ]
    first, second = sessions(history, [receipt(1005), receipt(9001)], {TASK.id})
    assert (first.devices, second.devices) == (3, 1)


def part(number: int, kind: str, at: float, of: int = 2) -> LogEntry:
    return replace(event(kind, at), shard=f"{number}/{of}")


def of_task(key: str, at: float, seconds: float = 9.0) -> Receipt:
    found = receipt(at, seconds)
    return replace(found, task=replace(found.task, id=key))


def test_shards_side_by_side_are_one_session():
    """Wall time counts once, the work of all of them adds up."""
    history = [
        part(1, "started", 1000), part(2, "started", 1010), part(1, "end", 1100), part(2, "end", 1060),
    ]  # fmt: skip
    records = [of_task("a", 1000), of_task("b", 1010), of_task("c", 1050)]
    (only,) = sessions(history, records, ["a", "b", "c"])
    assert (only.began, only.ended, only.end) == (1000, 1100, "end")
    assert (only.shards, only.devices, only.images) == (2, 2, 3)
    assert only.device_s == 100 + 50
    assert only.denoise_s == 27.0


def test_shards_one_after_the_other_are_two():
    history = [part(1, "started", 1000), part(1, "end", 1050), part(2, "started", 1060), part(2, "end", 1100)]
    first, second = sessions(history, [of_task("a", 1001), of_task("b", 1061)], ["a", "b"])
    assert (first.images, first.ended, first.shards, second.images) == (1, 1050, 1, 1)


def test_what_a_killed_shard_made_is_its_last_sign_of_life():
    """An image that another shard makes later is none."""
    history = [part(1, "started", 1000), part(2, "started", 1001), part(2, "end", 2000)]
    records = [of_task("a", 1002), of_task("b", 1990)]
    (only,) = sessions(history, records, ["a", "b"])
    assert only.end == ""
    assert only.device_s == (1002 + 12 - 1000) + (2000 - 1001)


def test_a_shard_that_begins_again_ends_what_it_did_before():
    history = [part(1, "started", 1000), part(2, "started", 1001), part(1, "started", 1500), part(1, "end", 1600)]
    records = [of_task("a", 1490, seconds=100.0), of_task("b", 1002, seconds=600.0), of_task("c", 1501)]
    (only,) = sessions([*history, part(2, "stopped", 1700)], records, ["a", "b", "c"])
    assert (only.shards, only.devices, only.ended, only.end) == (2, 2, 1700, "")
    assert only.device_s == 500 + 699 + 100


def test_shards_rest_when_all_of_them_do():
    history = [
        part(1, "started", 1000), part(2, "started", 1000), part(1, "paused", 1010), part(2, "paused", 1020),
        part(2, "resumed", 1050), part(1, "resumed", 1060), part(1, "end", 1100), part(2, "end", 1100),
    ]  # fmt: skip
    (only,) = sessions(history, [], ())
    assert only.pauses == ((1020, 1050),)
    assert only.device_s == 50 + 70


def test_a_run_of_the_whole_is_beside_no_shard():
    history = [
        part(1, "started", 1000),
        event("started", 1020),
        event("end", 1100),
        part(1, "started", 1100, of=3),
    ]
    found = sessions(history, [of_task("a", 1019, seconds=50.0), of_task("b", 1030)], ["a", "b"])
    assert [(one.began, one.ended, one.images) for one in found] == [
        (1000, 1020, 1),
        (1020, 1100, 1),
        (1100, 1100, 0),
    ]


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2/0", "two", "1/2/3", "1/" + "9" * 40])
def test_a_shard_that_is_none_is_no_reason_to_stop(shard):
    (only,) = sessions([replace(event("started", 1000), shard=shard)], [of_task("a", 1001)], ["a"])
    assert only.images == 1
