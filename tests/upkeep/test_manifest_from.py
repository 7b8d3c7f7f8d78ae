"""Pictures and run folders back to a manifest."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from batch.report import table
from batch.store.folder import RunFolder
from batch.store.images.reading import read_pixels
from tests.helpers import receipts_of


def pixels(folder):
    found = {}
    for receipt in receipts_of(folder):
        task = receipt.task
        key = (task.prompt, task.seed, task.size, task.steps, task.guidance, str(task.scheduler))
        found[key] = read_pixels(folder / receipt.file.path)
    return found


RICH = """\
grid:
  model: demo
  prompt: ["1984, a \\"quoted\\" fox: no # comment\\nsecond line", "{a|b} whale"]
  negative_prompt: [fog]
  seed: 18446744073709551615
  size: [512x512, 300x200]
  steps: 2
  guidance: 3.5
  scheduler: dpm++(flow_shift=6, use_karras_sigmas=false)
  memory: vae_tiling(256, 192)
  extra.eta: 0.0
  extra.complex_human_instruction: [["Be brief:", "Prompt: "]]
resize: true
output: {format: %s}
"""


@pytest.mark.parametrize("kind", ["png", "webp-lossless", "jxl", "tiff"])
def test_an_image_of_ours_renders_the_same_pixels_again(cli, manifest, work, kind):
    outcome = cli("run", manifest(RICH % kind), "--out", "first", "--quiet")
    assert outcome.code == 0, outcome.err
    files = sorted((work / "first" / "images").iterdir())
    assert len(files) == 4
    outcome = cli("manifest", "from", *files, "-o", "again.yaml")
    assert outcome.code == 0, outcome.err
    outcome = cli("run", "again.yaml", "--out", "again", "--quiet")
    assert outcome.code == 0, outcome.err
    first, again = pixels(work / "first"), pixels(work / "again")
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[key], again[key]) for key in first)
    ids = [{item.id for item in RunFolder(work / name).tasks()} for name in ("first", "again")]
    assert ids[0] == ids[1]


def test_one_image_makes_a_grid_and_overwrites_nothing(cli, manifest, work):
    cli("run", manifest("grid: {model: demo, prompt: a fox, seed: 7, steps: 1}\n"), "--quiet")
    (image,) = (work / "outputs" / "job" / "images").iterdir()
    outcome = cli("manifest", "from", image)
    assert yaml.safe_load(outcome.out)["grid"]["seed"] == 7
    assert outcome.out.startswith(f"# Made from\n# {image}\n")
    assert cli("manifest", "from", image, "-o", "job.yaml").code == 2
    assert yaml.safe_load(cli("manifest", "from", image, "--model", "demo-1k").out)["grid"]["model"] == "demo-1k"


@pytest.mark.parametrize("arguments", [["new"], ["from", "job.png"]], ids=["new", "from"])
def test_a_manifest_is_written_where_nothing_is(cli, work, arguments):
    note = PngInfo()
    note.add_text("parameters", "a fox\nSteps: 2, Sampler: Euler, Seed: 7, Size: 512x512")
    Image.new("RGB", (8, 8)).save(work / "job.png", pnginfo=note)
    outcome = cli("manifest", *arguments, "-o", "none/a.yaml")
    assert (outcome.code, "cannot be written: " in outcome.err) == (2, True), outcome.err
    (work / "a.yaml").symlink_to("nowhere.yaml")
    outcome = cli("manifest", *arguments, "-o", "a.yaml")
    assert (outcome.code, "a.yaml exists; name another file with -o" in outcome.err) == (2, True), outcome.err
    assert not (work / "nowhere.yaml").exists()
    assert cli("manifest", *arguments, "-o", "b.yaml").code == 0
    assert (work / "b.yaml").read_bytes().count(b"\r") == 0


def test_the_failed_ones_of_a_run(cli, manifest, work):
    text = "grid: {model: demo, prompt: [a, b], steps: 1, seed: 0..1, extra.sigmas: [null, [1.0, 0.5]]}\n"
    assert cli("run", manifest(text), "--quiet").code == 1
    outcome = cli("manifest", "from", "outputs/job", "--only", "failed", "-o", "failed.yaml")
    assert outcome.code == 0, outcome.err
    outcome = cli("run", "failed.yaml", "--quiet", "--set", "extra.sigmas=null")
    assert outcome.code == 0, outcome.err
    frame = table.read(work / "outputs" / "failed" / "results.csv")
    assert sorted(zip(frame.prompt, frame.seed, strict=True)) == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert "no missing image" in cli("manifest", "from", "outputs/job", "--only", "missing").err
    done = yaml.safe_load(cli("manifest", "from", "outputs/job", "--only", "done").out)
    assert (done["grid"]["prompt"], done["grid"]["seed"], "include" in done) == (["a", "b"], [0, 1], False)


A1111 = """\
a (red:1.2) fox, <lora:x:0.8>
second line
Negative prompt: fog,
blur
Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 123, Size: 512x768, Model hash: abc, """
A1111 += 'Model: "v1, 5", Clip skip: 2'


def png(path, **texts):
    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


def test_an_image_of_a1111(cli, work):
    png(work / "a.png", parameters=A1111)
    outcome = cli("manifest", "from", "a.png")
    assert yaml.safe_load(outcome.out)["grid"] == {
        "model": "v1, 5",
        "prompt": "a (red:1.2) fox,\nsecond line",
        "negative_prompt": "fog,\nblur",
        "seed": 123,
        "size": "512x768",
        "steps": 20,
        "guidance": 7.5,
        "scheduler": "dpm++(use_karras_sigmas=true)",
    }
    assert "left out: Clip skip" in outcome.err
    assert "weights" in outcome.err
    assert "# a.png: left out of the prompt: <lora:x:0.8>; name their files under lora:" in outcome.out


def test_an_image_of_invokeai(cli, work):
    data = {
        "positive_prompt": "a fox", "negative_prompt": "fog", "seed": 5, "steps": 30, "cfg_scale": 6,
        "width": 1024, "height": 768, "scheduler": "euler_a", "model": {"name": "sdxl", "base": "sdxl"},
        "loras": [{"model": {"name": "x"}, "weight": 0.5}],
    }  # fmt: skip
    new = png(work / "new.png", invokeai_metadata=json.dumps(data))
    old = png(
        work / "old.png",
        **{
            "sd-metadata": json.dumps(
                {
                    "model_weights": "sd-1.4",
                    "image": {
                        "prompt": [{"prompt": "a whale [fog]", "weight": 1.0}], "seed": 3, "steps": 20,
                        "cfg_scale": 7.5, "width": 512, "height": 512, "sampler": "k_lms",
                    },
                }
            )
        },
    )  # fmt: skip
    outcome = cli("manifest", "from", new, old, "--model", "demo")
    made = yaml.safe_load(outcome.out)
    assert made["grid"] == {"model": "demo", "negative_prompt": "fog"}
    assert made["include"] == [
        {"prompt": "a fox", "seed": 5, "size": "576x416", "steps": 30, "guidance": 6},
        {"prompt": "a whale", "seed": 3, "size": "512x512", "steps": 20, "guidance": 7.5},
    ]
    assert "loras" in outcome.err
    assert "scheduler euler-a: euler-a cannot follow demo" in outcome.err
    assert "size: demo renders 576x416, not 1024x768" in outcome.out


def test_an_image_of_swarmui(cli, work):
    data = {
        "prompt": "a fox", "negativeprompt": "fog", "model": "sdxl", "seed": 4, "steps": 25, "cfgscale": 7.0,
        "width": 832, "height": 1216, "sampler": "euler_a", "swarm_version": "0.9", "vae": "x",
    }  # fmt: skip
    path = png(work / "a.png", parameters=json.dumps({"sui_image_params": data}))
    outcome = cli("manifest", "from", path)
    assert yaml.safe_load(outcome.out)["grid"] == {
        "model": "sdxl", "prompt": "a fox", "negative_prompt": "fog", "seed": 4, "size": "832x1216", "steps": 25,
        "guidance": 7.0, "scheduler": "euler-a",
    }  # fmt: skip
    assert "left out: vae" in outcome.err


@pytest.mark.parametrize("content", ["no metadata", "damaged", "not an image", "not there"])
def test_what_says_nothing_is_refused(cli, work, content):
    path = work / "x.png"
    if content == "no metadata":
        Image.new("RGB", (8, 8)).save(path)
    elif content == "damaged":
        odd = json.dumps({"positive_prompt": "a", "seed": float("inf"), "width": 8, "height": 8, "steps": 1})
        png(path, run_batch="[" * 10_000, parameters="only a prompt", invokeai_metadata=odd)
    elif content == "not an image":
        path.write_text("hello")
    outcome = cli("manifest", "from", path)
    assert outcome.code == 2
    assert str(path) in outcome.err
    assert cli("manifest", "from", path, "--only", "failed").code == 2
