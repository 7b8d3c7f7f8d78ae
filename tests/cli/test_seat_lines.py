"""What a run at several devices shows while it goes on, on a terminal, in a log and to programs."""

import json
import re
from dataclasses import replace

import pytest
from rich.cells import cell_len

from batch.cli import progress
from batch.cli.standing import moment
from batch.records.events import Beat, Closed, Crew, Encoded, Expected, Loading
from batch.records.kinds import HappeningKind, Stage
from batch.records.live import RunState, SeatState, SeatStatus
from batch.records.receipts import Outcome
from batch.run import summary
from batch.run.account import Account
from batch.store import events, parts
from batch.store.events import EventLog
from batch.store.folder import RunFolder
from tests.cli.test_progress import BEGAN, DONE, at, drawn
from tests.cli.test_status import NOW
from tests.helpers import Seen, fake_run, happen
from tests.known_seats import seats
from tests.small_receipts import TASKS, a_receipt


def crew(count):
    return Crew(seats(*["fast"] * count))


def beat(seat, part=7, stage=Stage.DENOISE):
    return Beat(f"fox-s{seat}", stage, part, 20 if stage == Stage.DENOISE else 0, (f"id {seat}",), seat)


def names(lines):
    return [line.split()[0] for line in lines]


def test_there_is_a_line_for_each_device():
    top, *lines = drawn(at(crew(3), beat(0, 1), beat(0), beat(1, stage=Stage.LOAD), beat(2, stage=Stage.DECODE)))
    assert top.startswith("0 of 40 images")
    assert names(lines) == ["cuda:0", "cuda:1", "cuda:2"]
    assert lines[0].split()[1] == "fox-s0" and lines[0].rstrip().endswith("denoising 7 of 20")
    assert "loading the model" in lines[1] and lines[2].rstrip().endswith("decoding")
    assert len({line.find(word) for line, word in zip(lines, ("den", "0 s", "dec"), strict=True)}) == 1


def test_one_device_is_shown_as_ever():
    assert drawn(at(crew(1), beat(0))) == drawn(at(beat(0)))


def test_before_anything_is_heard_of_a_device_there_is_what_all_are_at():
    assert drawn(at(crew(2), Loading(12)))[1].startswith("loading the model, then 12 texts to encode")
    assert len(drawn(at(crew(2), Loading(12)))) == 2
    loading = drawn(at(crew(2), Loading(0)))
    assert names(loading[1:]) == ["cuda:0", "cuda:1"] and all("loading the model" in line for line in loading[1:])
    over = at(crew(2), Loading(0), beat(0), beat(1), Outcome(key="id 0", status="done"))
    over.on(Outcome(key="id 1", status="done"))
    assert len(drawn(over)) == 1
    encoding = drawn(at(crew(2), Loading(12), beat(0, stage=Stage.ENCODE), Encoded(3, 12)))
    assert "encoding 3 of 12" in encoding[1] and names(encoding[2:]) == ["cuda:0", "cuda:1"]
    rendering = drawn(at(crew(2), Loading(1), Encoded(1, 1), beat(0)))
    assert names(rendering[1:]) == ["cuda:0", "cuda:1"]


def test_a_device_without_work_waits_and_one_that_is_lost_is_not_there():
    waits = at(crew(3), beat(0), beat(1), Outcome(key="id 1", status="done"))
    assert drawn(waits)[2].split() == ["cuda:1", "waiting"]
    waits.on(crew(2))
    assert names(drawn(waits)[1:]) == ["cuda:0", "cuda:1"]
    waits.on(happen("it died", HappeningKind.WORKER_DIED, seat=0))
    waits.on(beat(1))
    assert drawn(waits)[1].split()[:4] == ["cuda:0", "starting", "a", "worker"]
    waits.on(happen("paused by me", HappeningKind.PAUSED))
    waits.on(happen("", HappeningKind.RESUMED))
    waits.on(beat(0))
    assert drawn(waits)[2].split()[:4] == ["cuda:1", "loading", "the", "model"]


def test_a_pause_is_told_once():
    paused = at(crew(2), beat(0), beat(1), happen("paused by me", HappeningKind.PAUSED))
    assert [line.split()[0] for line in drawn(paused)[1:]] == ["paused"]
    paused.on(happen("", HappeningKind.RESUMED))
    assert ["loading" in line for line in drawn(paused)[1:]] == [True, True]
    paused.on(Closed())
    paused.close()
    assert len(drawn(paused)) == 1


def test_of_many_devices_those_at_work_are_shown():
    many = at(crew(12), *map(beat, range(2, 12)))
    lines = drawn(many)[1:]
    assert names(lines) == [f"cuda:{number}" for number in range(2, 10)] + ["and"]
    assert lines[-1] == "and 4 more"


@pytest.mark.parametrize("height", [3, 5, 8, 25])
def test_they_fit_into_a_low_terminal(height):
    lines = drawn(at(crew(6), Loading(9), Encoded(1, 9), *map(beat, range(6))), height=height)
    assert len(lines) <= max(4, height)
    assert lines[-1].startswith("cuda:5" if height > 8 else "and ")


@pytest.mark.parametrize("width", [20, 30, 50, 80, 200])
def test_no_line_is_wider_than_the_terminal(width):
    wide = Beat("狐" * 60, Stage.DENOISE, 1, 8, ("x",), 1)
    lines = drawn(at(crew(3), beat(0, 1), beat(0), wide), width)
    assert len(lines) == 4 and max(map(cell_len, lines)) < width


# In words


def told(listener, *more):
    gone = happen("no sign of life from it", HappeningKind.SEAT_LEFT, seat=1)
    for event in (BEGAN, crew(2), beat(0), beat(1), Outcome(key="id 1", status="done"), gone, *more):
        listener.on(event)


def test_a_log_names_the_device(capsys):
    told(progress.Lines(), happen("cuda:1 is lost", seat=1), happen("of all"), DONE)
    said = [line[9:] for line in capsys.readouterr().err.splitlines()][2:]
    assert "id 1, on cuda:1" in said[0]
    assert said[1:4] == ["note: cuda:1: no sign of life from it", "note: cuda:1 is lost", "note: of all"]
    assert "cuda" not in said[4]


def test_programs_are_told_the_device(capsys):
    told(progress.JsonEvents(), Expected(seconds=1.0))
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(item["event"], item.get("seat")) for item in found] == [
        ("start", None), ("devices", None), ("image", "cuda:1"), ("seat-left", "cuda:1"), ("expected", None),
    ]  # fmt: skip
    assert [seat["label"] for seat in found[1]["seats"]] == ["cuda:0", "cuda:1"]


def test_of_one_device_nobody_is_told(capsys):
    listener = progress.JsonEvents()
    for event in (crew(1), beat(0), Outcome(key="id 0", status="done"), happen("x", seat=0)):
        listener.on(event)
    assert "seat" not in capsys.readouterr().out


def account(count, images):
    found = Account()
    found.on(crew(count))
    for number in range(images):
        task, seat = TASKS[number % len(TASKS)], number % count if number else 0
        found.on(Beat("x", Stage.DENOISE, 1, 2, (task.id,), seat))
        found.on(Outcome(key=task.id, status="done", receipt=a_receipt(task)))
    return found


def test_the_end_says_what_each_device_did():
    two = account(2, 5)
    two.on(happen("cuda:1 is lost", HappeningKind.SEAT_LEFT, seat=1, data={"why": "it died thrice"}))
    two.on(happen("node9 is not used: no Python there", HappeningKind.SEAT_LEFT))
    counts, lost, unused = summary._devices(two)
    assert counts == "3 images on cuda:0, 2 on cuda:1"
    assert re.fullmatch(r"cuda:1 was lost at \d\d:\d\d, after 2 images: it died thrice", lost)
    assert unused == "node9 is not used: no Python there"
    early = Account()
    early.on(crew(2))
    early.on(happen("it never began", HappeningKind.SEAT_LEFT, seat=0))
    (lost,) = summary._devices(early)
    assert lost.startswith("cuda:0 was lost at") and lost.endswith("done there: it never began")
    assert list(summary._devices(account(9, 18))) == ["on 9 devices, 2 images on each"]
    assert list(summary._devices(account(1, 5))) == []


def test_the_history_names_the_device(work):
    folder = RunFolder(work / "run")
    folder.state.mkdir(parents=True)
    EventLog(folder).write(happen("it died"), "cuda:1")
    EventLog(folder).write(happen("a note"))
    assert [(item.seat, item.said) for item in events.read(folder)] == [
        ("cuda:1", "cuda:1: it died"),
        ("", "a note"),
    ]


SEATS = (
    SeatStatus(
        number=0, label="cuda:0", state=SeatState.RENDERING, image="fox", stage=Stage.DENOISE, part=7, parts=20
    ),
    SeatStatus(number=1, label="cuda:1", state=SeatState.GONE),
    SeatStatus(number=2, label="node7 cuda:0", state=SeatState.LOADING),
)  # fmt: skip


def test_status_has_a_line_for_each_device(cli, manifest, work, monkeypatch):
    fake_run(manifest(), seen=Seen(), out=work / "run", engine="local")
    now = replace(NOW, seats=SEATS)
    assert moment(now) == "rendering on 1 of 3 devices, 1 lost"
    monkeypatch.setattr(parts, "now", lambda state: now)
    with RunFolder(work / "run", "me-1").hold():
        lines = cli("status", work / "run").out.splitlines()
    assert lines[1:5] == [
        "  rendering on 1 of 3 devices, 1 lost",
        "    cuda:0        fox, denoising 7 of 20",
        "    cuda:1        lost",
        "    node7 cuda:0  loading the model",
    ]
    assert moment(replace(now, state=RunState.PAUSED, image="", stage=None, said="by me")).startswith("paused")
