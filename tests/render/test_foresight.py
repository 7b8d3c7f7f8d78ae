"""Predicted memory: against the allocator of real runs, the arithmetic of settings, the process and its cache."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from batch.catalogue import architectures
from batch.manifest.values import Size
from batch.memory import footprint, profiles
from batch.memory.footprint import GIB, Component, PipelineParts, StageWork
from batch.records.spec import ModelSource
from batch.render import foresight
from batch.render.foresight import Foresight
from batch.run import configured, forecast
from batch.run.options import Options
from batch.run.prepare import prepare
from batch.store import predictions
from tests.conftest import DEMO, ROOT
from tests.render.allocations import activations, task


@pytest.fixture(autouse=True)
def predicting(monkeypatch, tmp_path):
    monkeypatch.delenv(forecast.SWITCH)
    monkeypatch.setenv("RUN_BATCH_CACHE", str(tmp_path / "cache"))


def sana(architecture="", **changes):
    random = {"random": True, "architecture": architecture} if architecture else {}
    return ModelSource(name="x", family="sana", location=str(DEMO), **random, **changes)


# Against real runs


EARLIER = ["demo", "sana_sprint", "sdxl", "pixart", "flux", "sd3", "qwen_image", "z_image"]
"""The others are asked in test_newer.py."""

TABLES = {"qwen_image": 2 * 4096 * 8 * 8}
"""Bytes of positions that lie on a card, and on the CPU are there before a model is called."""


@pytest.mark.parametrize("model", EARLIER)
def test_activations_are_those_of_a_real_run(model, tiny, one_thread):
    source = (
        sana()
        if model == "demo"
        else ModelSource(name="x", family=model, location=str(tiny(model.replace("sana_", "sana-"))))
    )
    predicted, real = activations(source, task({"demo": 512, "sana_sprint": 1024}.get(model, 256)))
    predicted["denoise"] -= TABLES.get(model, 0)
    assert predicted == pytest.approx(real, rel=0.05)


# The 4K model


@pytest.fixture(scope="module")
def large():
    """SANA 1.6B at 4K in bfloat16, from its packaged configuration."""
    return Foresight(sana("sana-1.6b-4k"), "bfloat16")


WIDE = (5376, 3072)
big = partial(task, dtype="bfloat16", steps=1)


def test_weights_of_the_4k_model_are_exact(large):
    texts, encode = large.encoding(big(WIDE))
    images, denoise = large.denoising(big(WIDE))
    table = 96 * 168 * 2240 * 4  # positions, in float32
    assert texts["text_encoder"].weights - texts["text_encoder"].buffers == 2_614_341_888 * 2
    assert images["transformer"].weights == 1_604_462_752 * 2 + table
    assert images["transformer"].buffers == table
    assert images["vae"].weights == 312_250_275 * 2
    assert encode.activations < 0.4 * GIB
    # At its peak the feed-forward holds two tensors of 11200 channels and four of 2240, for both halves.
    tokens = 2 * 96 * 168
    assert denoise.activations == pytest.approx(tokens * 2 * (2 * 11_200 + 4 * 2_240), rel=0.03)
    assert denoise.largest == tokens * 2 * 11_200


@pytest.mark.parametrize(
    ("side", "setting", "gib"),
    [
        (1024, "full", 1.63),
        (WIDE, "full", 25.6),
        # Counted with tiles put together as one picture, which ours never are.
        (WIDE, "vae_tiling(512, 448)", 0.51 - 0.092),
        (WIDE, "vae_tiling(1024, 896)", 1.72 - 0.092),
    ],
)
def test_decoding_of_the_4k_model_is_what_was_counted_before(large, side, setting, gib):
    asked = big(side, setting)
    assert large.decoding(asked).activations == pytest.approx(gib * GIB, rel=0.02)


def test_guidance_and_batches_take_as_much_again():
    def activations(batch=1, **changes):
        return predicted.denoising(task(1024, **changes), batch)[1].activations

    predicted = Foresight(sana(), "float32")
    alone = activations(guidance=1.0)
    assert activations() == pytest.approx(2 * alone, rel=0.05)
    assert activations(batch=2) == pytest.approx(4 * alone, rel=0.05)


def test_decoding_on_the_cpu_counts_float32_weights(large):
    asked = big(1024, "vae_cpu")
    assert large.decoding(asked).activations == pytest.approx(312_250_275 * 4 + 2.26 * GIB, rel=0.02)


def test_pag_takes_a_third_image():
    plain = Foresight(sana(), "float32").denoising(task(1024))[1].activations
    with_pag = Foresight(sana(), "float32").denoising(task(1024, extra=(("pag_scale", 2.0),)))[1].activations
    assert with_pag == pytest.approx(1.5 * plain, rel=0.05)


FAMILY = {"pixart": "pixart", "flux": "flux", "sd3": "sd3", "qwen_image": "qwen_image", "z_image": "z_image",
          "sana-sprint": "sana_sprint"}  # fmt: skip


@pytest.mark.parametrize("name", FAMILY)
def test_every_staged_family_is_predicted(name, tiny):
    predicted = Foresight(ModelSource(name="x", family=FAMILY[name], location=str(tiny(name))), "bfloat16")
    asked = task(96, "vae_tiling(64, 64)", steps=1)
    for _, work in (predicted.encoding(asked), predicted.denoising(asked)):
        assert 0 < work.largest <= work.activations
    whole = predicted.decoding(replace(asked, memory_steps=())).activations
    assert 0 < predicted.decoding(asked).activations < whole


# Settings


def component(weights, leaf, buffers=0):
    """Page-locked it takes half a GiB more."""
    return Component(
        weights=weights * GIB, leaf=leaf * GIB, buffers=buffers * GIB, locked=weights * GIB + GIB // 2
    )


PARTS = PipelineParts(
    texts={"text_encoder": component(10, 2), "text_encoder_2": component(1, 1)},
    images={"transformer": component(6, 1, buffers=1), "vae": component(2, 1)},
    encode=StageWork(activations=GIB, largest=0),
    denoise=StageWork(activations=3 * GIB, largest=GIB),
    decode=StageWork(activations=4 * GIB, largest=2 * GIB),
)


@pytest.mark.parametrize(
    ("setting", "encode", "denoise", "decode", "host"),
    [
        ("full", 12, 11, 12, 0),
        ("model_cpu_offload", 12, 9, 6, 8),
        ("text_encoder_offload", 5, 11, 12, 12),
        ("text_encoder_cpu", 0, 11, 12, 12),
        ("group_offload(leaf)", 5, 5, 5, 12),
        ("group_offload(leaf, stream=false)", 3, 4, 5, 11),
        ("sequential_cpu_offload", 3, 5, 6, 11),
        ("vae_cpu", 12, 11, 6, 4),
        ("vae_cpu + model_cpu_offload", 12, 9, 0, 10),
    ],
)
def test_offloading_by_arithmetic(setting, encode, denoise, decode, host):
    found = footprint.of(PARTS, profiles.resolve(setting, Size(512, 512)))
    peaks = {name: peak.allocated / GIB for name, peak in found.stages.items()}
    assert peaks == {"encode": encode, "denoise": denoise, "decode": decode}
    assert found.host == host * GIB


def test_what_is_page_locked_is_rounded_up_to_powers_of_two():
    odd = torch.nn.Linear(3, 5)  # 60 and 20 bytes in float32
    assert foresight._component(odd).locked == 64 + 32
    even = torch.nn.Linear(8, 8, bias=False)
    assert foresight._component(even).locked == even.weight.nbytes == 256


def test_what_a_card_needs_beside_the_tensors():
    found = footprint.of(PARTS, ())
    beside = found.stages["decode"].needed - found.stages["decode"].allocated
    assert beside == round(footprint.CONTEXT + 2 * GIB + footprint.FRAGMENTATION * 12 * GIB)
    assert found.needed == found.stages["decode"].needed
    assert found.fits() == {4: False, 6: False, 8: False, 12: False, 16: True, 24: True}
    assert found.fits(without=("denoise", "decode"))[16]
    assert not found.fits(without=("denoise", "decode"))[12]


# The plan


PLAN = """\
grid:
  model: demo
  prompt: a fox
  size: 512x512
  memory: [auto, "vae_tiling(256, 192)"]
  steps: [1, 2]
"""


def test_a_plan_predicts_once_without_loading_torch(cli, manifest, work, monkeypatch):
    path = manifest(PLAN)
    code = (
        "import sys; from batch.cli.main import main; code = main(['plan', 'job.yaml', '--json']);"
        "sys.exit('torch is loaded' if {'torch', 'diffusers'} & set(sys.modules) else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=work, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)["memory"]
    assert said["left_out"] == 0
    auto, offloading, tiled = said["settings"]
    assert auto["host"] == 0 < offloading["host"]
    assert tiled["stages"]["decode"]["allocated"] < auto["stages"]["decode"]["allocated"]
    assert auto["fits"] == {str(card): True for card in footprint.CARDS}

    monkeypatch.setattr(predictions, "_computed", lambda questions: pytest.fail("computed again"))
    shown = cli("plan", path).out
    rows = [re.split("  +", line.strip()) for line in shown.splitlines() if line.startswith("    demo ")]
    assert [row[2] for row in rows] == ["auto", "auto, offloading", "vae_tiling(256, 192)"]
    assert [len(row) for row in rows] == [8, 8, 8]
    assert all(row[-1] == "4 GB and more" for row in rows)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"work": {}}', '{"work": {"activations": 1, "largest": 1}, "components": {"vae": {}}}'],
)
def test_a_damaged_answer_counts_as_not_there(tmp_path, text):
    whole = {"work": {"activations": 1, "largest": 1}, "components": {}}
    predictions._keep("key", whole)
    assert predictions._kept("key") == whole
    (tmp_path / "cache" / "foresight" / "key.json").write_text(text)
    assert predictions._kept("key") is None


def test_a_process_that_fails_says_why_and_nothing_is_kept(cli, manifest, tmp_path, monkeypatch):
    (tmp_path / "broken" / "torch").mkdir(parents=True)
    (tmp_path / "broken" / "torch" / "__init__.py").write_text("raise ImportError('libcudart is missing')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    outcome = cli("plan", manifest(PLAN))
    assert outcome.code == 0
    assert outcome.out.count("not predicted: its process failed: ImportError: libcudart is missing") == 2
    assert not (tmp_path / "cache" / "foresight").exists()


def test_a_process_that_takes_too_long_is_ended(cli, manifest, monkeypatch):
    monkeypatch.setattr(predictions, "PATIENCE_S", 0.2)
    assert "not predicted: it took longer than 0.2 s" in cli("plan", manifest(PLAN)).out


def test_what_cannot_be_predicted_says_why(cli, manifest, tiny, monkeypatch):
    def computed(questions):
        for question in questions:
            yield {"key": question["key"], "why": "DynamicOutputShapeException: aten.nonzero.default"}

    monkeypatch.setattr(predictions, "_computed", computed)
    monkeypatch.setattr(architectures, "known", dict)
    text = f"grid:\n  model: [demo, {tiny('sd1')}, sdxl]\n  prompt: a fox\n  size: 512x512\n  memory: full\n"
    said = cli("plan", manifest(text), "--json").json()["memory"]["settings"]
    whys = {Path(row["model"]).name: row["why"] for row in said}
    assert "aten.nonzero" in whys["demo"]
    assert whys["sd1"] == "its pipeline is called whole"
    assert "configuration files are not on this machine" in whys["sdxl"]
    assert all(row["stages"] is None and row["fits"] is None for row in said)


def test_a_large_grid_is_predicted_in_part(cli, manifest, monkeypatch):
    monkeypatch.setattr(predictions, "_computed", lambda questions: iter([{"why": "not asked"}]))
    settings = ", ".join(
        f'"vae_tiling({tile}, {tile - 32})"' for tile in range(64, 64 + 32 * (forecast.MOST + 6), 32)
    )
    text = f"grid:\n  model: demo-4k\n  prompt: a fox\n  memory: [{settings}]\n"
    outcome = cli("plan", manifest(text))
    assert "6 further settings left out" in outcome.out
    assert outcome.out.count("not predicted: not asked") == forecast.MOST


def test_the_switch_leaves_the_prediction_out(cli, manifest, monkeypatch):
    monkeypatch.setenv(forecast.SWITCH, "0")
    assert "memory: not predicted: RUN_BATCH_PREDICT is 0" in cli("plan", manifest(PLAN)).out


def test_equal_stages_are_asked_once(manifest):
    """Guidance that acts, seeds, steps and prompts add no question; of tiles only decoding is one."""
    text = PLAN.replace("a fox", "[a fox, a whale]") + "  seed: 0..3\n  guidance: [2, 3, 4.5]\n"
    plan = prepare(manifest(text), Options()).plan
    settings = forecast._settings(plan)
    source = configured.source_of(plan.models["demo"])
    built = configured.built_from(source)
    keys = {question["key"] for item in settings for question in forecast._questions(item, source, built).values()}
    assert (len(plan.tasks), len(settings), len(keys)) == (96, 2, 4)
    plan = replace(plan, tasks=tuple(replace(item, guidance=1.0) for item in plan.tasks))
    unguided = forecast._questions(forecast._settings(plan)[0], source, built)
    assert {stage for stage, question in unguided.items() if question["key"] not in keys} == {"encode", "denoise"}


def test_without_torch_the_plan_says_so(cli, manifest, monkeypatch):
    monkeypatch.setattr(forecast, "find_spec", lambda name: None if name == "torch" else object())
    outcome = cli("plan", manifest(PLAN))
    assert outcome.code == 0
    assert "memory: not predicted: torch is not installed" in outcome.out


def test_a_question_that_fails_spoils_no_other(tmp_path, monkeypatch):
    """And is not kept where it may pass: a file that could not be read."""
    item = forecast._Setting(task=task(), name="full", batch=1, loras=False, random=False)
    asked = forecast._questions(item, sana(), "")
    source = {**asked["denoise"]["source"], "location": str(tmp_path / "gone")}
    broken = {**asked["denoise"], "source": source, "key": "gone"}
    monkeypatch.setattr(predictions, "_computed", foresight.answers)  # without its process
    found = predictions.answers([broken, asked["encode"]])
    assert "FileNotFoundError" in found["gone"]["why"]
    assert found[asked["encode"]["key"]]["components"]["text_encoder"]["weights"] > 0
    assert [path.stem for path in (tmp_path / "cache" / "foresight").iterdir()] == [asked["encode"]["key"]]
