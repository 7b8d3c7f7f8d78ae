"""verify --reproduce: images rendered again, and how near they come."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.conftest import DEMO, SMALL
from tests.upkeep.run_files import image, receipt, snapshot


def test_reproduced_bit_for_bit_and_the_run_is_not_touched(cli, run):
    before = snapshot(run)
    outcome = cli("verify", run, "--reproduce", "2")
    assert outcome.code == 0, outcome.out
    assert "rendered again: 2 of 2 images bit-identical" in outcome.out
    assert snapshot(run) == before


def replace_image(run, change):
    """Another picture under a receipt that vouches for it."""
    import hashlib

    with Image.open(image(run)) as opened:
        pixels = change(np.asarray(opened).copy())
    Image.fromarray(pixels).save(image(run))
    whole = image(run).read_bytes()
    data = json.loads(receipt(run).read_text())
    data["file"] |= {"bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
    data["machine"]["torch"] = "1.0"
    receipt(run).write_text(json.dumps(data))


def test_near_and_different_pictures_are_told_apart(cli, run):
    def one_level(pixels):
        pixels[:10, :, 0] ^= 1
        return pixels

    replace_image(run, one_level)
    data = cli("verify", run, "--reproduce", "9", "--json").json()
    verdicts = [item["verdict"] for item in data["reproduced"]]
    assert (sorted(verdicts), data["ok"]) == (["identical"] * 3 + ["near"], False)
    near = next(item for item in data["reproduced"] if item["verdict"] == "near")
    assert near["max_difference"] == 1
    assert near["changed_share"] == pytest.approx(10 / 512)
    # One level in one channel of ten rows: 255^2 over 10/512/3.
    assert near["psnr_db"] == pytest.approx(10 * np.log10(255**2 / (10 / 512 / 3)))
    assert "torch 1.0 then" in near["detail"]
    replace_image(run, lambda pixels: 255 - pixels)
    outcome = cli("verify", run, "--reproduce", "9")
    assert outcome.code == 1
    assert "DIFFERENT" in outcome.out
    assert "PSNR" in outcome.out


def test_the_sample_is_drawn_by_its_number(cli, run):
    def drawn(*arguments):
        data = cli("verify", run, "--reproduce", "1", "--json", *arguments).json()
        return [item["task_id"] for item in data["reproduced"]]

    first = drawn()
    assert drawn("--sample", "0") == first
    assert any(drawn("--sample", str(number)) != first for number in range(1, 9))


def test_another_model_is_not_a_reproduction(cli, work, manifest):
    shutil.copytree(DEMO, work / "jobs" / "model")
    (work / "jobs" / "job.yaml").write_text(SMALL.replace("demo", "model").replace("0..1", "0"))
    assert cli("run", "jobs/job.yaml", "--out", "run", "--keep-latents", "--quiet").code == 0
    assert cli("verify", "run", "--reproduce", "1").code == 0  # the folder is found beside the manifest
    config = work / "jobs" / "model" / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text() + "\n")
    for command in (
        ["verify", "run", "--reproduce", "1"],
        ["redecode", "run", "--memory", "vae_tiling(256, 192)"],
    ):
        outcome = cli(*command)
        assert outcome.code == 2
        assert "the model model is not the one" in outcome.err


def test_an_entry_that_was_changed_is_not_a_revision_that_was(cli, work, manifest, monkeypatch):
    own = work / "models.yaml"
    monkeypatch.setenv("RUN_BATCH_MODELS", str(own))
    own.write_text("mine: {like: demo, overrides: {scheduler: {flow_shift: 5.0}}}\n")
    path = manifest("grid: {model: mine, prompt: a fox, steps: 1}\n")
    assert cli("run", path, "--out", "run").code == 0
    for text in ("mine: {like: demo, overrides: {scheduler: {flow_shift: 6.0}}}\n", "mine: {like: demo}\n"):
        own.write_text(text)
        outcome = cli("verify", "run", "--reproduce", "1")
        assert outcome.code == 2
        assert f"its entry in {own} has changed since" in outcome.err
        assert "its revision was" not in outcome.err


@pytest.mark.parametrize("option", [["--sample", "1"], ["--devices", "cpu"]])
def test_options_of_reproduce_need_it(cli, run, option):
    outcome = cli("verify", run, *option)
    assert (outcome.code, "no effect without --reproduce" in outcome.err) == (2, True)
