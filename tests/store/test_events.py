"""The log of a run: what happened is written down, and read again whatever became of it."""

import pytest

from batch.store import events
from batch.store.events import EventLog
from batch.store.folder import RunFolder
from tests.helpers import happen


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run", "me-1")


def texts(folder):
    return [event.text for event in events.read(folder)]


def test_what_happened_is_written_down(folder):
    log = EventLog(folder)
    log.write(happen("ein Bär 🐻\nzwei", task="12ab", data={"stage": "decode", "rungs": ["a", 1, None]}))
    (event,) = events.read(folder)
    assert (event.text, event.kind, event.task, event.runner) == ("ein Bär 🐻\nzwei", "note", "12ab", "me-1")
    assert event.data == {"stage": "decode", "rungs": ["a", 1, None]}
    assert event.time.endswith("+00:00")
    assert events.read(RunFolder(folder.root / "other")) == []


def test_a_line_torn_by_a_kill_costs_that_line_only(folder):
    EventLog(folder).write(happen("one"))
    path = folder.state / events.FILE
    path.write_bytes(path.read_bytes()[:-20])
    EventLog(folder).write(happen("two"))
    EventLog(folder).write(happen("three"))
    assert texts(folder) == ["two", "three"]


@pytest.mark.parametrize(
    "line",
    [
        b"hello", b"[]", b"null", b'{"kind": "x"}', b"\xff\xfe\x00", b"\0" * 40, b"[" * 100_000,
        b'{"time": "2026-01-01T00:00:00+00:00", "runner": "r", "kind": 3, "text": "x"}',
        b'{"time": "yesterday", "runner": "r", "kind": "x", "text": "x"}',
        b'{"time": "2026-01-01T00:00:00+00:00", "runner": "r", "kind": "x", "text": "x", "data": [1]}',
    ],
)  # fmt: skip
def test_foreign_lines_are_passed_over(folder, line):
    EventLog(folder).write(happen("one"))
    with (folder.state / events.FILE).open("ab") as file:
        file.write(line + b"\n")
    EventLog(folder).write(happen("two"))
    assert texts(folder) == ["one", "two"]


def test_a_log_that_cannot_be_written_fails_nothing(folder):
    (folder.state / events.FILE).mkdir(parents=True)
    EventLog(folder).write(happen("lost"))
    assert texts(folder) == []
    blocked = RunFolder(folder.state / events.FILE / "file")
    blocked.root.write_text("no folder")
    EventLog(blocked).begin(1)


def test_the_log_is_bounded(folder, monkeypatch):
    monkeypatch.setattr(events, "MAX_BYTES", 2_000)
    for number in range(100):
        EventLog(folder).write(happen(f"number {number}"))
    sizes = [(folder.state / name).stat().st_size for name in (events.FILE, events.OLDER)]
    assert max(sizes) < 2_300
    numbers = [int(text.split()[1]) for text in texts(folder)]
    assert numbers == list(range(numbers[0], 100))
    assert len(numbers) > 15


def test_the_last_run_is_told_apart(folder):
    log = EventLog(folder)
    log.begin(2)
    log.write(happen("old"))
    assert [event.text for event in events.last_run(events.read(folder))] == ["old"]
    log.begin(1)
    assert events.last_run(events.read(folder)) == []
    log.write(happen("new"))
    assert [event.text for event in events.last_run(events.read(folder))] == ["new"]
    assert events.last_run([]) == []


def test_without_its_start_a_run_is_the_last_runners(folder):
    EventLog(folder).write(happen("old"))
    EventLog(RunFolder(folder.root, "me-2")).write(happen("new"))
    assert [event.text for event in events.last_run(events.read(folder))] == ["new"]
