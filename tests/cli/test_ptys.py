"""Commands on a real terminal of 80 columns: nothing is wider, no word is broken, colours can be switched off."""

import json
import re
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from batch.records.kinds import HappeningKind
from batch.store.events import EventLog
from batch.store.folder import RunFolder
from tests.cli.ptys import CODES, COLUMNS, lines, on_terminal
from tests.conftest import SMALL
from tests.helpers import Seen, fake_run, happen

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")

LONG = "a lighthouse on a cliff above a stormy sea, with gulls and a red roof, seen from a boat 狐狸"


@pytest.fixture
def folder(manifest):
    path = manifest(SMALL.replace("a whale", f'"{LONG}"'))
    fake_run(path, seen=Seen(), out=Path("run"), engine="local")
    return path


COMMANDS = [
    ("models",), ("models", "sana-1.6b-4k"), ("models", "--memory"), ("doctor",), ("plan", "job.yaml"),
    ("status", "run"), ("compare", "run"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_80_columns_break_no_word(cli, folder, command):
    shown = lines(on_terminal(*command))
    plain = cli(*command).out.split()
    whole = {word for word in plain if cell_len(word) < 40}
    assert [line for line in shown if cell_len(line.rstrip()) > COLUMNS and " " in line.strip()] == []
    words = {word for line in shown for word in line.split()}
    parts = {word for word in words - whole if len(word) > 3 and "wider" not in word}
    assert {
        word for word in parts if any(other.startswith(word) or other.endswith(word) for other in whole)
    } == set()


def test_warnings_before_a_run_break_no_word(folder, manifest):
    path = manifest(SMALL.replace("[a fox", "['a {fox|cat} with [a hat]'"), "odd.yaml")
    shown = lines(on_terminal("run", str(path), "--engine", "local", "--max-images", "1"))
    warned = [line for line in shown if "variants" in line]
    assert warned and max(map(cell_len, shown[: shown.index(warned[-1]) + 1])) <= COLUMNS


def test_colour_is_for_terminals_that_want_it(folder, cli):
    assert CODES.search(on_terminal("models"))
    assert not CODES.search(on_terminal("models", NO_COLOR="1", TERM="dumb"))
    assert "\x1b[3" not in on_terminal("status", "run", NO_COLOR="1")
    assert not CODES.search(cli("models").out)


def test_bars_end_as_a_line_and_leave_the_cursor(folder):
    written = on_terminal("run", "job.yaml", "--out", "again", "--engine", "local")
    drawn = [CODES.sub("", part) for part in re.split(r"\r|\n|\x1b\[\d*[AK]", written)]
    bars = [line for line in drawn if "of 4 images" in line]
    assert max(map(cell_len, bars)) < COLUMNS
    assert bars[-1].startswith("4 of 4 images")
    assert written.rfind("\x1b[?25h") > written.rfind("\x1b[?25l")


def test_q_ends_the_watching_and_not_the_run(folder):
    with RunFolder(Path("run"), "me-1").hold():
        shown = lines(on_terminal("status", "run", "--watch", keys=b"q"))
        assert json.loads(Path("run/.run/lock.json").read_text())["pid"]
    assert any("4 of 4 done" in line for line in shown)


@pytest.mark.usefixtures("folder")
def test_how_to_end_the_watching_stays_in_sight():
    log = EventLog(RunFolder(Path("run"), "me-1"))
    log.begin(4)
    for _ in range(3):
        log.write(happen("the worker died: " + "no sign of life from it; " * 20, HappeningKind.WORKER_DIED))
    with RunFolder(Path("run"), "me-1").hold():
        shown = lines(on_terminal("status", "run", "--watch", columns=50, keys=b"q"))
    assert sum(line.endswith("…") for line in shown) in (3, 6)  # as it was drawn last, perhaps twice
    assert shown[-1].strip() == "q ends this, and not the run"


def test_watch_ends_by_itself(folder):
    assert any("not running" in line for line in lines(on_terminal("status", "run", "--watch")))
