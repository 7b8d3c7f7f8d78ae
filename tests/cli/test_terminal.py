"""The door to the terminal: what others wrote comes out as letters, and obeys nobody."""

import errno
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from batch.base.errors import EXIT_INTERRUPTED
from batch.base.text import is_plain, visible
from batch.cli import terminal
from batch.cli.main import main
from batch.cli.progress import JsonEvents, Lines
from batch.store.events import EventLog
from batch.store.folder import RunFolder
from tests.conftest import ROOT, SMALL
from tests.helpers import happen

EVIL = "\x1b]0;owned\x07 \x1b[2J\r gone \x9b31m \u202e txt \x08 \x7f"
SHOWN = "\\u001b]0;owned\\u0007 \\u001b[2J\\u000d gone \\u009b31m \\u202e txt \\u0008 \\u007f"


def test_what_a_terminal_obeys_is_made_visible():
    assert visible(EVIL) == SHOWN
    assert (
        visible("two\nlines\tof 狐 🦊 ünï \u200d \N{NO-BREAK SPACE}")
        == "two\nlines\tof 狐 🦊 ünï \u200d \N{NO-BREAK SPACE}"
    )
    assert visible("half \ud800") == "half \\ud800"
    assert is_plain(SHOWN) and not is_plain(EVIL)


def test_every_way_out_goes_through_the_door(capsys):
    terminal.show(EVIL)
    terminal.say(EVIL)
    Lines().on(happen(EVIL))
    out, err = capsys.readouterr()
    assert out == f"{SHOWN}\n"
    assert re.fullmatch(rf"{re.escape(SHOWN)}\n\d\d:\d\d:\d\d note: {re.escape(SHOWN)}\n", err)


def test_json_is_the_same_data(capsys):
    terminal.print_json({EVIL: [EVIL]})
    JsonEvents().emit("note", text=EVIL)
    printed = capsys.readouterr().out
    assert is_plain(printed)
    whole, line = printed.rsplit("\n", 2)[:2]
    assert json.loads(whole) == {EVIL: [EVIL]}
    assert json.loads(line)["text"] == EVIL


def test_no_command_prints_past_the_door():
    ways = ("click.echo(", "click.secho(", "print(", ".show(")
    past = [
        f"{path.name}: {line.strip()}"
        for path in (ROOT / "batch" / "cli").glob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if path.name != "terminal.py" and any(way in line for way in ways)
    ]
    assert past == ["main.py: error.show(told)"]


class Full(io.StringIO):
    """A stream into a full disk."""

    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("names", [["a.yaml"], ["a.yaml", "b.yaml"]])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_who_cannot_be_told_ends_no_run(manifest, work, capsys, monkeypatch, stream, names):
    for name in names:
        manifest(SMALL, name)
    monkeypatch.setattr(sys, stream, Full())
    assert main(["run", *names, *(["--json"] if stream == "stdout" else [])]) == 0
    assert [len(RunFolder(Path("outputs", name[0])).scan().receipts) for name in names] == [4] * len(names)
    if stream == "stdout":
        err = capsys.readouterr().err
        assert err.count("cannot be written (No space left on device)") == 1


def test_a_mistake_keeps_its_exit_code_where_nobody_reads(manifest, work, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Full())
    assert main(["run", str(manifest("grid: {model: demo, promt: a}\n"))]) == 2


@pytest.mark.parametrize("arguments", [["status", "run\x1b[2J"], ["nonsense\x1b[2J"], ["run", "--\x1b[2J"]])
def test_arguments_are_shown_as_letters(cli, arguments, work):
    outcome = cli(*arguments)
    assert outcome.code == 2
    assert "1b[2J" in outcome.err
    assert is_plain(outcome.err)


def test_a_run_folder_of_others_is_shown_as_letters(cli, work):
    folder = RunFolder(work / "run", "me-1")
    folder.state.mkdir(parents=True)
    (folder.state / "format.json").write_text(json.dumps({"schema": 1, "name": EVIL, "kind": "render"}))
    holder = {"host": f"host {EVIL}", "pid": 1, "since": EVIL, "command": EVIL}
    (folder.state / "lock.json").write_text(json.dumps(holder))
    EventLog(folder).write(happen(f"happened {EVIL}"))
    for arguments in (["status", "run"], ["status", "run", "--json"], ["verify", "run"], ["report", "run"]):
        outcome = cli(*arguments)
        assert is_plain(outcome.out + outcome.err), arguments
    assert "host \\u001b]0" in cli("status", "run").out


SIGNALLED = """
import os, signal, threading, time
from batch.cli import shown
from batch.cli.terminal import stoppable

def send():
    for _ in range({times}):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.005)

with stoppable(shown.events(as_json={as_json})):
    threading.Thread(target=send, daemon=True).start()
    time.sleep({seconds})
"""


def signalled(**how):
    code = SIGNALLED.format(**how)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.name == "nt", reason="no signals to other processes")
def test_many_signals_at_once_have_one_last_word():
    ended = signalled(times=50, as_json=False, seconds=30)
    assert ended.returncode == EXIT_INTERRUPTED
    assert ended.stderr.count("ended at once") == 1, ended.stderr


@pytest.mark.skipif(os.name == "nt", reason="no signals to other processes")
@pytest.mark.parametrize("as_json", [False, True])
def test_a_signal_where_no_run_listens_is_told_too(as_json):
    ended = signalled(times=1, as_json=as_json, seconds=1)
    if as_json:
        event = json.loads(ended.stdout)
        assert (event["event"], event["level"], ended.stderr) == ("stopping", "drop", "")
    else:
        said = "stopping: what is complete is kept, what is at work is dropped (again: at once)"
        assert (ended.stdout, ended.stderr.strip()) == ("", said)
