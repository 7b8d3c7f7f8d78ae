"""Texts in portions: what is encoded before which image, and for which images nothing is."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from batch.base import hardware
from batch.manifest.values import Size
from batch.memory.profiles import resolve
from batch.plan.known import Known
from batch.plan.rates import learn
from batch.records.events import Encoded, Loading
from batch.records.kinds import Status
from batch.records.receipts import Outcome
from batch.records.spec import ModelSource, Numerics, RunSpec
from batch.records.tasks import Task
from batch.run import encoders
from batch.run.limits import Gate, Limits
from batch.run.portions import FIRST, Portions
from batch.store.folder import RunFolder
from tests.conftest import ROOT
from tests.helpers import GIB, fake_run
from tests.render.parts import source
from tests.small_receipts import TASKS, a_receipt

DEMO = ROOT / "tests" / "models" / "demo"


class Told:
    """Texts of each portion and images, in order."""

    def __init__(self):
        self.events = []

    def on(self, event):
        if isinstance(event, Loading):
            self.events.append(f"{event.texts} texts")
        elif isinstance(event, Encoded) and event.text == event.texts:
            self.events.append("encoded")
        elif isinstance(event, Outcome):
            self.events.append(f"image {event.receipt.task.prompt}" if event.receipt else "failed")


def images(count, **changes):
    given = {
        "model": "demo", "dtype": "float32", "seed": 0, "width": 512, "height": 512, "rendered_width": 512,
        "rendered_height": 512, "steps": 1, "guidance": 1.0,
    }  # fmt: skip
    return [Task(id=f"{number}", prompt=f"text {number}", **{**given, **changes}) for number in range(count)]


def portions(work, *, keeps=True, ahead=lambda tasks: tasks, batch=1):
    demo = ModelSource(name="demo", family="sana", location=str(DEMO), keeps_encoders=keeps)
    numerics = {"demo | float32 | 512x512": Numerics(batch=batch)}
    spec = RunSpec(
        root="", runner="", cache=str(work / "c"), device="cpu", models={"demo": demo}, numerics=numerics
    )
    return Portions(spec, Told(), ahead)


def walk(made, tasks):
    """How many texts are encoded before each image."""
    return [len(made(tasks[number:])) for number in range(len(tasks))]


def test_portions_grow_and_ask_for_each_text_once(work):
    tasks = images(20)
    assert walk(portions(work), tasks) == [FIRST, 0, 0, 0, 8, *[0] * 7, 8, *[0] * 7]
    seeds = [replace(task, prompt=f"text {number // 4}") for number, task in enumerate(tasks)]
    assert walk(portions(work), seeds) == [1, 0, 0, 0, 2, *[0] * 7, 2, *[0] * 7]


def test_without_room_all_texts_of_a_model_come_at_once(work):
    assert walk(portions(work, keeps=False), images(20)) == [20, *[0] * 19]


@pytest.mark.parametrize("keeps", [True, False])
def test_no_text_is_encoded_for_images_beyond_a_limit(work, keeps):
    left = iter([3, 0, 0])
    made = portions(work, keeps=keeps, ahead=lambda tasks: list(tasks)[: next(left)])
    assert [len(made(images(20)[number:])) for number in (0, 3)] == [3, 0]


def test_a_call_of_the_model_is_never_torn_apart(work):
    made, tasks = portions(work, batch=6), images(20)
    assert [len(made(tasks[number:])) for number in (0, 6, 12, 18)] == [6, 8, 6, 0]


def test_a_portion_tells_of_itself_and_of_its_texts(work):
    made = portions(work)
    for text in made(images(2)):
        assert made.encoded(Outcome(key=text.key, status=Status.DONE))
    assert not made.encoded(Outcome(key="an image", status=Status.DONE))
    assert made._listener.events == ["2 texts", "encoded"]


JOB = """\
name: night
grid: {model: demo-1k, prompt: [PROMPTS], seed: 0..1, steps: 1, guidance: 1, size: 1344x768}
run: {min_free_disk: 1MB}
"""


@pytest.mark.parametrize("engine", ["local", "process"])
def test_images_come_between_the_portions_of_a_run(manifest, work, engine):
    told, job = Told(), JOB.replace("PROMPTS", ", ".join(f"{engine} {number}" for number in range(8)))
    result = fake_run(manifest(job), seen=told, out=Path("run"), engine=engine, devices="cpu")
    assert (result.rendered, result.failed) == (16, 0)
    assert [event for event in told.events if "text" in event] == ["4 texts", "4 texts"]
    assert told.events[:2] == ["4 texts", "encoded"]
    again = told.events.index("4 texts", 1)
    assert "image" in told.events[again - 1]
    told = Told()
    assert fake_run(manifest(job), seen=told, out=Path("again"), engine=engine, devices="cpu").rendered == 16
    assert [event for event in told.events if "text" in event] == ["0 texts"]


@pytest.mark.parametrize(("more", "engine"), [("", "local"), ("recycle_after: 50, ", "process")])
def test_max_images_bounds_what_is_encoded_exactly(manifest, work, more, engine):
    prompts = ", ".join(f"bound{len(more)} {number}" for number in range(30))
    job = JOB.replace("PROMPTS", prompts).replace("0..1", "1").replace("{min_free", f"{{{more}min_free")
    told, limits = Told(), Limits(max_images=3)
    result = fake_run(manifest(job), seen=told, out=Path("run"), engine=engine, devices="cpu", limits=limits)
    assert result.rendered == 3
    assert [event for event in told.events if "text" in event] == ["3 texts"]


def apart(monkeypatch, tasks, *, device="cpu", free=64, card=None, found=None, **more):
    monkeypatch.setattr(encoders.psutil, "virtual_memory", lambda: SimpleNamespace(available=free * GIB))
    monkeypatch.setattr(
        hardware, "look", lambda _: hardware.Hardware(card=card is not None, memory=card and card * GIB)
    )
    return encoders.apart(found or source("random:sana-1.6b-1k"), tasks, device, **more)


def test_encoders_stay_where_both_halves_have_room(monkeypatch):
    tasks = images(2, dtype="bfloat16")
    assert apart(monkeypatch, tasks) == ""
    assert "in host memory" in apart(monkeypatch, tasks, free=4)
    assert apart(monkeypatch, tasks, device="cuda:0", card=24) == ""
    assert "of the card" in apart(monkeypatch, tasks, device="cuda:0", card=8)
    assert "of the card" in apart(monkeypatch, tasks, device="cuda:0", card=24, limit=8 * GIB)
    assert "in host memory" in apart(monkeypatch, tasks, device="cuda:0", card=24, free=4)
    assert "recycle_after" in apart(monkeypatch, tasks, recycled=True)
    small = replace(tasks[0], memory_steps=resolve("model-offload", Size(512, 512)))
    assert "model_cpu_offload" in apart(monkeypatch, [small], device="cuda:0", card=24)
    assert apart(monkeypatch, [small]) == ""
    assert "several ways" in apart(monkeypatch, [*tasks, replace(small, dtype="float32")])


def test_the_sizes_of_halves_are_read_from_their_files(monkeypatch):
    found = source("demo")
    size = encoders.sizes(found, encoders._index(found), "float32")
    half = encoders.sizes(found, encoders._index(found), "bfloat16")
    assert 30_000 < size.texts < (DEMO / "text_encoder" / "model.safetensors").stat().st_size
    assert (size.texts, size.images) == (2 * half.texts, 2 * half.images)
    assert apart(monkeypatch, images(1), found=found) == ""


def test_plan_says_how_texts_are_encoded(cli, manifest, own_cache):
    path = manifest(JOB.replace("PROMPTS", "a, b"))
    assert "texts: 2 to encode\n" in cli("plan", path).out
    kept = cli("plan", path, "--engine", "process", "--set", "run.recycle_after=5").out
    assert "texts of demo-1k all at once: a fresh process after so many images" in kept
    assert cli("plan", path, "--json").json()["texts"] == {"texts": 2, "to_encode": 2, "at_once": {}}
    assert cli("run", path, "--max-images", "1", "--quiet").code == 75
    assert "texts: 1 to encode, 1 are cached\n" in cli("plan", path).out


def test_the_gate_tells_what_limits_would_let_start(work):
    gate = Gate(Limits(max_images=3), RunFolder(work / "run"), TASKS, min_free_disk=0)
    assert list(gate.ahead(TASKS)) == TASKS[:3]
    gate.admit(TASKS[0])
    assert list(gate.ahead(TASKS[:1])) == TASKS[:1]  # its worker has died: it counts once
    assert list(gate.ahead(TASKS[1:])) == TASKS[1:3]
    known = learn([a_receipt(TASKS[0], 100.0)])
    gate = Gate(
        Limits(max_hours=350 / 3600),
        RunFolder(work / "run"),
        TASKS,
        min_free_disk=0,
        known=Known(mine=known),
        clock=lambda: 0.0,
    )
    assert list(gate.ahead(TASKS)) == TASKS[:3]
    gate = Gate(Limits(max_hours=350 / 3600), RunFolder(work / "run"), TASKS, min_free_disk=0)
    assert list(gate.ahead(TASKS)) == TASKS  # nothing is known of what they take
