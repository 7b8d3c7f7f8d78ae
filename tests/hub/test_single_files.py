"""Checkpoints in one file: how they are named, what identifies them, and what they lack."""

import json
import os
import shutil
import sys
import time

import pytest
from safetensors import SafetensorError, safe_open

from batch.base import checksums
from batch.base.errors import ModelError
from batch.base.text import gib
from batch.catalogue import layouts, tensors
from batch.hub.autoencoders import find_vae
from batch.hub.files import Looking
from batch.hub.loras import find_lora
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


def found_vae(name, work):
    return find_vae(name, Looking(base=work, revisions={}))


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
        (f"{XL} [396a94815f]", f"name and its hash; write {XL}"),
        ("xl.safetensors [396a94815f]", "write xl.safetensors, with the folder that it lies in"),
        ("juggernaut.safetensors [396a94815f]", f"name and its hash; write {XL}"),
        ("juggernaut.safetensors", f"did you mean {XL}?"),
        ("juggernaut", f"did you mean the file {XL}?"),
        ("models/juggernaut", f"did you mean the file {XL}?"),
        ("models/*.safetensors", f"is a pattern and names no file; name them in a list: [{XL}]"),
        ("models/*.sft", "none fits it"),
        ("models", f"no model_index.json), but checkpoints; name them in a list: [{XL}]"),
        ("models/begun.safetensors", "begun.safetensors.part: its download has not finished"),
        ("models/begun.safetensors.part", "is a download that has not finished"),
        ("someone/xl/x.gguf", "is a GGUF"),
        ("someone/xl/x.ckpt", "is a pickle"),
    ],
)
def test_a_file_that_is_not_there(work, xl, name, said):
    (work / "models/begun.safetensors.part").write_bytes(b"x")
    (work / "models/note.txt").write_text("no")
    with pytest.raises(ModelError) as error:
        found(name, work)
    assert said in str(error.value)
    assert "fetch" in str(error.value) or "is not on this machine" not in said


def test_a_link_that_leads_nowhere(work):
    try:
        (work / "x.safetensors").symlink_to("gone.safetensors")
    except OSError:
        pytest.skip("no links here")
    with pytest.raises(ModelError, match=r"is a link to gone.safetensors, which is not there"):
        found("x.safetensors", work)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("SDXL", "did you mean sdxl?"),
        ("flux", "did you mean flux-1-dev, flux-1-krea-dev"),
        ("FLUX.2", "did you mean flux-2-"),
        ("klein", "did you mean flux-2-klein-4b, "),
        ("flux3", "did you mean flux-3-klein"),
        ("stable-diffusion-xl", "sdxl"),
        ("pony", "or a checkpoint (models/x.safetensors)"),
        ("x", "write a name that `models` lists, a repository of the Hub"),
    ],
)
def test_a_name_that_the_catalogue_has_otherwise(work, name, said):
    with pytest.raises(ModelError) as error:
        found(name, work)
    assert said in str(error.value)


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
    said = ["refiner of SDXL", "write it under lora:", "is cut off: it has", "it is a web page", "it is empty",
            "is a pickle", "is a GGUF"]  # fmt: skip
    for number, (name, words) in enumerate(zip(names, said, strict=True)):
        assert f"job.yaml:{number + 4}: model: " in lines[number]
        assert name in lines[number]
        assert words in lines[number]


BAD_DOWNLOADS = {
    "page": (b"\n<html><body>Sign in", "it is a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "`git lfs pull` in its folder"),
    "error": (b'{"error":"Invalid token"}', 'a site\'s message ({"error":"Invalid token"})'),
    "plain": (b"Entry not found", "a site's message (Entry not found)"),
    "zip": (b"PK\x03\x04\x14\0\0\0\0\0", "a zip or PyTorch's pickle"),
    "pickle": (b"\x80\x02}q\0X\x05\0\0\0state", "it is a pickle under another name"),
    "gguf": (b"GGUF\x03\0\0\0\x01\0", "it is a GGUF under another name"),
    "packed": (b"\x1f\x8b\x08\0\0\0\0\0\0", "an archive under another name"),
    "empty": (b"", "it is empty"),
    "zeros": (bytes(4096), "nothing but zeros"),
    "cut": (b" <\0\0\0\0\0\0" + b'{"a": {"dtype"', "cut off within its header"),
    "noise": (bytes(range(200, 256)) * 8, "it says that its header has"),
}


@pytest.mark.parametrize("what", BAD_DOWNLOADS)
def test_a_bad_download_is_told_by_how_it_begins(work, what):
    data, said = BAD_DOWNLOADS[what]
    (work / "x.safetensors").write_bytes(data)
    looking = Looking(base=work, revisions={})
    for find in (
        lambda name: found(name, work),
        lambda name: find_vae(name, looking),
        lambda name: find_lora(name, work, {}, None),
    ):
        with pytest.raises(ModelError, match="is no safetensors file: ") as error:
            find("x.safetensors")
        assert said in str(error.value)


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


NAME = "model.diffusion_model.input_blocks.0.0.weight"
AFTER = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"


def changed(path, change):
    """The file with another header; its tensors stay where they are."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[start:])


def moved(by):
    return lambda header: header[AFTER].update(
        data_offsets=[number + by for number in header[AFTER]["data_offsets"]]
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (moved(2), "leaves a hole before"),
        (moved(-2), "lays one tensor over"),
        (lambda header: header[NAME].update(shape=[320, 4, 3, 4]), "which is not [320, 4, 3, 4] of F16"),
        (lambda header: header[NAME].update(shape=[320, 4, -3, -3]), "does not say what"),
        (lambda header: header[NAME].update(dtype="F17"), "does not say what"),
        (lambda header: header[NAME].update(dtype=["F16"]), "does not say what"),
        (lambda header: header[NAME].update(data_offsets=[0.0, 23040]), "does not say what"),
        (
            lambda header: header.update(z={"dtype": "F16", "shape": [0, 2**70], "data_offsets": [0, 0]}),
            "does not say what",
        ),
        (lambda header: header.update(__metadata__={"format": 1}), "notes in its header are no texts"),
        (lambda header: header.update(__metadata__=["pt"]), "notes in its header are no texts"),
        (lambda header: header.pop(AFTER), "leaves a hole before"),
    ],
)
def test_a_header_that_no_library_takes_is_refused(work, change, said):
    path = write(work / "x.safetensors", SD1)
    changed(path, change)
    with pytest.raises(SafetensorError):
        safe_open(path, "np").__enter__()
    for find in (found, found_vae):
        with pytest.raises(ModelError, match=r"x\.safetensors is no safetensors file: ") as error:
            find("x.safetensors", work)
        assert said in str(error.value)


def test_a_header_without_notes_may_say_so(work):
    path = write(work / "x.safetensors", SD1)
    changed(path, lambda header: header.update(__metadata__=None))
    with safe_open(path, "np") as file:
        assert file.metadata() is None
    assert found("x.safetensors", work).checkpoint.kind == "sd1"


def test_a_file_that_is_too_long_is_refused(work):
    path = write(work / "x.safetensors", SD1)
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(SafetensorError):
        safe_open(path, "np").__enter__()
    for find in (found, found_vae):
        with pytest.raises(ModelError, match=r"is longer than its header says: it has .*download it once more"):
            find("x.safetensors", work)


@pytest.mark.parametrize("dtype", tensors.BITS)
def test_a_dtype_of_the_format_has_its_bits(tmp_path, dtype):
    length = tensors.BITS[dtype]
    header = {"a": {"dtype": dtype, "shape": [8], "data_offsets": [0, length]}}
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(length))
    with safe_open(path, "np") as file:
        assert list(file.keys()) == ["a"]
    assert tensors.size(header) == length


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

    first = checksums.of(xl, told.append)
    monkeypatch.setattr(checksums, "_read", {})
    assert (checksums.of(xl, told.append), checksums.known(xl)) == (first, first)
    (text,) = told
    assert text == f"reading juggernaut.safetensors ({gib(xl.stat().st_size)}) to know it by its content, once"
    aged(write(xl, SDXL, seed=2), 50)
    assert checksums.known(xl) == ""
    assert checksums.of(xl, told.append) != first
    for entry in (own_cache / "checksums").glob("*/*"):
        entry.write_bytes(b"\xff damaged")
    monkeypatch.setattr(checksums, "_read", {})
    assert checksums.known(xl) == ""
    assert checksums.of(xl) != first


@pytest.mark.skipif(sys.platform == "win32", reason="its files tell when they were made, not when changed")
def test_a_change_is_noticed_where_its_time_was_set_back(xl):
    first, then = checksums.of(xl), xl.stat()
    assert checksums.known(xl) == first
    with xl.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    os.utime(xl, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert (xl.stat().st_mtime_ns, xl.stat().st_ino) == (then.st_mtime_ns, then.st_ino)
    assert checksums.known(xl) == ""
    assert checksums.of(xl) != first


def test_a_link_is_believed_in_the_cache_of_the_hub_only(work, xl):
    name, first = "0" * 64, checksums.of(xl)
    link = work / "link.safetensors"
    for folder in ("models--a--b/blobs", "blobs", "models--a--b/other"):
        (work / folder).mkdir(parents=True)
        shutil.copy(xl, work / folder / name)
        link.unlink(missing_ok=True)
        link.symlink_to(work / folder / name)
        assert checksums.of(link) == (name if folder == "models--a--b/blobs" else first)


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
