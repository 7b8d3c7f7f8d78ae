"""Batches and compiled models: chosen, pinned, rendered, and taken back where they fail."""

import json
from dataclasses import replace

import numpy as np
import pytest

from batch.base import hardware
from batch.catalogue.models import known_models
from batch.engines import batches
from batch.plan import alike, batching
from batch.plan.batching import Surroundings, choose
from batch.records.spec import Numerics, RunSpec
from batch.records.tasks import Task
from batch.report import table
from batch.store.folder import RunFolder
from tests import tiny_models
from tests.fake_session import Fault
from tests.helpers import GIB, Seen, fake_run, picture, receipts_of

TASK = Task(
    model="sana-1.6b-1k", dtype="bfloat16", prompt="a fox", seed=1, width=1024, height=1024, rendered_width=1024,
    rendered_height=1024, steps=20, guidance=4.5,
)  # fmt: skip


def sized(side):
    return replace(TASK, width=side, height=side, rendered_width=side, rendered_height=side)


def chosen(task, images=1, pins=None, **around):
    found = choose([task] * images, known_models(), Surroundings(**around), pins or {})
    return found[alike.size_name(task)]


@pytest.mark.parametrize(
    ("side", "around", "batch"),
    [
        (512, {"card": True}, 8),
        (1024, {"card": True}, 4),
        (2048, {"card": True}, 1),
        (1024, {"card": False}, 1),
        (1024, {"card": True, "memory": 24 * GIB}, 4),
        (1024, {"card": True, "memory": 5 * GIB}, 2),
        (1024, {"card": True, "memory": 2 * GIB}, 1),
        (2048, {"card": True, "batch": 3}, 3),
    ],
)
def test_batches_are_for_small_sizes_on_a_card_that_holds_them(side, around, batch):
    found = chosen(sized(side), **{"batch": "auto", **around})
    assert found.numerics.batch == batch
    assert found.why_batch


def test_a_pipeline_that_is_called_whole_renders_one_by_one(cli, manifest, tmp_path):
    tiny_models.build("sd1", tmp_path / "whole")
    path = manifest(
        f"grid: {{model: {json.dumps(str(tmp_path / 'whole'))}, prompt: a, size: 64x64}}\nrun: {{batch: 4}}\n"
    )
    plan = cli("plan", path)
    assert "called whole" in plan.out
    assert f"run.batch has no effect on {tmp_path / 'whole'}: its pipeline is called whole" in plan.err


def test_a_family_that_renders_one_by_one_says_why(cli, manifest):
    path = manifest("grid: {model: random:prx-1024, prompt: a}\nrun: {batch: 4}\n")
    why = "its call has room for the timesteps of one image"
    assert f"run.batch has no effect on random:prx-1024: {why}" in cli("plan", path).err


@pytest.mark.parametrize(
    ("images", "around", "compiled", "why"),
    [
        (1, {}, False, "too little"),
        (5000, {}, True, "pay for it"),
        (5000, {"card": False}, False, "without a card"),
        (5000, {"no_compiler": "Triton is not installed"}, False, "Triton"),
        (5000, {"compile": "off"}, False, "as the manifest says"),
        (1, {"compile": "on"}, True, "as the manifest says"),
        # A card that is ten times as slow has as much to gain from a tenth of the images.
        (500, {"rate": lambda _task: batching.FAST_CARD_S * 10}, True, "pay for it"),
    ],
)
def test_compiling_must_pay(images, around, compiled, why):
    found = chosen(TASK, images, **{"card": True, **around})
    assert found.numerics.compile is compiled
    assert why in found.why_compile


@pytest.mark.parametrize(
    ("family", "pipeline"),
    [("qwen_image", "QwenImagePipeline"), ("z_image", "ZImagePipeline"), ("generic", "QwenImagePipeline")],
)
def test_texts_of_many_lengths_are_compiled_on_demand_only(family, pipeline):
    models = {TASK.model: replace(known_models()[TASK.model], family=family, pipeline=pipeline)}
    for wish in ("auto", "on"):
        around = Surroundings(card=True, compile=wish)
        found = choose([TASK] * 5000, models, around, {})[alike.size_name(TASK)]
        assert found.numerics.compile is (wish == "on")
        assert ("many lengths" in found.why_compile) is (wish == "auto")


def test_layers_that_are_moved_one_by_one_are_not_compiled():
    from batch.records.values import Call

    task = replace(TASK, memory_steps=(Call(name="sequential_cpu_offload"),))
    assert not chosen(task, 5000, card=True).numerics.compile
    assert not chosen(task, 5000, card=True, compile="on").numerics.compile


def test_what_is_pinned_stays():
    pins = {alike.size_name(TASK): {"batch": 2, "compile": True}}
    found = chosen(TASK, 1, pins, card=False, batch="auto")
    assert found.numerics == Numerics(batch=2, compile=True)
    assert "as this run began" in found.why_batch
    found = chosen(TASK, 1, pins, card=False, batch=1, compile="off")
    assert found.numerics == Numerics()


def test_only_what_was_left_to_auto_is_pinned():
    assert chosen(TASK, card=True, batch=64, compile="auto").pins == {"compile": False}
    assert chosen(TASK, card=True, batch="auto", compile="on").pins == {"batch": 4}
    assert chosen(TASK, card=True, batch=2, compile="off").pins == {}


def test_a_number_that_was_tried_does_not_stay_under_auto(cli, manifest):
    path = manifest(
        "grid: {model: demo, prompt: [a, b], steps: 1, size: 512x512}\nrun: {batch: 64, min_free_disk: 1MB}\n"
    )
    assert cli("run", path, "--out", "out", "--max-images", "1").code == 75
    assert "batch 1 (without a card" in cli("plan", path, "--out", "out", "--set", "run.batch=auto").out


def test_a_run_goes_on_as_it_began_on_another_machine(cli, manifest, monkeypatch):
    path = manifest(
        "grid: {model: demo, prompt: [a, b, c], seed: 0..1, steps: 1, size: 512x512}\n"
        "run: {batch: auto, min_free_disk: 1MB}\n"
    )
    monkeypatch.setattr(hardware, "look", lambda _devices: hardware.Hardware(card=True, memory=24 * GIB))
    assert "batch 8 (small images" in cli("plan", path, "--out", "out").out
    assert cli("run", path, "--out", "out", "--max-images", "3", "--devices", "cpu").code == 75
    monkeypatch.setattr(hardware, "look", lambda _devices: hardware.Hardware(card=False))
    assert "batch 8 (as this run began)" in cli("plan", path, "--out", "out").out
    assert cli("run", path, "--out", "out", "--devices", "cpu").code == 0
    rows = table.read(RunFolder(path.parent / "out").root / "results.csv")
    assert sorted(rows["batch"]) == [3] * 6  # three were allowed, three were left


def test_only_what_differs_in_texts_and_seed_goes_together():
    spec = RunSpec(
        root="",
        device="cpu",
        cache="",
        models={},
        runner="me",
        numerics={alike.size_name(TASK): Numerics(batch=4)},
    )
    others = [replace(TASK, id=str(index), seed=index, prompt=str(index)) for index in range(6)]
    assert batches.alike(TASK, others, spec) == others[:3]
    assert batches.alike(TASK, [others[0], replace(others[1], steps=3), others[2]], spec) == others[:1]
    assert batches.alike(TASK, others, replace(spec, latents={"x": "y"})) == []
    assert batches.alike(replace(TASK, dtype="float32"), others, spec) == []


# Rendered

TINY = {
    "sdxl": "64x64", "pixart": "256x256", "flux": "64x64", "sd3": "64x64", "qwen_image": "64x64",
    "z_image": "64x64",
}  # fmt: skip


@pytest.mark.parametrize("family", ["sana", *TINY])
def test_images_of_a_batch_are_those_rendered_alone(family, cli, manifest, tiny):
    model, size = ("demo", "512x512") if family == "sana" else (str(tiny(family)), TINY[family])
    text = (
        f"grid: {{model: {json.dumps(model)}, prompt: [a fox, a whale 7], negative_prompt: blue, seed: 0..1, "
        f"steps: 2, dtype: float32, size: {size}}}\nrun: {{min_free_disk: 1MB, compile: off}}\n"
    )
    if family == "flux":
        text = text.replace("negative_prompt: blue, ", "")
    path = manifest(text)
    assert cli("run", path, "--out", "alone").code == 0
    assert cli("run", path, "--out", "batch", "--set", "run.batch=3").code == 0
    alone, batch = (RunFolder(path.parent / name).scan().receipts for name in ("alone", "batch"))
    assert alone.keys() == batch.keys()
    assert sorted(item.batch for item in batch.values()) == [1, 3, 3, 3]
    for key, receipt in alone.items():
        before, now = (picture(path.parent / name, receipt).astype(int) for name in ("alone", "batch"))
        assert np.abs(before - now).max() <= 1, key
    pictures = {picture(path.parent / "batch", i).tobytes() for i in batch.values()}
    assert len(pictures) == 4


def test_a_batch_is_measured_by_its_share(cli, manifest):
    path = manifest(
        "grid: {model: demo, prompt: [a, b], steps: 2, size: 512x512}\nrun: {batch: 2, min_free_disk: 1MB}\n"
    )
    assert cli("run", path, "--out", "out").code == 0
    first, second = receipts_of(path.parent / "out")
    assert first.measurement.denoise == second.measurement.denoise
    assert first.measurement.decode != second.measurement.decode
    assert {first.measurement.load_s is None, second.measurement.load_s is None} == {True, False}
    assert first.measurement.warmup
    assert second.measurement.warmup


def test_verify_says_that_an_image_came_from_a_batch(cli, manifest):
    path = manifest(
        "grid: {model: demo, prompt: [a, b, c], steps: 2, size: 512x512}\nrun: {batch: 3, min_free_disk: 1MB}\n"
    )
    assert cli("run", path, "--out", "out").code == 0
    found = cli("verify", "out", "--reproduce", "3", "--json")
    assert found.code == 0
    assert all(item["verdict"] in ("identical", "near") for item in found.json()["reproduced"])


JOB = """\
grid: {model: demo, prompt: [a, b], seed: 0..2, steps: 1, size: 512x512}
run: {min_free_disk: 1MB, batch: 4}
"""


@pytest.fixture
def night(manifest, tmp_path):
    (tmp_path / "memo").mkdir()

    def run(*faults, text=JOB, engine="local", **options):
        seen = Seen()
        result = fake_run(manifest(text), *faults, seen=seen, out=tmp_path / "out", engine=engine, **options)
        return result, seen.happenings, receipts_of(result.folder)

    return run


def test_a_batch_that_does_not_fit_is_rendered_one_by_one(night, tmp_path):
    result, told, receipts = night(Fault("oom-torch", unless="alone"))
    assert (result.rendered, result.failed) == (6, 0)
    assert [item.kind for item in told] == ["batch-failed"]
    assert "from now on" in told[0].text
    assert {(item.batch, item.degraded_from) for item in receipts} == {(1, "")}
    assert "alone" in (tmp_path / "out" / ".run" / "rungs.json").read_text()


def test_one_bad_picture_in_a_batch_fails_alone(night):
    result, told, receipts = night(Fault("nan", seed=1, prompt="b"))
    assert (result.rendered, result.failed) == (5, 1)
    assert [item.kind for item in told] == ["batch-failed", "invalid"]
    assert sorted(item.batch for item in receipts) == [1, 1, 1, 2, 2]


def test_an_image_of_a_batch_that_cannot_be_decoded_fails_alone(night):
    result, _, receipts = night(Fault("error", stage="decode", seed=1, prompt="b"))
    assert (result.rendered, result.failed) == (5, 1)
    assert sorted(item.batch for item in receipts) == [2, 2, 4, 4, 4]


def test_an_image_without_embeddings_lends_no_other_its_name(night, monkeypatch):
    from batch.store.embeds import EmbedCache

    read, lost = EmbedCache.read, []

    def forgetful(self, key):
        lost.append(key) if not lost else None
        return None if key == lost[0] else read(self, key)

    monkeypatch.setattr(EmbedCache, "read", forgetful)
    text = "grid: {model: demo, prompt: [a, b], steps: 1, size: 512x512}\nrun: {min_free_disk: 1MB, batch: 2}\n"
    _, _, receipts = night(text=text)
    assert {item.task.prompt for item in receipts} == {"b"}


def test_a_worker_that_dies_in_a_batch_renders_its_images_alone(night, tmp_path):
    fault = Fault("exit", seed=1, prompt="b", times=1, memo=str(tmp_path / "memo"))
    result, told, receipts = night(fault, engine="process")
    assert (result.rendered, result.failed) == (6, 0)
    assert [item.kind for item in told] == ["worker-died"]
    assert sorted(item.batch for item in receipts) == [1, 1, 1, 1, 2, 2]


def test_a_limit_counts_every_image_of_a_batch(night):
    from batch.run.limits import Limits

    result, _, receipts = night(engine="process", limits=Limits(max_images=5))
    assert result.rendered == 5
    assert sorted(item.batch for item in receipts) == [1, 4, 4, 4, 4]


def test_a_model_that_cannot_be_compiled_is_rendered_as_it_is(night):
    text = JOB.replace("batch: 4", "compile: on")
    result, told, receipts = night(Fault("error", unless="uncompiled"), text=text)
    assert (result.rendered, result.failed) == (6, 0)
    assert [item.kind for item in told] == ["not-compiled"]
    assert {item.compile for item in receipts} == {False}


def test_receipts_say_that_the_model_was_compiled(night):
    _, _, receipts = night(text=JOB.replace("batch: 4", "compile: on"))
    assert {item.compile for item in receipts} == {True}


@pytest.mark.slow
@pytest.mark.skipif(
    not hardware.look(None).card and not __import__("shutil").which("g++"), reason="no C++ compiler"
)
def test_compiled_blocks_render_the_same_picture(cli, manifest, monkeypatch, tmp_path):
    # In a process of its own: in this one torch has chosen another folder long ago.
    monkeypatch.setenv("RUN_BATCH_ENGINE", "process")
    monkeypatch.setenv("RUN_BATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    path = manifest(
        "grid: {model: demo, prompt: a fox, seed: 0..4, steps: 2, size: 512x512, guidance: 1}\n"
        "run: {min_free_disk: 1MB, compile: off}\n"
    )
    assert cli("run", path, "--out", "plain").code == 0
    assert cli("run", path, "--out", "fast", "--set", "run.compile=on", "--set", "run.batch=2").code == 0
    plain, fast = (RunFolder(path.parent / name).scan().receipts for name in ("plain", "fast"))
    assert {item.compile for item in fast.values()} == {True}
    for receipt in plain.values():
        before, now = (picture(path.parent / name, receipt).astype(int) for name in ("plain", "fast"))
        assert np.abs(before - now).max() <= 1
    assert any((tmp_path / "cache" / "compiled").iterdir())
    rows = table.read(path.parent / "fast" / "results.csv")
    assert set(rows["compile"]) == {"on"}
    # Whatever is compiled warms up, here a smaller last batch too.
    rows = rows.sort_values("seed")
    assert list(rows["batch"]) == [2, 2, 2, 2, 1]
    assert list(rows["warmup"]) == [True, True, False, False, True]


def test_blocks_of_every_family_are_found(tiny):
    from diffusers import DiffusionPipeline

    from batch.render import compiling

    for name in TINY:
        pipe = DiffusionPipeline.from_pretrained(tiny(name))
        assert list(compiling._blocks(pipe)), name


def test_a_compile_cache_that_cannot_be_written_ends_no_run(cli, manifest, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file" / "inside"))
    monkeypatch.setenv("RUN_BATCH_ENGINE", "process")
    path = manifest("grid: {model: demo, prompt: a, steps: 1, size: 512x512}\nrun: {min_free_disk: 1MB}\n")
    assert cli("run", path, "--out", "out").code == 0


def test_damaged_decisions_are_made_anew(cli, manifest):
    path = manifest("grid: {model: demo, prompt: a, steps: 1, size: 512x512}\nrun: {min_free_disk: 1MB}\n")
    assert cli("run", path, "--out", "out").code == 0
    plan = path.parent / "out" / ".run" / "plan.json"
    plan.write_text(json.dumps({**json.loads(plan.read_text()), "numerics": []}))
    again = cli("run", path, "--out", "out")
    assert again.code == 0
    assert "0 images rendered" in again.out


def test_what_an_error_announces_is_told():
    from batch.render.failures import first_line

    assert (
        first_line(RuntimeError("backend raised:\n\nNo compiler found\nmore"))
        == "backend raised: No compiler found"
    )
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"
