"""Deadlines, the number of images, and the disk's floor."""

import errno
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.base import disk
from batch.base.errors import DiskLow, StoppedEarly, UserError
from batch.plan.estimate import Estimate
from batch.plan.known import Known
from batch.plan.rates import learn
from batch.records.receipts import Outcome
from batch.records.shard import Shard
from batch.records.tasks import Task
from batch.run import times
from batch.run.limits import Gate, Limits, disk_warning
from batch.run.times import parse_hours, parse_until
from batch.store.folder import RunFolder
from tests.helpers import GIB, images, receipts_of
from tests.small_receipts import TASKS, a_receipt, a_task

BERLIN = ZoneInfo("Europe/Berlin")
EVENING = datetime(2026, 11, 24, 22, 30, tzinfo=BERLIN)


def done(task: Task, seconds: float = 100.0, **more) -> Outcome:
    return Outcome(key=task.id, status="done", receipt=a_receipt(task, seconds, **more))


class World:
    """Clocks and a disk that only the test moves."""

    def __init__(self) -> None:
        self.seconds, self.free = 5000.0, 1000 * GIB

    def gate(self, work: Path, wanted: Limits, floor: int = 0, **known) -> Gate:
        return Gate(
            wanted,
            RunFolder(work / "run"),
            TASKS,
            min_free_disk=floor,
            clock=lambda: self.seconds,
            now=lambda: EVENING + timedelta(seconds=self.seconds - 5000),
            free=lambda _: self.free,
            **known,
        )


@pytest.fixture
def world():
    return World()


def render(gate: Gate, world: World, seconds: float = 100.0, **more) -> int:
    """Render until the gate closes; how many were started."""
    for count, task in enumerate(TASKS):
        try:
            gate.admit(task)
        except StoppedEarly:
            return count
        world.seconds += seconds
        gate.finished(done(task, seconds, **more))
    return len(TASKS)


# Until when


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("07:00", "2026-11-25T07:00+01:00"),
        ("7:00", "2026-11-25T07:00+01:00"),
        ("7", "2026-11-25T07:00+01:00"),
        ("07", "2026-11-25T07:00+01:00"),
        ("7am", "2026-11-25T07:00+01:00"),
        ("7:15 A.M.", "2026-11-25T07:15+01:00"),
        ("4 pm", "2026-11-25T16:00+01:00"),
        ("11:30PM", "2026-11-24T23:30+01:00"),
        ("12am", "2026-11-25T00:00+01:00"),
        ("12 pm", "2026-11-25T12:00+01:00"),
        (" 23:15 ", "2026-11-24T23:15+01:00"),
        ("22:30", "2026-11-25T22:30+01:00"),
        ("22:30:01", "2026-11-24T22:30:01+01:00"),
        ("2026-11-25 07:00", "2026-11-25T07:00+01:00"),
        ("2026-11-25 7:00", "2026-11-25T07:00+01:00"),
        ("2026-11-25T07:00Z", "2026-11-25T08:00+01:00"),
        ("2026-11-25T07:00-05:00", "2026-11-25T13:00+01:00"),
        ("2027-07-01T07:00", "2027-07-01T07:00+02:00"),
    ],
)
def test_until(text, expected):
    found = parse_until(text, EVENING)
    assert found.tzinfo is not None
    assert found.astimezone(UTC) == datetime.fromisoformat(expected).astimezone(UTC)


@pytest.mark.parametrize(
    ("now", "text", "expected"),
    [
        # Spring: 02:00 to 03:00 is skipped. Autumn: 02:00 to 03:00 comes twice.
        ("2026-03-28T23:00+01:00", "07:00", "2026-03-29T07:00+02:00"),
        ("2026-03-28T23:00+01:00", "02:30", "2026-03-29T03:30+02:00"),
        ("2026-10-24T23:00+02:00", "07:00", "2026-10-25T07:00+01:00"),
        ("2026-10-24T23:00+02:00", "02:30", "2026-10-25T02:30+02:00"),
        ("2026-10-25T02:45+02:00", "02:30", "2026-10-25T02:30+01:00"),
        ("2026-10-25T02:45+01:00", "02:30", "2026-10-26T02:30+01:00"),
    ],
)
def test_until_across_a_change_of_clocks(now, text, expected):
    found = parse_until(text, datetime.fromisoformat(now).astimezone(BERLIN))
    assert found.astimezone(UTC) == datetime.fromisoformat(expected).astimezone(UTC)


@pytest.mark.skipif(sys.platform == "win32", reason="the zone of a process cannot be set there")
def test_until_is_in_this_machines_zone():
    code = (
        "from datetime import UTC, datetime; from batch.run.times import parse_until;"
        "print(parse_until('07:00', datetime(2026, 3, 28, 22, tzinfo=UTC)).astimezone(UTC).isoformat())"
    )
    env = {"TZ": "Europe/Berlin", "PYTHONPATH": str(Path(times.__file__).parents[2])}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "2026-03-29T05:00:00+00:00"  # summer time has begun by then


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "25:00",
        "77",
        "13pm",
        "0am",
        "7:60am",
        "19h",
        "7h30",
        "07:60",
        "2026-11-25",
        "2026-13-01 07:00",
        "9999-12-31T23:59",
    ],
)
def test_until_nonsense(text):
    now = EVENING if text != "9999-12-31T23:59" else datetime(2026, 1, 1, tzinfo=ZoneInfo("America/New_York"))
    with pytest.raises(UserError, match="--until") as error:
        parse_until(text, now)
    assert "07:00" in str(error.value)


def test_an_hour_that_may_be_a_while_is_asked_about():
    with pytest.raises(UserError, match=r"for that time of day 19:00, for so many hours --max-hours 19$"):
        parse_until("19h", EVENING)
    with pytest.raises(UserError, match=r"for that time of day 07:30, for so many hours --max-hours 7.5$"):
        parse_until("7h30", EVENING)


@pytest.mark.parametrize(
    ("text", "hours"),
    [("7.5", 7.5), ("8h", 8.0), ("90m", 1.5), ("90 min", 1.5), ("7h30m", 7.5), ("1.5 H", 1.5), ("1e-7", 1e-7),
     ("-1", -1.0), ("0", 0.0)],
)  # fmt: skip
def test_hours(text, hours):
    assert parse_hours(text) == hours


@pytest.mark.parametrize(
    ("text", "right"),
    [("7:30", "write 7h30m for so long; a time of day is --until 7:30"), ("7,5", "write 7.5"),
     ("", "7.5, 8h or 90m"), ("soon", "7.5, 8h or 90m"), ("8 h later", "7.5, 8h or 90m")],
)  # fmt: skip
def test_hours_that_are_none(text, right):
    with pytest.raises(UserError, match=f"^--max-hours {text}: not a number of hours; .*{right}$"):
        parse_hours(text)


@given(st.text(max_size=12) | st.from_regex(r"[0-9.,:]{0,6} ?[hm]?[0-9]{0,2}[hm]?", fullmatch=True))
def test_hours_are_a_number_or_a_users_mistake(text):
    try:
        assert isinstance(parse_hours(text), float)
    except UserError as error:
        assert "--max-hours" in str(error)


@pytest.mark.parametrize("text", ["2026-11-24 22:00", "2026-11-24T22:29:59+01:00", "2020-01-01T00:00"])
def test_until_in_the_past(text):
    with pytest.raises(
        UserError, match=f"--until {text.replace('+', '.')}: that is past, it is 2026-11-24 22:30 now"
    ):
        parse_until(text, EVENING)


@given(st.text(max_size=20) | st.from_regex(r"[0-9]{1,4}[-: T0-9]{0,12}[+Z]?[0-9:]{0,5}", fullmatch=True))
def test_until_is_a_later_instant_or_a_users_mistake(text):
    try:
        assert parse_until(text, EVENING).astimezone(UTC) > EVENING.astimezone(UTC)
    except UserError as error:
        assert "--until" in str(error)


@pytest.mark.parametrize(
    ("limit", "option"),
    [({"max_hours": 0}, "hours"), ({"max_hours": float("nan")}, "hours"), ({"max_images": 0}, "images")],
)
def test_a_limit_of_nothing_is_a_mistake(limit, option):
    with pytest.raises(UserError, match=f"--max-{option}"):
        Limits(**limit)


# The gate


def test_the_gate_counts_images_and_not_attempts(world, work):
    gate = world.gate(work, Limits(max_images=2))
    gate.check(TASKS[0])
    gate.admit(TASKS[0])
    gate.admit(TASKS[0])  # its worker died
    gate.finished(done(TASKS[0]))
    gate.admit(TASKS[1])
    with pytest.raises(StoppedEarly, match="--max-images 2 is reached; 10 images are left"):
        gate.admit(TASKS[2])
    assert gate.started == 1  # nothing has come of the second


@pytest.mark.parametrize("limit", [{"max_hours": 0.125}, {"until": EVENING + timedelta(seconds=450)}])
def test_no_image_is_started_that_would_not_be_done_in_time(world, work, limit):
    gate = world.gate(work, Limits(**limit))
    assert render(gate, world) == 4  # a fifth would end at 500 of 450 seconds
    with pytest.raises(
        StoppedEarly, match=r"leaves 50.0s, and the next image takes about 1m 40s; 8 images are left"
    ):
        gate.check(TASKS[4])
    world.seconds += 50
    with pytest.raises(StoppedEarly, match=r"is reached; 8 images are left"):
        gate.check(TASKS[4])


def test_a_moment_that_is_left_is_none(world, work):
    gate = world.gate(work, Limits(until=EVENING + timedelta(seconds=104)))
    assert render(gate, world) == 1
    with pytest.raises(StoppedEarly, match=r"^--until 2026-11-24 22:31 is reached; 11 images are left$"):
        gate.check(TASKS[1])


def test_an_unknown_rate_admits_until_the_deadline_itself(world, work):
    gate = world.gate(work, Limits(max_hours=1))
    world.seconds += 3599
    gate.admit(TASKS[0])
    world.seconds += 1
    with pytest.raises(StoppedEarly, match="--max-hours 1 is reached"):
        gate.check(TASKS[1])


def test_a_heavier_image_is_judged_by_its_size(world, work):
    gate = world.gate(work, Limits(max_hours=0.1), known=Known(folder=learn([a_receipt(TASKS[0], 100.0)])))
    gate.check(TASKS[1])
    with pytest.raises(StoppedEarly, match="about 6m 40s"):
        gate.check(a_task(1, rendered_width=2000, rendered_height=2000))
    gate.check(a_task(1, model="another", rendered_width=2000, rendered_height=2000))  # nothing known of it


def test_this_run_knows_better_than_earlier_ones(world, work):
    known = Known(history=learn([a_receipt(TASKS[0], 1000.0)]))
    gate = world.gate(work, Limits(max_hours=0.25), known=known)
    with pytest.raises(StoppedEarly, match="about 16m 40s judged by earlier runs here"):
        gate.check(TASKS[0])
    gate.finished(done(TASKS[0], 100.0, warmup=True))
    gate.check(TASKS[1])  # even the first image after a load was faster
    gate.finished(done(TASKS[1], 10.0))
    gate.check(TASKS[2])


def test_the_room_that_a_shard_asks_for_is_for_its_part(world, work):
    gate = world.gate(work, Limits(), floor=0)
    gate._folder = RunFolder(work, shard=Shard(2, 4))
    assert gate.remedy().startswith("what is not saved yet (12 images of shard 2/4 alone) takes about")


def test_the_disk_floor_holds_with_what_is_not_saved_yet(world, work):
    gate = world.gate(
        work, Limits(), floor=5 * GIB, known=Known(folder=learn([a_receipt(TASKS[0], size=3_000_000)]))
    )
    world.free = 5 * GIB + 7_000_000  # room for two images of 3 MB
    gate.admit(TASKS[0])
    gate.admit(TASKS[1])
    with pytest.raises(DiskLow) as error:
        gate.admit(TASKS[2])
    assert error.value.exit_code == 75
    assert "5.0 GiB are free" in str(error.value)
    assert "min_free_disk keeps 5.0 GiB" in str(error.value)
    assert "(12 images) takes about 35 MiB in all: make room for about 28 MiB" in str(error.value)
    world.free -= 6_100_000
    gate.finished(done(TASKS[0], size=3_000_000))
    gate.finished(Outcome(key=TASKS[1].id, status="failed"))
    with pytest.raises(DiskLow, match="11 images"):
        gate.admit(TASKS[2])
    world.free += 3_000_000
    gate.admit(TASKS[2])


def test_a_disk_that_cannot_be_asked_stops_nothing(world, work, monkeypatch):
    def gone(_: Path) -> int:
        raise OSError(errno.ESTALE, "stale")

    monkeypatch.setattr("shutil.disk_usage", gone)
    assert disk.free(work) is None
    Gate(Limits(), RunFolder(work), TASKS, min_free_disk=GIB).admit(TASKS[0])


def test_the_disk_warning():
    takes = Estimate(
        seconds=None, seconds_from="not known", disk_bytes=12 * GIB, disk_from="this run", peak_bytes=None
    )
    assert disk_warning(takes, 17 * GIB, 5 * GIB) == ""
    warning = disk_warning(takes, 10 * GIB, 5 * GIB)
    assert all(part in warning for part in ("12.0 GiB", "10.0 GiB", "5.0 GiB", "room for about 7.0 GiB"))
    assert disk_warning(replace(takes, disk_bytes=0), 0, 5 * GIB) == ""


# On the command line


def test_so_many_images_and_the_rest_later(cli, manifest):
    first = cli("run", manifest(), "--out", "run", "--max-images", "2")
    assert first.code == 75
    assert "stopped: --max-images 2 is reached; 2 images are left" in first.err
    assert "2 images rendered" in first.out
    before = {path: path.stat().st_mtime_ns for path in images("run")}
    # Every prompt once before any twice.
    tasks = [receipt.task for receipt in receipts_of("run")]
    assert Counter(task.prompt for task in tasks) == {"a fox": 1, "a whale": 1}
    second = cli("run", manifest(), "--out", "run", "--max-images", "2")
    assert (second.code, "2 images rendered" in second.out) == (0, True)
    assert len(images("run")) == 4
    assert before.items() <= {path: path.stat().st_mtime_ns for path in images("run")}.items()


def test_hours_that_are_over_at_once(cli, manifest):
    outcome = cli("run", manifest(), "--out", "run", "--max-hours", "1e-7", "--json")
    assert outcome.code == 75
    end = outcome.events()[-1]
    assert (end["rendered"], end["exit_code"]) == (0, 75)
    assert "--max-hours 1e-07" in end["reason"]
    told = {event["event"] for event in outcome.events()}
    assert told - {"preparing", "expected"} == {"start", "end"}  # no model was loaded for it


@pytest.mark.parametrize(
    "options",
    [["--until", "nonsense"], ["--until", "2020-01-01 07:00"], ["--max-hours", "-1"], ["--max-images", "0"]],
)
def test_limits_that_are_mistakes(cli, manifest, work, options):
    outcome = cli("run", manifest(), "--out", "run", *options)
    assert outcome.code == 2
    assert options[0] in outcome.err
    assert not (work / "run").exists()


def test_the_floor_says_how_much_is_needed(cli, manifest, work):
    outcome = cli("run", manifest(), "--out", "run", "--set", "run.min_free_disk=900TB")
    assert outcome.code == 75
    assert "warning: the disk is too small" in outcome.err
    assert "min_free_disk keeps 838190.3 GiB" in outcome.err
    assert "(4 images) takes about" in outcome.err
    assert "make room for about" in outcome.err
    assert "loading the model" not in outcome.err
    assert not (work / "run" / "images").exists()


def test_plan_compares_the_disk_with_what_is_needed(cli, manifest, work):
    plan = cli("plan", manifest(), "--out", "not/there/yet")
    assert "are free" in plan.out
    assert plan.err == ""
    low = cli("plan", manifest(), "--out", "not/there/yet", "--set", "run.min_free_disk=900TB")
    assert (low.code, "warning: the disk is too small" in low.err) == (0, True)
    data = cli("plan", manifest(), "--json", "--set", "run.min_free_disk=900TB").json()
    assert data["free_bytes"] > 0
    assert data["expected"]["disk_bytes"] > 4 * 512 * 512
    assert "the disk is too small" in data["warnings"][0]
    assert [path.name for path in work.iterdir()] == ["job.yaml"]


def test_another_folders_plan_knows_what_images_take(cli, manifest, own_cache):
    unknown = cli("plan", manifest(), "--out", "b")
    assert "time: not known" in unknown.out
    assert "as photographs take it" in unknown.out
    cli("run", manifest(), "--out", "a", "--quiet", "--max-images", "3")
    mine = cli("plan", manifest(), "--out", "a", "--json").json()["expected"]
    assert (mine["seconds_from"], mine["disk_from"]) == ("this run", "this run")
    other = cli("plan", manifest(), "--out", "b")
    assert "judged by earlier runs here" in other.out
    told = cli("plan", manifest(), "--out", "b", "--json").json()["expected"]
    assert (told["seconds_from"], told["disk_from"]) == ("earlier runs", "earlier runs")
    assert mine["seconds"] < told["seconds"] < 4 * mine["seconds"]  # of four images; the model is loaded once
    (own_cache / "history.json").write_bytes(b"damaged")
    assert "time: not known" in cli("plan", manifest(), "--out", "b").out
