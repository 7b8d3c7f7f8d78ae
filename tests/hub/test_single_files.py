"""Checkpoints in one file: how they are named, what identifies them, and what they lack."""

import json
import os
import shutil
import time

import pytest

from batch.base import checksums
from batch.base.errors import ModelError
from batch.catalogue import layouts
from batch.hub.models import find_model, here, source
from tests.checkpoints import FLUX, REFINER, SD1, SD2, SDXL, write
from tests.helpers import grid, plan

XL = "models/juggernaut.safetensors"


def aged(path, seconds=60):
    """A file that has not been written to for a while: its hash is kept."""
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


@pytest.fixture
def xl(work):
    return aged(write(work / XL, SDXL))


def found(name, work, **more):
    return find_model(name, work, {}, online=False, **more)


def ids(made):
    return [task.id for task in made.tasks]


# Names


@pytest.mark.parametrize("name", [XL, "./models/juggernaut.safetensors", "absolute", "home"])
def test_a_path_names_a_checkpoint(work, xl, monkeypatch, name):
    monkeypatch.setenv("HOME", str(work))
    monkeypatch.setenv("USERPROFILE", str(work))
    name = {"absolute": str(xl), "home": f"~/{XL}"}.get(name, name)
    model = found(name, work)
    assert (model.name, model.pipeline, str(model.native)) == (name, "StableDiffusionXLPipeline", "1024x1024")
    assert model.checkpoint.path == str(xl.absolute())
    made = source(model)
    assert (made.file, made.location) == (str(xl.absolute()), str(layouts.packaged("sdxl")))


def test_a_list_of_checkpoints_is_an_axis(work, manifest, xl):
    write(work / "models/old.safetensors", SD1)
    made = plan(manifest(grid(model=[XL, "models/old.safetensors"], prompt="a fox")))
    assert [(task.model, task.size) for task in made.tasks] == [
        (XL, "1024x1024"),
        ("models/old.safetensors", "512x512"),
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("models/jugernaut.safetensors", "did you mean juggernaut.safetensors?"),
        ("models/juggernaut.ckpt", "did you mean juggernaut.safetensors?"),
        ("nowhere/x.safetensors", "there is no folder"),
        ("models/none.gguf", "there is no file"),
        ("someone/xl/x.safetensors", "x.safetensors of someone/xl is not on this machine"),
        ("models/note.txt", "is no checkpoint"),
        ("~nobody.here/x.safetensors", "there is no folder"),
    ],
)
def test_a_file_that_is_not_there(work, xl, name, said):
    (work / "models/note.txt").write_text("no")
    with pytest.raises(ModelError) as error:
        found(name, work)
    assert said in str(error.value)
    assert "fetch" in str(error.value) or "someone" not in name


def test_what_is_no_checkpoint_stands_with_its_line(work, manifest, cli):
    write(work / "refiner.safetensors", REFINER)
    write(work / "lora.safetensors", {"lora_unet_x.lora_down.weight": (4, 4)})
    whole = write(work / "whole.safetensors", SDXL).read_bytes()
    (work / "cut.safetensors").write_bytes(whole[:-100])
    (work / "page.safetensors").write_bytes(b"<!DOCTYPE html><html>Sign in")
    (work / "empty.safetensors").write_bytes(b"")
    for name in ("old.ckpt", "small.gguf"):
        (work / name).write_bytes(b"x")
    names = ["refiner.safetensors", "lora.safetensors", "cut.safetensors", "page.safetensors",
             "empty.safetensors", "old.ckpt", "small.gguf"]  # fmt: skip
    outcome = cli(
        "plan", manifest("grid:\n  prompt: a\n  model:\n" + "".join(f"    - {name}\n" for name in names))
    )
    assert outcome.code == 2
    lines = [line for line in outcome.err.splitlines() if "job.yaml:" in line]
    said = ["refiner of SDXL", "write it under lora:", "is cut off: it has", "is no safetensors file",
            "is no safetensors file", "is a pickle", "is a GGUF"]  # fmt: skip
    for number, (name, words) in enumerate(zip(names, said, strict=True)):
        assert f"job.yaml:{number + 4}: model: " in lines[number]
        assert name in lines[number]
        assert words in lines[number]


def test_a_plan_says_what_becomes_of_fp8(work):
    write(work / "x.safetensors", SDXL | {"model.diffusion_model.a.scale_weight": (1,)}, "F8_E4M3")
    assert "are scaled fp8 and become float16" in found("x.safetensors", work).notes[0]
    write(work / "y.safetensors", SDXL, "F8_E4M3")
    assert "are fp8 and become float16" in found("y.safetensors", work).notes[0]


@pytest.mark.parametrize(
    "entry",
    [{}, {"shape": 1, "data_offsets": [0, 1]}, {"shape": ["a"], "data_offsets": [0, 1]}, {"shape": [1]},
     {"shape": [1], "data_offsets": [0]}, {"shape": [1], "data_offsets": {"0": 1}}],
)  # fmt: skip
def test_a_header_of_nonsense_is_no_checkpoint(work, entry):
    text = json.dumps({"model.diffusion_model.input_blocks.0.0.weight": {"dtype": "F16", **entry}}).encode()
    for length in (len(text), 2**40):
        (work / "x.safetensors").write_bytes(length.to_bytes(8, "little") + text)
        with pytest.raises(ModelError, match="is no safetensors file"):
            found("x.safetensors", work)


# Identity


def test_the_content_counts_and_neither_name_nor_place(work, manifest, xl):
    first = plan(manifest(grid(model=XL, prompt="a fox")))
    (task,) = first.tasks
    assert task.revision == f"sha256:{checksums.of(xl)}"
    assert first.ids_known
    shutil.move(xl, work / "renamed.safetensors")
    assert ids(plan(manifest(grid(model="renamed.safetensors", prompt="a fox")))) == [task.id]
    both = plan(manifest(grid(model=["renamed.safetensors", "./renamed.safetensors"], prompt="a fox")))
    assert (ids(both), both.duplicates) == ([task.id], 1)
    write(work / "renamed.safetensors", SDXL, seed=1)
    assert ids(plan(manifest(grid(model="renamed.safetensors", prompt="a fox")))) != [task.id]


def test_embeddings_belong_to_the_content_too(work, manifest, xl):
    from batch.plan.texts import encode_tasks

    def keys(name):
        (task,) = plan(manifest(grid(model=name, prompt="a fox"))).tasks
        return {text.key for text in encode_tasks(task, "sdxl", "cpu")}

    before = keys(XL)
    shutil.copy(xl, work / "copy.safetensors")
    assert keys("copy.safetensors") == before
    write(work / "copy.safetensors", SDXL, seed=1)
    assert not keys("copy.safetensors") & before


def test_a_large_file_is_read_once_and_that_is_told(work, xl, own_cache, monkeypatch):
    told = []
    monkeypatch.setattr(checksums, "TOLD_FROM", 1)

    def tell(name, size):
        told.append((name, size))

    first = checksums.of(xl, tell)
    monkeypatch.setattr(checksums, "_read", {})
    assert (checksums.of(xl, tell), checksums.known(xl)) == (first, first)
    assert told == [("juggernaut.safetensors", xl.stat().st_size)]
    aged(write(xl, SDXL, seed=2), 50)
    assert checksums.known(xl) == ""
    assert checksums.of(xl, tell) != first
    for entry in (own_cache / "checksums").glob("*/*"):
        entry.write_bytes(b"\xff damaged")
    monkeypatch.setattr(checksums, "_read", {})
    assert checksums.known(xl) == ""
    assert checksums.of(xl) != first


def test_the_hash_of_a_file_just_written_is_not_kept(work, own_cache):
    path = write(work / "x.safetensors", SD1)
    assert checksums.of(path)
    assert checksums.known(path) == ""


def test_a_file_that_changes_in_between_is_not_loaded(work, xl):
    model = found(XL, work)
    write(xl, SDXL, seed=1)
    with pytest.raises(ModelError, match="has changed since it was looked at"):
        source(model)
    xl.unlink()
    with pytest.raises(ModelError, match="was there a moment ago"):
        source(model)


# Defaults


def test_an_entry_of_ones_own_file(work, xl, monkeypatch, cli):
    path = work / "own" / "models.yaml"
    path.parent.mkdir()
    monkeypatch.setenv("RUN_BATCH_MODELS", str(path))
    path.write_text(
        f"my-jugg: {{file: ../{XL}, like: sdxl, steps: 40}}\n"
        f"odd: {{file: ../{XL}, like: sd-1.5}}\n"
        "gone: {file: gone.safetensors, like: sdxl}\n"
        "other: {like: my-jugg, overrides: {scheduler: {timestep_spacing: trailing}}}\n"
    )
    model = found("my-jugg", work)
    assert (model.steps, model.native, model.own) == (40, found(XL, work).native, True)
    assert model.stamp == found(XL, work).stamp
    assert found("other", work).stamp.startswith(f"{model.stamp}+")
    with pytest.raises(ModelError, match="odd is said to be a StableDiffusionPipeline"):
        found("odd", work)
    with pytest.raises(ModelError, match="there is no file"):
        found("gone", work)
    listed = {item["name"]: item for item in cli("models", "--json").json()}
    assert (listed["my-jugg"]["here"], listed["gone"]["here"]) == (True, False)


def test_a_file_that_predicts_v_says_so(work):
    write(work / "x.safetensors", SDXL | {"v_pred": (1,), "ztsnr": (1,)})
    model = found("x.safetensors", work)
    scheduler = model.overrides["scheduler"]
    assert model.prediction == "v_prediction"
    assert scheduler == {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}


def test_stable_diffusion_2_says_what_it_was_taken_for(work, monkeypatch):
    write(work / "x.safetensors", SD2)
    model = found("x.safetensors", work)
    assert (model.prediction, str(model.native), model.checkpoint.kind) == ("v_prediction", "768x768", "sd2-v")
    assert "taken as v" in model.notes[0]


# What a file lacks


FLUX_DEV = "black-forest-labs/FLUX.1-dev"


def test_what_a_transformer_lacks_is_of_its_repository(work, manifest, cli):
    aged(write(work / "flux.safetensors", FLUX, "BF16"))
    model = found("flux.safetensors", work)
    assert (model.repo, model.revision, model.stamp, model.steps) == (FLUX_DEV, "", "", 28)
    assert here(model) == (False, 0)
    made = cli("plan", manifest(grid(model="flux.safetensors", prompt="a fox")))
    assert made.code == 0, made.err
    digits = model.checkpoint.sha256[:10]
    assert f"Flux.1 dev in one file [{digits}], stored in bfloat16; the rest of {FLUX_DEV}" in made.out
    assert "`fetch` downloads it" in made.out


def test_plan_and_models_show_the_hash_of_other_programs(work, manifest, cli, xl):
    digits = f"[{checksums.of(xl)[:10]}]"
    assert digits in cli("plan", manifest(grid(model=XL, prompt="a fox"))).out
    assert digits in cli("models", XL).out.replace("\n", " ")
    assert cli("models", XL, "--json").json()["revision"] == f"sha256:{checksums.of(xl)}"
