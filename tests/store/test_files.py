"""Files of a run folder that somebody else may have written: a value, or one of the errors that mean damage."""

import json
import os
import threading
from dataclasses import replace

import pytest

from batch.base import regular
from batch.catalogue import tensors
from batch.records.reading import to_json
from batch.records.receipts import Receipt
from batch.records.tasks import Task
from batch.store import events, files, history, lock, measured
from batch.store.embeds import EmbedCache
from batch.store.events import EventLog
from batch.store.folder import RunFolder
from tests.helpers import happen
from tests.hostile import pipe, quick
from tests.small_receipts import a_receipt, a_task

RECEIPT = a_receipt(a_task(1))


def text_of(receipt: Receipt = RECEIPT, **changes) -> bytes:
    return json.dumps(to_json(receipt) | changes).encode()


HURTFUL = {
    "deep": text_of()[:-1] + b', "scheduler": {"a": ' + b"[" * 100_000,
    "digits": text_of().replace(b'"attempts": 1', b'"attempts": ' + b"9" * 5_000),
    "many digits": text_of().replace(b'"attempts": 1', b'"attempts": ' + b"9" * 400),
    "no end": text_of().replace(b"100.0", b"1e999"),
    "not a number": text_of().replace(b"100.0", b"NaN"),
    "half a letter": text_of().replace(b'"p"', b'"\\ud800"'),
    "half a letter in bytes": text_of().replace(b'"p"', b'"\xed\xa0\x80"'),
    "not UTF-8": text_of().replace(b'"p"', b'"\xff"'),
    "a list": b"[" + text_of() + b"]",
}


@pytest.mark.parametrize("text", HURTFUL.values(), ids=HURTFUL)
def test_what_hurts_is_damage(text, tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(text_of())
    assert files.read(Receipt, path) == RECEIPT
    path.write_bytes(text)
    with quick(1), pytest.raises(ValueError):
        files.read(Receipt, path)


@pytest.mark.parametrize("field", ["file.bytes", "attempts", "task.seed", "task.width"])
def test_whole_numbers_have_64_bits(field, tmp_path):
    path = tmp_path / "x.json"
    lowest = -(2**63) if field == "task.seed" else 1
    for number, sound in ((2**64 - 1, True), (lowest, True), (2**64, False), (-(2**63) - 1, False)):
        data = to_json(RECEIPT)
        *parts, last = field.split(".")
        inner = data[parts[0]] if parts else data
        inner[last] = number
        path.write_text(json.dumps(data))
        if sound:
            files.read(Receipt, path)
        else:
            with pytest.raises(ValueError, match=field):
                files.read(Receipt, path)


def test_a_long_prompt_is_no_damage(tmp_path):
    path = tmp_path / "x.json"
    long = replace(RECEIPT, task=replace(RECEIPT.task, prompt="狐" * 100_000, negative_prompt="ü" * 100_000))
    files.write(path, to_json(long), "me")
    assert files.read(Receipt, path) == long


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "x.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # takes no room
    with quick(1), pytest.raises(regular.TooLarge, match="and no more than 2,097,152 are read"):
        files.read(Receipt, path)


def test_a_file_that_grows_is_read_up_to_its_limit(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"x" * 100)
    sizes = iter((10, 10, 200))
    real = os.fstat
    monkeypatch.setattr(os, "fstat", lambda number: _sized(real(number), next(sizes)))
    assert regular.read(path, 100) == b"x" * 100
    with pytest.raises(regular.TooLarge):
        regular.read(path, 99)
    monkeypatch.undo()
    assert regular.read(path, 100) == b"x" * 100


def _sized(found, size):
    return os.stat_result((*found[:6], size, *found[7:10]))


def test_what_is_no_file_is_said_at_once(tmp_path):
    (tmp_path / "folder").mkdir()
    for name, what in (("folder", "a folder"), ("pipe", "a named pipe")):
        path = tmp_path / name
        if name == "pipe":
            pipe(path)
        for read in (lambda path: files.read(Receipt, path), regular.opened):
            with pytest.raises(OSError) as error:
                read(path)
            assert os.name == "nt" or str(error.value) == f"it is {what}, not a file"


def test_a_pipe_somewhere_hangs_nobody(tmp_path):
    folder = RunFolder(tmp_path / "run", "me-1")
    (folder.state / "failures").mkdir(parents=True)
    (folder.state / "receipts" / "00").mkdir(parents=True)
    for name in ("lock.json", measured.SKIPPED, events.FILE, f"failures/{'0' * 16}.json"):
        pipe(folder.state / name)
    pipe(folder.receipt_path("0" * 16))
    found = []

    def read():
        found.extend([folder.scan().receipts, events.read(folder), lock.holder(folder.state)])

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(20)
    assert found == [{}, [], None]


# The log


def test_a_line_of_any_length_costs_that_line(tmp_path):
    folder = RunFolder(tmp_path / "run", "me-1")
    EventLog(folder).write(happen("one"))
    with (folder.state / events.FILE).open("ab") as file:
        file.write(b'{"text": "' + b"x" * (2 * events.MAX_LINE) + b'"}\n' + b"[" * events.MAX_LINE + b"\n")
    EventLog(folder).write(happen("two"))
    with quick(2):
        assert [entry.text for entry in events.read(folder)] == ["one", "two"]


def test_of_a_log_without_end_the_end_is_read(tmp_path):
    folder = RunFolder(tmp_path / "run", "me-1")
    folder.state.mkdir(parents=True)
    with (folder.state / events.FILE).open("wb") as file:
        file.truncate(2**36)
    EventLog(folder).write(happen("two"))
    (folder.state / events.OLDER).unlink(missing_ok=True)
    with (folder.state / events.FILE).open("r+b") as file:
        line = file.read()
        file.truncate(2**36)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + line)
    with quick(3):
        assert [entry.text for entry in events.read(folder)] == ["two"]


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_outside_the_calendar_is_none(tmp_path, moment):
    folder = RunFolder(tmp_path / "run", "me-1")
    EventLog(folder).write(happen("one"))
    path = folder.state / events.FILE
    data = json.loads(path.read_bytes())
    path.write_text(json.dumps(data | {"time": moment}) + "\n")
    assert events.read(folder) == []


# Caches


@pytest.mark.parametrize(
    "text", [b"", b"[" * 100_000, b"[1]", b'{"entries": [1]}', b'{"entries": ' + b"9" * 5_000]
)
def test_a_history_that_hurts_is_none(text, own_cache):
    own_cache.mkdir()
    history.path().write_bytes(text)
    assert history.read() == history.History()


HEADERS = {
    "a lie": b"\xff" * 8, "half": (2**63).to_bytes(8, "little"), "huge": (2**30).to_bytes(8, "little") + b"{}",
    "deep": (100_000).to_bytes(8, "little") + b"[" * 100_000, "empty": b"", "short": b"\1",
    "a list": b"\2" + bytes(7) + b"[]", "a text": b"\3" + bytes(7) + b'"a"', "cut": b"\3" + bytes(7) + b"{}",
    "a number": b"\7" + bytes(7) + b'{"a":1}',
}  # fmt: skip


@pytest.mark.parametrize("data", HEADERS.values(), ids=HEADERS)
def test_a_header_that_lies_is_none(data, tmp_path):
    path = tmp_path / "embeds" / "ab" / "ab.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with quick(1), path.open("rb") as file, pytest.raises(ValueError):
        tensors.header(file)
    cache = EmbedCache(tmp_path)
    assert not cache.has("ab")
    assert cache.read("ab") is None


def test_offsets_that_lie_are_no_embedding(tmp_path):
    path = tmp_path / "embeds" / "ab" / "ab.safetensors"
    path.parent.mkdir(parents=True)
    for offsets in ("1", "[]", '"ab"', "null", '[0, "a"]', "{}"):
        text = f'{{"a": {{"data_offsets": {offsets}}}}}'.encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text)
        assert not EmbedCache(tmp_path).has("ab")


def test_a_task_is_read_as_strictly(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(to_json(RECEIPT.task) | {"guidance": float("inf")}))
    with pytest.raises(ValueError, match="guidance"):
        files.read(Task, path)
