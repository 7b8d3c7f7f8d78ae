"""What a run folder keeps beside its pictures: read strictly, and with what can be done where it is damaged."""

import json

import pytest

from batch.base.errors import ForeignFolder, UserError
from batch.manifest.schema import Output, RunOptions
from batch.plan.pins import Pins
from batch.records.reading import to_json
from batch.records.receipts import Machine
from batch.store import lock, measured
from batch.store.folder import RunFolder
from batch.store.job import Origin
from tests.small_receipts import a_task


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    made = RunFolder(tmp_path / "run")
    pins = Pins(
        seeds={"a": (1, 2)}, revisions={"m": "c0" * 20}, numerics={"m | float32 | 512x512": {"compile": False}}
    )
    made.begin("job", "render", Origin(text="name: job\n", output=Output(format="webp")), (), pins)
    return made


def change(folder: RunFolder, name: str, **values: object) -> None:
    path = folder.state / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_damaged_numerics_cost_no_seed(folder):
    whole = folder.pins()
    assert whole.numerics == {"m | float32 | 512x512": {"compile": False}}
    for damaged in (None, [], {"m": 3}, {"m": {"batch": "2"}}):
        change(folder, "plan.json", numerics=damaged)
        assert folder.pins() == Pins(seeds=whole.seeds, revisions=whole.revisions)


@pytest.mark.parametrize("revision", ["main", "refs/pr/1", "/models/evil", "../../x", "C0" * 20, "c0" * 20 + "\n"])
def test_what_is_no_commit_is_no_pin(folder, revision):
    change(folder, "plan.json", revisions={"m": revision})
    with pytest.raises(ForeignFolder, match="the revision of m is no commit"):
        folder.pins()


@pytest.mark.parametrize("seeds", [None, {"a": "12"}, {"a": [1.5]}])
def test_damaged_seeds_are_told(folder, seeds):
    change(folder, "plan.json", seeds=seeds)
    with pytest.raises(ForeignFolder, match=r"plan\.json is damaged \(seeds"):
        folder.pins()


def test_sections_of_another_version_are_the_defaults(folder):
    assert folder.origin().output.format == "webp"
    change(folder, "origin.json", output={"keep_latents": "as another version"}, allow_pickle="m")
    expected = Origin(text="name: job\n", output=Output(), run=RunOptions())
    assert folder.origin() == expected
    (folder.state / "origin.json").write_text("[]")
    assert folder.origin() == expected


def test_a_folder_of_another_layout_or_job_is_refused(folder):
    folder.check("job", "render")
    with pytest.raises(ForeignFolder, match="belongs to the render job 'job', not to the measure job 'job'"):
        folder.check("job", "measure")
    change(folder, "format.json", schema=2, more="of it")
    with pytest.raises(ForeignFolder, match=r"layout 2, this one writes 1"):
        folder.check("job", "render")


def test_a_damaged_task_is_told(folder):
    (folder.state / "tasks.jsonl").write_text('{"model": 3}\n')
    with pytest.raises(UserError, match=r"tasks\.jsonl is damaged \(model: .*; run the manifest again"):
        folder.tasks()


def test_a_measurement_is_for_one_card(folder):
    card, limited = Machine(device="a"), Machine(device="a", vram_limit=2**33)
    measured.claim(folder.state, card, "r", empty=lambda: False)
    measured.claim(folder.state, card, "r", empty=lambda: False)
    with pytest.raises(ForeignFolder, match="measured on a, and this is a held to 8 GiB"):
        measured.claim(folder.state, limited, "r", empty=lambda: False)
    measured.claim(folder.state, limited, "r", empty=lambda: True)
    assert json.loads((folder.state / "machine.json").read_text()) == {"device": "a", "vram_limit": 2**33}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"host": 1, "pid": 2, "since": "", "command": ""}'])
def test_a_damaged_lock_names_nobody(folder, text):
    with lock.hold(folder.state):
        assert lock.holder(folder.state)["command"]
        (folder.state / "lock.json").write_text(text)
        assert (lock.holder(folder.state)["pid"], lock.holder(folder.state)["command"]) == (0, "")


@pytest.mark.parametrize(
    "change",
    [{"name": "../../out"}, {"name": "/out"}, {"id": "../../out"}, {"format": "exe"}, {"name": "a/../../b"}],
)
def test_tasks_that_lead_out_of_the_folder_are_damage(tmp_path, change):
    folder = RunFolder(tmp_path / "run")
    folder.state.mkdir(parents=True)
    line = to_json(a_task(1)) | {"name": "a"} | change
    (folder.state / "tasks.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"tasks\.jsonl is damaged"):
        folder.tasks()
