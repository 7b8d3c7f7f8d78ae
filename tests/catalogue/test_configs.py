"""Models as their files describe them: what they are, what they do by default, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from batch.catalogue import configs, signatures
from batch.hub import models as hub
from batch.hub.folders import json_of
from batch.manifest.values import Size
from batch.plan import checks, scheduler_checks

pytestmark = pytest.mark.usefixtures("one_thread")


def write(folder: Path, pipeline, **parts) -> Path:
    folder.mkdir()
    index = {"_class_name": pipeline} | {name: ["diffusers", "X"] for name in parts}
    (folder / "model_index.json").write_text(json.dumps(index))
    for name, config in parts.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("pipeline", "says"),
    [
        ("WanPipeline", "it makes video or sound (it takes num_frames)"),
        ("StableAudioPipeline", "it makes video or sound"),
        ("StableDiffusionXLImg2ImgPipeline", "it is made for Img2Img"),
        ("FluxFillPipeline", "it needs a picture (image)"),
        ("StableDiffusionXLControlNetPipeline", "it is made for Control"),
        ("StableDiffusionUpscalePipeline", "it is made for Upscale"),
        ("KandinskyPipeline", "it needs image_embeds, negative_image_embeds"),
        ("DDPMPipeline", "it takes no prompt"),
        ("MyPipeline", "which the installed diffusers does not have"),
        (["pipeline", "MyPipeline"], "runs code of its own (pipeline.py); allow it with trust_remote_code"),
    ],
)
def test_what_makes_no_pictures_from_text_is_refused(cli, manifest, work, pipeline, says):
    write(work / "model", pipeline)
    outcome = cli("plan", manifest("grid: {model: model, prompt: a}\n"))
    assert outcome.code == 2
    assert says in outcome.err


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sdxl", ("sdxl", Size(128, 128), 8, "float16", 50, 5.0, "epsilon")),
        ("sana", ("sana", Size(512, 512), 32, "bfloat16", 20, 4.5, "flow")),
        ("sana-pag", ("sana", Size(512, 512), 32, "bfloat16", 20, 4.5, "flow")),
        ("sana-sprint", ("sana_sprint", Size(1024, 1024), 32, "bfloat16", 2, 4.5, "trigflow")),
        ("pixart", ("pixart", Size(256, 256), 16, "float16", 20, 4.5, "epsilon")),
        ("flux", ("flux", Size(1024, 1024), 16, "bfloat16", 28, 3.5, "flow")),
        ("sd1", ("generic", Size(128, 128), 8, "float16", 50, 7.5, "epsilon")),
        ("sd3", ("sd3", Size(128, 128), 16, "bfloat16", 28, 7.0, "flow")),
        ("qwen_image", ("qwen_image", Size(1024, 1024), 16, "bfloat16", 50, 4.0, "flow")),
        ("z_image", ("z_image", Size(1024, 1024), 16, "bfloat16", 50, 5.0, "flow")),
    ],
)
def test_defaults_come_from_the_files_and_the_call(work, tiny, name, expected):
    model = hub.find_model(str(tiny(name)), work, {}, online=False)
    assert expected == (
        model.family, model.native, model.size_step, model.dtype, model.steps, model.guidance, model.prediction,
    )  # fmt: skip


def test_what_is_known_of_other_pipelines(work):
    folder = write(
        work / "qwen", "QwenImagePipeline",
        transformer={"patch_size": 2, "guidance_embeds": True}, vae={"temperal_downsample": [False, True, True]},
    )  # fmt: skip
    model = configs.describe("qwen", lambda path: json_of(folder / path) if (folder / path).exists() else None)
    assert (model.family, model.native, model.size_step) == ("generic", Size(1024, 1024), 16)
    assert model.guidance == 0.0  # of a distilled model: the call's own default is none
    assert "true_cfg_scale" in checks.possible_extras(model)
    assert dict(checks.objections(replace(model, pipeline="HunyuanImagePipeline"), {"guidance": 3})) == {
        "guidance": "HunyuanImagePipeline takes no guidance scale; leave it out, or set "
        "extra.distilled_guidance_scale"
    }
    schnell = replace(model, family="flux", pipeline="FluxPipeline", embeds_guidance=False)
    assert "has no effect" in dict(checks.objections(schnell, {"guidance": 3}))["guidance"]


def test_every_text_to_image_pipeline_of_diffusers_is_taken():
    taken = {
        name
        for name in signatures.text_to_image()
        if not configs._not_text_to_image(name, signatures.pipeline_call(name) or {})
    }
    left_out = signatures.text_to_image() - taken
    assert len(taken) >= 30
    assert all("Control" in name or "Helios" in name for name in left_out), left_out


@pytest.mark.parametrize(
    ("pipeline", "index", "expected"),
    [
        ("Flux2KleinPipeline", {"is_distilled": True}, (4, False, False, False, False)),
        ("Flux2KleinPipeline", {"is_distilled": False}, (50, True, True, True, False)),
        ("Krea2Pipeline", {"is_distilled": True}, (8, False, True, False, False)),
        ("QwenImage21Pipeline", {"sample_sigmas": [1.0, 0.7, 0.4]}, (3, False, True, False, True)),
        ("QwenImage21Pipeline", {"sample_sigmas": None}, (40, False, True, True, False)),
        ("LuminaPipeline", {"sample_sigmas": [1.0, 0.5], "is_distilled": True}, (30, True, True, True, False)),
    ],
)
def test_an_index_tells_that_a_model_is_distilled(pipeline, index, expected):
    files = {"model_index.json": {"_class_name": pipeline} | index}
    made = configs.describe("m", files.get)
    assert expected == (
        made.steps, made.guidance > 1, made.embeds_guidance, made.negative, made.fixed_steps,
    )  # fmt: skip


def test_a_scheduler_of_edm_stands_alone():
    scheduler = {"_class_name": "EDMDPMSolverMultistepScheduler", "prediction_type": "epsilon"}
    files = {"model_index.json": {"_class_name": "StableDiffusionXLPipeline"}}
    made = configs.describe("m", (files | {"scheduler/scheduler_config.json": scheduler}).get)
    assert (made.prediction, scheduler_checks.possible(made)) == ("edm", ["default"])
