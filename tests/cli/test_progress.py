"""What a run shows while it goes on: on a terminal, in a log, for programs, and with --quiet."""

import io
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from batch.base import tables
from batch.cli import bars, progress, terminal
from batch.records.events import (
    Beat,
    Began,
    Closed,
    Cutoff,
    Encoded,
    Expected,
    Loading,
    Preparing,
)
from batch.records.kinds import HappeningKind, Stage
from batch.records.receipts import Outcome
from tests.helpers import happen

BEGAN = Began(name="job", folder=Path("run"), total=40, done=0, to_render=40, warnings=("the disk is small",))
NAME = "lighthouse-at-dusk-in-the-fog-and-the-rain-s42-5376x3072"
DONE = Outcome(key="x", status="done")


def drawn(screen, width=80, encoding="utf-8", height=25):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=out, width=width, height=height, color_system=None).print(screen)
    out.flush()
    return out.buffer.getvalue().decode(encoding).rstrip().splitlines()


def at(*events):
    screen = bars.Screen()
    for event in (BEGAN, Loading(0), *events):
        screen.on(event)
    return screen


STATES = {
    "loading": [],
    "texts": [Encoded(3, 1633)],
    "denoising": [Beat(NAME, Stage.DENOISE, 1, 20), Beat(NAME, Stage.DENOISE, 7, 20)],
    "decoding": [Beat(NAME, Stage.DECODE, 3, 12)],
    "done": [DONE, Expected(seconds=3600.0, per_hour=212.0)],
    "paused": [DONE, happen("paused by me", HappeningKind.PAUSED)],
    "resumed": [DONE, happen("paused", HappeningKind.PAUSED), happen("resumed", HappeningKind.RESUMED)],
    "wide": [Beat("狐" * 60, Stage.DENOISE, 1, 8)],
}


@pytest.mark.parametrize("width", [20, 30, 80, 200])
@pytest.mark.parametrize("state", STATES)
def test_no_line_is_wider_than_the_terminal(state, width):
    lines = drawn(at(*STATES[state]), width)
    assert 1 <= len(lines) <= 2
    assert max(map(cell_len, lines)) < width


def test_the_bars_say_what_is_at_work():
    upper, lower = drawn(at(*STATES["denoising"]))
    assert upper.startswith("0 of 40 images")
    assert lower.startswith("lighthouse-") and "…" in lower and "s42-5376x3072" in lower
    assert "denoising 7 of 20" in lower
    assert "encoding 3 of 1633" in drawn(at(*STATES["texts"]))[1]
    assert drawn(at(*STATES["paused"]))[0].startswith("paused, 1 of 40 images")


def test_a_run_that_is_resumed_begins_to_load():
    assert drawn(at(*STATES["resumed"]))[1].startswith("loading the model")


@pytest.mark.parametrize(
    "events", [[Loading(5)], [Beat(NAME, Stage.DENOISE)], [Beat("x" * 39, Stage.DECODE, 3, 12)]]
)
def test_a_name_is_cut_only_where_there_is_no_room(events):
    assert "…" not in drawn(at(*events), 85)[1]
    assert "…" in drawn(at(*events), 40)[1]


def test_the_end_is_that_of_the_one_estimator():
    (upper, *_) = drawn(at(*STATES["done"]))
    assert re.search(r"done about \d\d:\d\d  17\.0 s/image", upper)


def test_a_limit_is_no_end():
    by_clock = Cutoff(limit="--until 2026-11-29 04:27", seconds=60.0, images=30)
    upper = drawn(at(Expected(seconds=3600.0, cutoff=by_clock)), 120)[0]
    assert re.search(r"stops at \d\d:\d\d with about 30 of 40 done", upper) and "done about" not in upper
    tomorrow = replace(by_clock, seconds=23.9 * 3600)
    assert "stops tomorrow at" in drawn(at(Expected(seconds=9e5, cutoff=tomorrow)), 120)[0]
    fewer = at(*[DONE] * 8, Expected(seconds=9e3, cutoff=replace(by_clock, images=7)), DONE)
    assert "with about 9 of 40 done" in drawn(fewer, 120)[0]  # never fewer than are done
    by_number = Cutoff(limit="--max-images", seconds=60.0, images=6, clock=False)
    assert re.search(
        r"stops about \d\d:\d\d with 6 of 40 done", drawn(at(Expected(seconds=9e3, cutoff=by_number)), 120)[0]
    )


def test_the_first_lines_say_what_is_to_come(capsys):
    """Of images that a limit lets start, some are to come: nothing is 0s."""
    lines = progress.Lines()
    cutoff = Cutoff(limit="--max-images", seconds=8.0, images=6, clock=False)
    for event in (replace(BEGAN, most=2), Expected(seconds=50.0, cutoff=cutoff), DONE, DONE):
        lines.on(event)
    first, last = [line[9:] for line in capsys.readouterr().err.splitlines()][-2:]
    assert re.fullmatch(r"\[1/40\] x, stops about \d\d:\d\d with 6 of 40 done", first)
    assert last == "[2/40] x, last one"


def test_a_pause_tells_no_end_and_no_rate():
    paused = at(DONE, Expected(seconds=1800.0, per_hour=212.0), happen("paused", HappeningKind.PAUSED))
    upper = drawn(paused, 120)[0]
    assert "about 30m 00s once resumed" in upper and "done about" not in upper and "s/image" not in upper
    images = Cutoff(limit="--max-images", seconds=35.0, images=6, clock=False)
    few = at(DONE, happen("paused", HappeningKind.PAUSED), Expected(seconds=1800.0, cutoff=images))
    assert "about 35s once resumed, stops with 6 of 40 done" in drawn(few, 140)[0]
    clock = Cutoff(limit="--until 2026-11-29 04:27", seconds=2000.0)
    enough = at(DONE, happen("paused", HappeningKind.PAUSED), Expected(seconds=1800.0, cutoff=clock))
    assert re.search(
        r"about 30m 00s once resumed, stops (tomorrow )?at \d\d:\d\d, paused or not", drawn(enough, 140)[0]
    )
    short = at(DONE, happen("paused", HappeningKind.PAUSED), Expected(seconds=2800.0, cutoff=clock))
    assert "paused or not" in drawn(short, 140)[0] and "once resumed" not in drawn(short, 140)[0]
    stopping = at(Expected(seconds=1800.0, per_hour=212.0), happen("stopping", HappeningKind.STOPPING))
    assert "about" not in drawn(stopping, 120)[0]


def test_the_bar_counts_the_plan_as_status_does():
    screen = bars.Screen()
    failed = replace(DONE, status="failed")
    for event in (replace(BEGAN, total=1600, done=47, to_render=1553), Loading(0), *[DONE] * 12, failed):
        screen.on(event)
    assert re.match(r"59 of 1600 images .* 12 in this run", drawn(screen, 120)[0])


def test_a_save_does_not_hide_the_image_at_work():
    assert "denoising 7 of 20" in drawn(at(*STATES["denoising"], Beat("", Stage.SAVE)))[1]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_console_without_box_characters_gets_ascii(encoding):
    drawn(at(*STATES["denoising"]), encoding=encoding)  # raises where it cannot be written
    tables.plain(tables.facts({"a": "b"}))


def test_a_log_begins_its_lines_with_the_time(capsys):
    lines = progress.Lines()
    for event in (
        BEGAN,
        Loading(2),
        Encoded(1, 2),
        happen("a note"),
        DONE,
        Expected(seconds=60.0),
        DONE,
        Closed(),
    ):
        lines.on(event)
    said = capsys.readouterr().err.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in said)
    words = [line[9:] for line in said]
    assert words[0] == "warning: the disk is small"
    assert words[2:4] == ["loading the model, encoding 2 texts", "note: a note"]
    assert re.fullmatch(r"\[2/40\] x, 1m 00s left, done about \d\d:\d\d", words[5])


def test_what_is_over_in_a_second_is_not_told(capsys, monkeypatch):
    late = progress.Late()
    late.on(Preparing("soon over"))
    late.on(Loading(0))
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)
    late.on(Preparing("takes long"))
    late._timer.join()
    assert [line[9:] for line in capsys.readouterr().err.splitlines()] == ["takes long …"]


def test_what_begins_again_is_not_told_again(capsys, monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)
    late = progress.Late()
    for text in ("reading", "starting", "reading"):
        late.on(Preparing(text))
        late._timer.join() if late._timer else None
    assert [line[9:] for line in capsys.readouterr().err.splitlines()] == ["reading …", "starting …"]
    late.on(BEGAN)  # the next run of a queue tells its own
    late.on(Preparing("reading"))
    late._timer.join()
    assert [line[9:] for line in capsys.readouterr().err.splitlines()] == ["reading …"]


def test_quiet_says_what_one_must_know(capsys):
    quiet = progress.Quiet()
    for event in (
        Preparing("x"),
        BEGAN,
        Loading(2),
        happen("a note"),
        DONE,
        happen("paused", HappeningKind.PAUSED),
    ):
        quiet.on(event)
    assert [line[9:] for line in capsys.readouterr().err.splitlines()] == ["warning: the disk is small", "paused"]


def test_json_has_an_event_for_what_goes_on(capsys):
    import json

    events = progress.JsonEvents()
    for event in (
        Preparing("reading"), Encoded(1, 3), Encoded(2, 3), Encoded(3, 3), Expected(seconds=9.0, per_hour=400.0),
        Expected(seconds=8.0),
    ):  # fmt: skip
        events.on(event)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(event["event"], event.get("text")) for event in told] == [
        ("preparing", "reading"), ("encoded", 1), ("encoded", 3), ("expected", None),
    ]  # fmt: skip
    assert (told[-1]["seconds"], told[-1]["per_hour"]) == (9.0, 400.0)
    assert told[-1]["ends_at"].endswith("+00:00")


class Screenful(io.StringIO):
    """A terminal's stream that something draws bars on, as rich puts in place of stderr."""

    def __init__(self, below):
        super().__init__()
        self.rich_proxied_file = below

    def isatty(self):
        return True


def test_what_is_said_meanwhile_goes_past_no_bars(monkeypatch):
    below = io.StringIO()
    monkeypatch.setattr(sys, "stderr", Screenful(below))
    terminal.say("stopping: what is complete is kept, what is at work is dropped " * 3)
    assert (below.getvalue(), "stopping" in sys.stderr.getvalue()) == ("", True)
