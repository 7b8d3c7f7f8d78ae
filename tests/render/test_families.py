"""Every family against one direct call of its pipeline."""

import json
import shutil

import diffusers
import numpy as np
import pytest
import torch
from accelerate.hooks import CpuOffload
from diffusers import DiffusionPipeline

from batch.hub import models as hub
from batch.memory.profiles import tiling
from batch.plan.texts import encode_tasks
from batch.records.tasks import Task
from batch.render import memory, pipelines
from batch.render.session import DiffusersSession
from tests.conftest import DEMO
from tests.helpers import picture, receipts_of
from tests.render.direct import direct, job, loaded

pytestmark = pytest.mark.usefixtures("one_thread")


def euler_karras(config):
    return diffusers.EulerDiscreteScheduler.from_config(config, use_karras_sigmas=True)


def flow_unipc(config):
    changes = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}
    return diffusers.UniPCMultistepScheduler.from_config(config, **changes, solver_order=1)


def flow_shift(config):
    return flow_unipc({**config, "use_dynamic_shifting": True})


def flow_euler(config):
    return diffusers.FlowMatchEulerDiscreteScheduler.from_config(config, shift=5.0)


def sde(config):
    return diffusers.DPMSolverMultistepScheduler.from_config(config, algorithm_type="sde-dpmsolver++")


LONG = "a fox and a whale " * 40
"""More tokens of the tiny tokenizers than the 512 that Qwen-Image takes unless told otherwise."""

SAME = [
    ("sdxl", {}, {}),
    ("sdxl", {"negative_prompt": "blue", "size": "96x64"}, {"negative_prompt": "blue", "width": 96}),
    ("sdxl", {"guidance": 1}, {"guidance_scale": 1.0}),
    ("sdxl", {"scheduler": "euler(use_karras_sigmas=true)"}, {"scheduler": euler_karras}),
    ("sdxl", {"scheduler": "heun"}, {"scheduler": diffusers.HeunDiscreteScheduler.from_config}),
    (
        "sdxl",
        {"extra.clip_skip": 1, "extra.prompt_2": "sea", "extra.original_size": [[64, 32]], "negative_prompt": "b",
         "extra.negative_prompt_2": "c"},
        {"clip_skip": 1, "prompt_2": "sea", "original_size": (64, 32), "negative_prompt": "b",
         "negative_prompt_2": "c"},
    ),
    ("sdxl", {"memory": "vae_tiling(64, 32)", "size": "96x64"}, {"tile": 64, "width": 96}),
    ("pixart", {"size": "256x256"}, {"width": 256, "height": 256}),
    ("pixart-alpha", {"size": "256x256", "negative_prompt": "blue"},
     {"width": 256, "height": 256, "negative_prompt": "blue"}),
    ("pixart", {"size": "336x192", "negative_prompt": "blue"},
     {"width": 336, "height": 192, "negative_prompt": "blue"}),
    ("pixart", {"size": "256x256", "guidance": 1, "extra.max_sequence_length": 40},
     {"width": 256, "height": 256, "guidance_scale": 1.0, "max_sequence_length": 40}),
    ("pixart", {"size": "256x256", "scheduler": "dpm++-sde"}, {"width": 256, "height": 256, "scheduler": sde}),
    ("flux", {}, {}),
    ("flux", {"guidance": 7, "extra.prompt_2": "sea", "size": "96x64"},
     {"guidance_scale": 7.0, "prompt_2": "sea", "width": 96}),
    ("flux", {"negative_prompt": "blue", "extra.true_cfg_scale": 3, "extra.max_sequence_length": 64},
     {"negative_prompt": "blue", "true_cfg_scale": 3, "max_sequence_length": 64}),
    ("flux", {"scheduler": "unipc(solver_order=1)"}, {"scheduler": flow_unipc}),
    ("sd1", {"negative_prompt": "blue", "extra.guidance_rescale": 0.5},
     {"negative_prompt": "blue", "guidance_rescale": 0.5}),
    ("sd1", {"guidance": 1, "size": "96x64", "scheduler": "ddim"},
     {"guidance_scale": 1.0, "width": 96, "scheduler": diffusers.DDIMScheduler.from_config}),
    ("sd1", {"memory": "vae_tiling(64, 32)", "size": "96x64"}, {"tile": 64, "width": 96}),
    ("sd3", {"negative_prompt": "blue", "extra.prompt_3": "sea"}, {"negative_prompt": "blue", "prompt_3": "sea"}),
    ("sd3", {"guidance": 1, "extra.prompt_2": "sky", "extra.max_sequence_length": 40, "extra.clip_skip": 1},
     {"guidance_scale": 1.0, "prompt_2": "sky", "max_sequence_length": 40, "clip_skip": 1}),
    ("sd3", {"extra.negative_prompt_2": "b", "extra.negative_prompt_3": "c", "extra.clip_skip": 1},
     {"negative_prompt_2": "b", "negative_prompt_3": "c", "clip_skip": 1}),
    ("sd3", {"extra.skip_guidance_layers": [[0]], "extra.skip_layer_guidance_stop": 0.9,
             "extra.skip_layer_guidance_scale": 5, "memory": "vae_tiling(64, 32)", "size": "96x64"},
     {"skip_guidance_layers": [0], "skip_layer_guidance_stop": 0.9, "skip_layer_guidance_scale": 5, "tile": 64,
      "width": 96}),
    ("sd3-without-t5", {}, {}),
    ("sd3-without-t5", {"negative_prompt": "blue", "extra.max_sequence_length": 20, "extra.clip_skip": 1,
                        "extra.prompt_2": "sky"},
     {"negative_prompt": "blue", "max_sequence_length": 20, "clip_skip": 1, "prompt_2": "sky"}),
    ("qwen_image", {}, {"negative_prompt": " ", "true_cfg_scale": 4.0}),
    ("qwen_image", {"guidance": 1}, {"true_cfg_scale": 1.0}),
    ("qwen_image", {"guidance": 0, "prompt": "a fox 7"}, {}),
    ("qwen_image", {"guidance": 2.5, "negative_prompt": "blue", "size": "96x64", "extra.max_sequence_length": 150},
     {"true_cfg_scale": 2.5, "negative_prompt": "blue", "width": 96, "max_sequence_length": 150}),
    ("qwen_image", {"prompt": LONG, "extra.max_sequence_length": 700},
     {"prompt": LONG, "negative_prompt": " ", "max_sequence_length": 700}),
    ("qwen_image", {"scheduler": "unipc(solver_order=1)"}, {"negative_prompt": " ", "scheduler": flow_shift}),
    ("qwen_image", {"memory": "vae_tiling(64, 32)", "size": "160x96", "extra.sigmas": [[1.0, 0.4]]},
     {"negative_prompt": " ", "tile": 64, "width": 160, "height": 96, "sigmas": [1.0, 0.4]}),
    ("z_image", {}, {}),
    ("z_image", {"guidance": 0, "size": "96x64"}, {"guidance_scale": 0.0, "width": 96}),
    ("z_image", {"guidance": 1, "negative_prompt": "blue", "extra.cfg_truncation": 0.9,
                 "extra.cfg_normalization": True, "extra.max_sequence_length": 30},
     {"guidance_scale": 1.0, "negative_prompt": "blue", "cfg_truncation": 0.9, "cfg_normalization": True,
      "max_sequence_length": 30}),
    ("z_image", {"memory": "vae_tiling(64, 32)", "size": "96x64", "scheduler": "flow-euler(shift=5.0)"},
     {"tile": 64, "width": 96, "scheduler": flow_euler}),
    ("sd3", {"size": "96x64", "scheduler": "flow-heun"},
     {"width": 96, "scheduler": diffusers.FlowMatchHeunDiscreteScheduler.from_config}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings", "arguments"), SAME)
def test_the_picture_is_bit_identical_to_the_pipeline_call(cli, manifest, work, tiny, name, settings, arguments):
    settings = {"size": "64x64"} | settings
    outcome = cli("run", manifest(job(tiny(name), **settings)), "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.out + outcome.err
    expected = direct(tiny(name), **({"width": 64, "height": 64} | arguments))
    assert np.array_equal(picture(work / "run"), expected)
    assert expected.std() > 5


def test_no_setting_or_text_leaks_into_the_next_picture(cli, manifest, work, tiny):
    grid = job(
        tiny("sdxl"), size="96x64", guidance=[1, 5], negative_prompt=["", "blue"], scheduler=["default", "ddim"],
        memory=["full", "vae_tiling(64, 32)"],
    )  # fmt: skip
    assert cli("run", manifest(grid), "--out", "run", "--quiet").code == 0
    receipts = receipts_of(work / "run")
    assert len(receipts) == 16
    for receipt in receipts:
        task = receipt.task
        if task.scheduler is None and not task.pixel_steps:
            expected = direct(
                tiny("sdxl"), width=96, height=64, guidance_scale=task.guidance,
                negative_prompt=task.negative_prompt or None,
            )  # fmt: skip
            assert np.array_equal(picture(work / "run", receipt), expected)


def test_a_bin_is_resampled_as_the_pipeline_does_it(cli, manifest, work, tiny):
    path = manifest("resize: true\n" + job(tiny("pixart"), size="300x200"))
    assert cli("run", path, "--out", "run", "--quiet").code == 0
    assert np.array_equal(picture(work / "run"), direct(tiny("pixart"), width=300, height=200))


@pytest.mark.parametrize("name", ["sdxl", "sd3", "sd3-without-t5", "qwen_image", "z_image"])
def test_cached_embeddings_leave_text_encoders_unloaded(cli, manifest, tiny, monkeypatch, name):
    text = job(tiny(name), size="64x64", negative_prompt="grey", prompt=["one", "two"])
    assert cli("run", manifest(text), "--out", "first", "--quiet").code == 0

    def refuse(*_):
        raise AssertionError("the text encoders were loaded")

    monkeypatch.setattr(pipelines, "load_text_encoder", refuse)
    assert cli("run", manifest(text), "--out", "second", "--quiet").code == 0
    other = cli("run", manifest(job(tiny(name), size="64x64", prompt="three")), "--out", "third", "--quiet")
    assert "the text encoders were loaded" in other.err


def test_half_precision_decodes_in_float32_on_overflow(cli, manifest, work, tiny):
    assert (
        cli("run", manifest(job(tiny("sdxl"), size="64x64", dtype="float16")), "--out", "run", "--quiet").code == 0
    )
    pipe = DiffusionPipeline.from_pretrained(tiny("sdxl"), dtype=torch.float16)
    pipe.set_progress_bar_config(disable=True)
    with pytest.warns(FutureWarning, match="upcast_vae"):
        expected = pipe(
            "a fox 7", num_inference_steps=2, width=64, height=64, generator=torch.Generator("cpu").manual_seed(7)
        ).images[0]
    assert np.array_equal(picture(work / "run"), np.asarray(expected))


FAMILIES = ["sana", "sdxl", "pixart", "flux", "sd3", "qwen_image", "z_image"]
SIDES = {
    "sana": (512, 512, 256), "sana-pag": (512, 512, 256), "sana-sprint": (1024, 1024, 512),
    "pixart": (256, 256, 128),
}  # fmt: skip
"""Width, height, and a tile that does not cover them; 96x64 and 64 for the others."""


@pytest.fixture
def moved(monkeypatch):
    """Model offloading with its real hooks, whose device is the CPU; the classes that a hook was asked for."""
    seen, before = [], CpuOffload.pre_forward

    def place(pipe, *_):
        pipe.enable_model_cpu_offload(device="cpu")

    def pre_forward(self, module, *given, **named):
        seen.append(type(module).__name__)
        return before(self, module, *given, **named)

    monkeypatch.setitem(memory.STEPS, "model_cpu_offload", place)
    monkeypatch.setattr(CpuOffload, "pre_forward", pre_forward)
    return seen


@pytest.mark.parametrize("name", [*FAMILIES, "sana-sprint", "sana-pag", "sd1"])
def test_tiles_and_offloading_match_the_direct_call(cli, manifest, work, tiny, moved, name):
    folder = DEMO if name == "sana" else tiny(name)
    width, height, tile = SIDES.get(name, (96, 64, 64))
    setting = f"vae_tiling({tile}, {tile // 2}) + model_cpu_offload"
    path = manifest(job(folder, size=f"{width}x{height}", memory=setting, seed=[7, 8]))
    outcome = cli("run", path, "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.err
    negative = {"negative_prompt": " "} if name == "qwen_image" else {}
    pipe, hooked = loaded(folder)[0], list(moved)
    expected = direct(folder, width=width, height=height, tile=tile, offload=True, **negative)
    receipts = receipts_of(work / "run")
    (first,) = (item for item in receipts if item.task.seed == 7)
    assert np.array_equal(picture(work / "run", first), expected)
    denoiser = type(getattr(pipe, "transformer", None) or pipe.unet).__name__
    assert hooked.count(denoiser) >= 4  # two steps of two images
    assert hooked.count(type(pipe.vae).__name__) >= 2


@pytest.mark.parametrize("name", FAMILIES)
def test_a_decoding_is_repeated_in_float32(work, tiny, name):
    """What repairs a picture that is none, and what ``vae_cpu`` decodes in."""
    model = hub.find_model("demo" if name == "sana" else str(tiny(name)), work, {}, online=False)
    width, height, _ = SIDES.get(name, (96, 64, 64))
    task = Task(
        model=model.name, dtype="bfloat16", prompt="a", seed=1, width=width, height=height, rendered_width=width,
        rendered_height=height, steps=1, guidance=3.0,
    )  # fmt: skip
    session, nobody = DiffusersSession(hub.source(model), "bfloat16", "cpu"), lambda *_: None
    embeds = [session.encode(text, nobody).value for text in encode_tasks(task, model.family, "cpu")]
    steps = session.prepare("images", task)
    latents = session.denoise([task], [embeds], steps, nobody).value
    half, full = (session.decode(task, latents, steps, nobody, float32=exact).value for exact in (False, True))
    assert 0 < np.abs(half.astype(int) - full).mean() < 8


@pytest.mark.parametrize(("tile", "stride"), [(320, 256), (96, 64), (64, 64)])
def test_square_tiles_have_the_stride_asked_for(tiny, tile, stride):
    vae = loaded(tiny("sd1"))[0].vae
    memory._square_tiles(vae, dict(tiling(tile, stride).arguments))
    latents = torch.zeros(1, 4, 72, 40)
    seen = []
    vae.decoder.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape[2:])))
    with torch.no_grad():
        assert vae.decode(latents).sample.shape == (1, 3, 72 * 8, 40 * 8)
    vae.decoder._forward_pre_hooks.clear()
    steps = stride // 8
    assert len(seen) == -(-72 // steps) * -(-40 // steps)
    assert max(seen) == (min(72, tile // 8), min(40, tile // 8))


def test_a_step_that_cannot_be_carried_out_is_an_error(cli, manifest, tiny):
    setting = "vae_tiling(tile_height=64, tile_width=32, stride_height=32, stride_width=32)"
    outcome = cli("run", manifest(job(tiny("sdxl"), size="96x64", memory=setting)), "--quiet")
    assert (outcome.code, "decodes in square tiles" in outcome.err) == (2, True)


_ITS_IMAGE = """
from diffusers import SanaPipeline
from diffusers.pipelines.kandinsky5.pipeline_output import KandinskyImagePipelineOutput


class Mine(SanaPipeline):
    def __call__(self, prompt, width, height, num_inference_steps, generator):
        made = super().__call__(
            prompt, width=width, height=height, num_inference_steps=num_inference_steps, generator=generator
        )
        return KandinskyImagePipelineOutput(image=made.images)
"""


def test_a_call_whose_result_is_named_image_is_rendered(cli, manifest, work):
    shutil.copytree(DEMO, work / "mine")
    index = json.loads((DEMO / "model_index.json").read_text()) | {"_class_name": ["pipeline", "Mine"]}
    (work / "mine" / "model_index.json").write_text(json.dumps(index))
    (work / "mine" / "pipeline.py").write_text(_ITS_IMAGE)
    text = "trust_remote_code: [mine]\n" + job("mine", size="512x512", steps=1, guidance=0)
    outcome = cli("run", manifest(text), "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.err
    assert picture(work / "run").shape == (512, 512, 3)
