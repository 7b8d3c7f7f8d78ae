"""Records are read as strictly as they are written, and what an earlier version wrote stays what it was."""

import json
from dataclasses import replace

import pytest

from batch.records.reading import from_json, to_json
from batch.records.receipts import Failure, Receipt
from batch.records.spec import ModelSource
from batch.records.tasks import Lora, Task
from batch.records.values import Call
from batch.store.events import LogEntry
from batch.store.folder import RunFolder
from tests.conftest import ROOT

STATES = [ROOT / "tests" / "golden" / name / ".run" for name in ("render", "measure")]


LATER = {"mtime": None, "pixels_sha256": "", "prompt_template": "", "begun": "", "metadata": "full",
    "long_prompts": "", "prompt_syntax": "", "texts": (), "vae": None, "stop": "finish", "order": {},
    "seat": "", "shard": "", "gpu": ""}  # fmt: skip
"""What the earlier version did not know and so left out, with the value that means as before."""


def known_before(data):
    if isinstance(data, list | tuple):
        return [known_before(item) for item in data]
    if not isinstance(data, dict):
        return data
    return {key: known_before(value) for key, value in data.items() if key not in LATER or value != LATER[key]}


def written(data: object, indent: int | None = 1) -> str:
    """As a run folder keeps it, without what the earlier version did not know."""
    return json.dumps(known_before(data), ensure_ascii=False, sort_keys=True, indent=indent)


def same_numbers(text: str) -> str:
    """A whole number of seconds reads as a float: in the golden files an image that encoded no text has 0."""
    return text.replace('"seconds": 0\n', '"seconds": 0.0\n')


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.parent.name)
def test_what_an_earlier_version_wrote_is_written_the_same(state):
    paths = [(Receipt, path) for path in state.glob("receipts/*/*.json")]
    paths += [(Failure, path) for path in state.glob("failures/*.json")]
    assert len(paths) >= 4
    for kind, path in paths:
        text = path.read_text(encoding="utf-8")
        assert written(to_json(from_json(kind, text))) == same_numbers(text), path
    tasks = (state / "tasks.jsonl").read_text(encoding="utf-8").splitlines()
    assert [written(to_json(from_json(Task, line)), None) for line in tasks] == tasks
    log = (state / "events.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [known_before(to_json(from_json(LogEntry, line))) for line in log]
    assert [json.dumps(entry, ensure_ascii=False) for entry in entries] == log


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.parent.name)
def test_a_job_kept_by_an_earlier_version_is_written_the_same(state, tmp_path):
    before, after = RunFolder(state.parent), RunFolder(tmp_path / "run")
    after.begin(before.name(), before.kind(), before.origin(), before.tasks(), before.pins())
    for name in ("format.json", "plan.json", "origin.json"):
        found = json.loads((after.state / name).read_bytes())
        found.pop("id", None)  # drawn for each folder, since later
        assert written(found) == (state / name).read_text(encoding="utf-8"), name
    assert after.tasks() == before.tasks()
    assert (after.root / "manifest.yaml").read_bytes() == (before.root / "manifest.yaml").read_bytes()


@pytest.fixture
def receipt() -> dict:
    return json.loads(next(STATES[0].glob("receipts/*/*.json")).read_bytes())


def test_what_a_newer_version_adds_is_left_out(receipt):
    plain = from_json(Receipt, json.dumps(receipt))
    for part in (receipt, receipt["task"], receipt["file"], receipt["measurement"], receipt["machine"]):
        part["of a newer version"] = {"any": ["thing"]}
    assert from_json(Receipt, json.dumps(receipt)) == plain


def test_values_are_frozen_and_of_their_own_type(receipt):
    steps = [{"name": "some_step", "arguments": [["values", [1, 1.0, True, None, "one", [2]]]]}]
    receipt["task"] |= {"pixel_steps": steps, "scheduler": steps[0], "extra": [["layers", ["a", "b"]]]}
    receipt["task"]["loras"] = [{"path": "a.safetensors", "sha256": "0" * 64}]
    task = from_json(Receipt, json.dumps(receipt)).task
    call = Call(name="some_step", arguments=(("values", (1, 1.0, True, None, "one", (2,))),))
    assert (task.pixel_steps, task.scheduler, task.extra) == ((call,), call, (("layers", ("a", "b")),))
    assert task.loras == (Lora(path="a.safetensors", sha256="0" * 64),)
    kinds = [type(value) for value in dict(task.scheduler.arguments)["values"]]
    assert kinds == [int, float, bool, type(None), str, tuple]
    assert hash(task) == hash(replace(task))


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("attempts",), "1", "attempts: "),
        (("attempts",), True, "attempts: "),
        (("batch",), 1.5, "batch: "),
        (("task", "seed"), "7", "task.seed: "),
        (("task", "prompt"), None, "task.prompt: "),
        (("task", "extra"), {"a": 1}, "task.extra: "),
        (("file", "path"), ["images"], "file.path: "),
        (("measurement", "decode"), [], "measurement.decode: "),
        (("measurement", "decode", "seconds"), "0.1", "measurement.decode.seconds: "),
        (("machine",), "a machine", "machine: "),
        (("scheduler",), [], "scheduler: "),
        (("scheduler",), {"beta_end": [float("nan")]}, "scheduler: a number in it is not finite"),
        (("scheduler",), {"a": {"b": 2**70}}, "scheduler: a number in it has more than 64 bits"),
        (("measurement", "decode", "seconds"), -1e9, "measurement.decode.seconds: "),
        (("machine", "device_memory"), -1, "machine.device_memory: "),
        (("file", "width"), 0, "file.width: "),
        (("task", "height"), -512, "task.height: "),
    ],
)
def test_a_value_of_another_type_is_damage(receipt, where, value, said):
    part = receipt
    for key in where[:-1]:
        part = part[key]
    part[where[-1]] = value
    with pytest.raises(ValueError) as error:
        from_json(Receipt, json.dumps(receipt))
    assert str(error.value).startswith(said)


@pytest.mark.parametrize("key", ["task", "file", "measurement", "machine", "attempts", "started_at"])
def test_a_missing_value_is_damage(receipt, key):
    del receipt[key]
    with pytest.raises(ValueError, match=f"^{key}: "):
        from_json(Receipt, json.dumps(receipt))


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b'{"task": ', b"\xff", b"[" * 100_000])
def test_what_is_no_record_is_damage(text):
    with pytest.raises(ValueError):
        from_json(Receipt, text)


def test_a_source_that_another_process_is_told():
    source = ModelSource(name="a", family="sana", location="x", overrides={"vae": {"tiles": (1, (2, 3))}})
    assert from_json(ModelSource, json.dumps(to_json(source))) == source
