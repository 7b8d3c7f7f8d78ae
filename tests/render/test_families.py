"""Every family against one direct call of its pipeline, and what each model refuses."""

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from threading import Event

import diffusers
import huggingface_hub.constants
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from accelerate.hooks import CpuOffload
from diffusers import DiffusionPipeline
from PIL import Image

from batch.base.errors import ModelError, UserError
from batch.catalogue import configs, families, signatures
from batch.cli.progress import Silent
from batch.engines.local import LocalEngine
from batch.hub import models as hub
from batch.hub.folders import json_of
from batch.manifest.values import Size
from batch.memory.profiles import tiling
from batch.plan import checks
from batch.plan.texts import encode_tasks
from batch.records.events import Beat
from batch.records.spec import RunSpec
from batch.records.tasks import Task
from batch.render import from_files, memory
from batch.render.diffusers_backend import Diffusers
from batch.render.families import common
from batch.render.session import DiffusersSession
from batch.store.folder import RunFolder
from tests import tiny_models
from tests.conftest import DEMO

pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def loaded(folder: Path, *, offload: bool = False):
    pipe = DiffusionPipeline.from_pretrained(folder, **tiny_models.left_out(folder.name))
    pipe.set_progress_bar_config(disable=True)
    if offload:  # weights that were moved lie elsewhere, which is enough for a CPU to round otherwise
        pipe.enable_model_cpu_offload(device="cpu")
    return pipe, pipe.scheduler


def set_tiles(vae, tile):
    """As a user sets an autoencoder to tiles that overlap by half."""
    if hasattr(vae, "tile_sample_stride_height"):
        vae.enable_tiling(tile, tile, tile // 2, tile // 2)
    else:
        vae.tile_sample_min_size, vae.tile_latent_min_size = tile, tile // 8
        vae.tile_overlap_factor = 0.5
        vae.enable_tiling()


def direct(folder, *, scheduler=None, tile=None, offload=False, **arguments):
    """What a user gets from the pipeline itself."""
    pipe, own = loaded(folder, offload=offload)
    pipe.scheduler = scheduler(own.config) if scheduler else own
    pipe.vae.disable_tiling()
    if tile:
        set_tiles(pipe.vae, tile)
    arguments = {"prompt": "a fox 7", "num_inference_steps": 2, **arguments}
    seed = torch.Generator("cpu").manual_seed(7)
    return np.asarray(pipe(generator=seed, **arguments).images[0])


def picture(folder):
    (receipt,) = RunFolder(folder).scan().receipts.values()
    return np.asarray(Image.open(folder / receipt.file.path))


def job(folder, **settings):
    lines = {"model": str(folder), "prompt": "a fox 7", "seed": 7, "steps": 2, "dtype": "float32"} | settings
    return "grid:\n" + "".join(f"  {key}: {json.dumps(value)}\n" for key, value in lines.items())


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
    receipts = RunFolder(work / "run").scan().receipts.values()
    assert len(receipts) == 16
    for receipt in receipts:
        task = receipt.task
        if task.scheduler is None and not task.pixel_steps:
            expected = direct(
                tiny("sdxl"), width=96, height=64, guidance_scale=task.guidance,
                negative_prompt=task.negative_prompt or None,
            )  # fmt: skip
            assert np.array_equal(np.asarray(Image.open(work / "run" / receipt.file.path)), expected)


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

    monkeypatch.setattr(common, "load_text_encoder", refuse)
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
    receipts = RunFolder(work / "run").scan().receipts.values()
    (first,) = (item for item in receipts if item.task.seed == 7)
    assert np.array_equal(np.asarray(Image.open(work / "run" / first.file.path)), expected)
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


def test_a_whole_pipeline_fills_the_total_columns_only(cli, manifest, work, tiny):
    path = manifest(job(tiny("sd1"), size="64x64"))
    steps = []

    class Steps:
        def on(self, event):
            if isinstance(event, Beat):
                steps.append(event)

    assert cli("run", path, "--out", "run", "--quiet").code == 0
    row = pd.read_csv(work / "run" / "results.csv").iloc[0]
    assert row["total_s"] > row["save_s"] > 0
    assert row["peak_rss_mib"] > 0
    assert row[["encode_s", "denoise_s", "decode_s", "denoise_peak_mib", "decode_peak_mib"]].isna().all()
    (receipt,) = RunFolder(work / "run").scan().receipts.values()
    assert receipt.measurement.whole.seconds > 0
    tasks = [replace(receipt.task, id="0" * 16)]
    list(LocalEngine(Diffusers()).execute(tasks, spec(work, tiny("sd1")), Steps(), stop=Event()))
    parts = [beat.part for beat in steps if beat.stage == "render" and beat.part]
    assert parts == [1, 2, 2]  # PNDM goes through three timesteps


def spec(work, folder, **changes):
    model = hub.find_model(str(folder), work, {}, online=False)
    return RunSpec(
        root=str(work / "run"), device="cpu", cache=str(work / "cache"), runner="test",
        models={model.name: hub.source(model)}, **changes,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["sdxl", "pixart", "flux", "sana-sprint", "sd3", "qwen_image", "z_image"])
def test_kept_latents_decode_to_the_same_picture(cli, manifest, work, tiny, name, monkeypatch):
    size = {"pixart": "256x256", "sana-sprint": "1024x1024"}.get(name, "96x64")
    path = manifest(job(tiny(name), size=size))
    assert cli("run", path, "--out", "first", "--quiet").code == 0
    (receipt,) = RunFolder(work / "first").scan().receipts.values()
    keeping = spec(work, tiny(name), keep_latents=True)
    (work / "run").mkdir()
    outcomes = list(
        LocalEngine(Diffusers()).execute(
            [*encode_tasks(receipt.task, name.replace("-", "_"), "cpu"), receipt.task],
            keeping,
            Silent(),
            stop=Event(),
        )
    )
    assert {outcome.status for outcome in outcomes} == {"done"}
    kept = work / "run" / "latents" / f"{receipt.task.id}.safetensors"
    assert set(safetensors.torch.load_file(kept)) == {"latents"}

    for part in ("load_text_encoder", "load_without_texts"):
        monkeypatch.setattr(common, part, None)
    again, gone = replace(receipt.task, id="1" * 16), replace(receipt.task, id="2" * 16)
    decoding = spec(work, tiny(name), latents={again.id: str(kept), gone.id: "nowhere"})
    failed, decoded = sorted(
        LocalEngine(Diffusers()).execute([again, gone], decoding, Silent(), stop=Event()),
        key=lambda outcome: outcome.status,
        reverse=True,
    )
    found = np.asarray(Image.open(work / "run" / decoded.receipt.file.path))
    assert np.array_equal(found, picture(work / "first"))
    assert decoded.receipt.measurement.denoise is None
    assert decoded.receipt.measurement.decode.seconds > 0
    assert failed.error.stage == "decode"


def test_keep_latents_of_a_whole_pipeline_is_refused(work, tiny):
    with pytest.raises(UserError, match="called whole"):
        list(
            LocalEngine(Diffusers()).execute(
                [], spec(work, tiny("sd1"), keep_latents=True), Silent(), stop=Event()
            )
        )


@pytest.mark.parametrize(
    "case",
    [
        ("sdxl", "extra.clip_skp", 1, "did you mean extra.clip_skip?"),
        ("sdxl", "extra.width", 512, "set it with size"),
        ("sdxl", "extra.cross_attention_kwargs", 1, "the program sets it, or a manifest cannot hold it"),
        ("sdxl", "extra.negative_prompt_2", "b", "only beside a negative_prompt"),
        ("sdxl", "size", "130x128", "must be multiples of 8"),
        ("sdxl", "scheduler", "flow-euler", "cannot follow"),
        ("sdxl", "scheduler", "sgm", "is unknown; possible are default, dpm++"),
        ("sdxl", "scheduler", "euler(use_karas_sigmas=true)", "did you mean use_karras_sigmas?"),
        ("sdxl", "scheduler", "dpm++-sde(algorithm_type=dpmsolver++)", "sets algorithm_type itself"),
        ("pixart", "size", "256x200", "would render 288x224 and resample it"),
        ("pixart", "lora", "a.safetensors", "loads no LoRAs"),
        ("flux", "negative_prompt", "blue", "only with extra.true_cfg_scale above 1"),
        ("flux", "extra.true_cfg_scale", 3, "only beside a negative_prompt"),
        ("flux", "size", "136x128", "must be multiples of 16"),
        ("flux", "scheduler", "flow-heun", "cannot follow"),
        ("flux", "scheduler", "euler", "default, dpm++, dpm++-sde, dpm++-2s, unipc, deis, flow-euler, flow-lcm"),
        ("sd1", "extra.eta_scale", 1, "takes no such argument"),
        ("sd1", "extra.num_images_per_prompt", 4, "set it with seed"),
        ("sd3", "size", "136x128", "must be multiples of 16"),
        ("sd3", "extra.clip_skip", 1, ""),
        ("sd3", "extra.prompt_4", "b", "did you mean extra.prompt_3?"),
        ("sd3", "extra.skip_layer_guidance_stop", 1, "only beside extra.skip_guidance_layers"),
        ("sd3", "extra.mu", 1, "only with a scheduler of use_dynamic_shifting: true"),
        ("qwen_image", "extra.true_cfg_scale", 3, "set it with guidance"),
        ("qwen_image", "extra.guidance_scale", 3, "set it with guidance"),
        ("qwen_image", "scheduler", "flow-heun", "cannot follow"),
        ("qwen_image", "size", "136x128", "must be multiples of 16"),
        ("z_image", "scheduler", "dpm++", "possible are default, flow-euler, flow-lcm"),
        ("z_image", "extra.cfg_normalisation", 1, "did you mean extra.cfg_normalization?"),
        ("z_image", "size", "136x128", "must be multiples of 16"),
    ],
)  # fmt: skip
def test_what_a_pipeline_cannot_do_is_said_with_its_line(cli, manifest, work, tiny, case):
    name, axis, value, says = case
    (work / "a.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    path = manifest(job(tiny(name), **({"size": "64x64"} if name != "pixart" else {}) | {axis: value}))
    outcome = cli("plan", path)
    if not says:
        assert outcome.code == 0, outcome.err
        return
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if f"  {axis}:" in text)
    assert outcome.code == 2
    assert f"{path}:{line}: {axis}: " in outcome.err
    assert says in outcome.err


@pytest.mark.parametrize(
    ("name", "guidance", "settings", "says"),
    [
        ("sdxl", 1, {"negative_prompt": "blue"},
         ["a negative prompt has no effect at guidance 1: it counts above 1"]),
        ("sd3", 1, {"extra.skip_guidance_layers": [[0]], "extra.negative_prompt_3": "b"},
         ["extra.skip_guidance_layers has no effect at guidance 1", "extra.negative_prompt_3 has no effect"]),
        ("qwen_image", 1, {"negative_prompt": "blue"}, ["at guidance 1: it counts above 1"]),
        ("z_image", 0, {"negative_prompt": "blue", "extra.cfg_truncation": 0.5},
         ["at guidance 0: it counts above 0", "extra.cfg_truncation has no effect"]),
        ("z_image", 0.5, {"negative_prompt": "blue", "extra.cfg_truncation": 0.5}, []),
        ("z_image", 0, {"extra.max_sequence_length": 30}, []),
    ],
)  # fmt: skip
def test_what_counts_beside_guidance_only_is_said(cli, manifest, tiny, name, guidance, settings, says):
    outcome = cli("plan", manifest(job(tiny(name), size="64x64", guidance=guidance, **settings)))
    assert outcome.code == 0, outcome.err
    assert all(text in outcome.err for text in says)
    assert outcome.err.count("has no effect at guidance") == len(says)


def test_a_text_for_an_encoder_that_is_missing_is_an_error(cli, manifest, tiny):
    path = manifest(job(tiny("sd3-without-t5"), size="64x64", **{"extra.prompt_3": "sea"}))
    outcome = cli("run", path, "--quiet")
    assert (outcome.code, "extra.prompt_3 has no effect" in outcome.err) == (2, True)


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


def test_pickles_and_code_are_refused_unless_allowed(work, tiny):
    folder = work / "model"
    shutil.copytree(tiny("sd1"), folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(safetensors.torch.load_file(weights), folder / "unet" / "diffusion_pytorch_model.bin")
    weights.unlink()
    with pytest.raises(ModelError, match=r"unet of model is there as .* only: a pickle"):
        hub.find_model("model", work, {}, online=False)
    allowed = hub.find_model("model", work, {}, online=False, allow_pickle=frozenset({"model"}))
    assert common.load(hub.source(allowed), "float32").unet is not None
    with pytest.raises(OSError, match="safetensors"):
        common.load(replace(hub.source(allowed), allow_pickle=False), "float32")
    (folder / "unet" / "diffusers.py").write_text("")
    with pytest.raises(ModelError, match="runs code of its own"):
        hub.find_model("model", work, {}, online=False, allow_pickle=frozenset({"model"}))
    trusted = frozenset({"model"})
    found = hub.find_model("model", work, {}, online=False, allow_pickle=trusted, trust_remote_code=trusted)
    assert hub.source(found).trust_remote_code
    assert "trust_remote_code" not in from_files.where(replace(hub.source(found), trust_remote_code=False))


def test_a_folder_that_holds_one_variant_only_is_loaded_as_it_is(cli, manifest, work, tiny):
    shutil.copytree(tiny("sd1"), work / "model")
    for path in (work / "model").rglob("*.safetensors"):
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    outcome = cli("run", manifest(job("model", size="64x64")), "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.err
    assert np.array_equal(picture(work / "run"), direct(tiny("sd1"), width=64, height=64))


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument")
def test_a_hub_repository_is_read_from_the_cache(cli, manifest, cache, tiny, work, monkeypatch):
    for name, value in (("HF_HUB_CACHE", str(cache / "hub")), ("HF_HUB_OFFLINE", True)):
        monkeypatch.setattr(huggingface_hub.constants, name, value)  # read when it was imported
    commit = "a" * 40
    repo = cache / "hub" / "models--someone--tiny"
    shutil.copytree(tiny("flux"), repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    path = manifest(job("someone/tiny", size="64x64"))
    assert f"someone/tiny at {commit[:12]}" in cli("plan", path).out
    outcome = cli("run", path, "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.err
    assert np.array_equal(picture(work / "run"), direct(tiny("flux"), width=64, height=64))
    missing = cli("plan", manifest(job("someone/other")))
    assert (missing.code, "someone/other is not on this machine" in missing.err) == (2, True)
    missing = cli("run", manifest(job("someone/other")))
    assert (missing.code, "HF_HUB_OFFLINE forbids asking the Hub" in missing.err) == (2, True)


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


def test_the_source_says_what_the_classes_say():
    import inspect

    for name, family in families.PIPELINE_FAMILY.items():
        call = inspect.signature(getattr(diffusers, name).__call__).parameters
        read = signatures.pipeline_call(name)
        assert [key for key in call if key not in ("self", "kwargs")] == list(read)
        assert all(call[key].default == value for key, value in read.items() if value is not signatures.COMPUTED)
        extra = families.FAMILIES[family].extra
        assert {key for key in extra if extra[key] != "pag"} <= set(read)
    for name in set(families.SCHEDULERS.values()):
        if name != "LMSDiscreteScheduler":  # needs scipy
            parameters = inspect.signature(getattr(diffusers, name).__init__).parameters
            assert set(signatures.scheduler_settings(name)) == set(parameters) - {"self"}
    assert {"FluxPipeline", "ZImagePipeline"} <= signatures.text_to_image()


def test_every_text_to_image_pipeline_of_diffusers_is_taken():
    taken = {
        name
        for name in signatures.text_to_image()
        if not configs._not_text_to_image(name, signatures.pipeline_call(name) or {})
    }
    left_out = signatures.text_to_image() - taken
    assert len(taken) >= 30
    assert all("Control" in name or "Helios" in name for name in left_out), left_out


@pytest.mark.parametrize("name", ["sdxl", "flux", "sd3", "qwen_image", "z_image"])
def test_a_lora_acts_on_both_halves(cli, manifest, work, tiny, name):
    from peft import LoraConfig, get_peft_model_state_dict

    torch.manual_seed(1)
    pipe = DiffusionPipeline.from_pretrained(tiny(name))
    pipe.set_progress_bar_config(disable=True)
    denoiser = "unet" if name == "sdxl" else "transformer"
    layers = {}
    parts = [(denoiser, ["to_q", "to_v"])]
    if name not in ("qwen_image", "z_image"):  # LoRAs of the others may change the text encoder too
        parts.append(("text_encoder", ["q_proj", "v_proj"]))
    for part, targets in parts:
        config = LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=targets)
        getattr(pipe, part).add_adapter(config)
        layers[f"{part}_lora_layers"] = get_peft_model_state_dict(getattr(pipe, part))
    type(pipe).save_lora_weights(work / "lora", **layers)
    file = "lora/pytorch_lora_weights.safetensors"
    path = manifest(job(tiny(name), size="64x64", lora=["none", f"{file}(scale=0.5)"]))
    outcome = cli("run", path, "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.out + outcome.err
    with_lora = DiffusionPipeline.from_pretrained(tiny(name))
    with_lora.set_progress_bar_config(disable=True)
    with_lora.load_lora_weights(str(work / file), adapter_name="a")
    with_lora.set_adapters(["a"], [0.5])
    for receipt in RunFolder(work / "run").scan().receipts.values():
        call = with_lora if receipt.task.loras else loaded(tiny(name))[0]
        call.vae.disable_tiling()
        call.scheduler = loaded(tiny(name))[1]
        seed = torch.Generator("cpu").manual_seed(7)
        negative = {"negative_prompt": " "} if name == "qwen_image" else {}
        expected = call("a fox 7", num_inference_steps=2, width=64, height=64, generator=seed, **negative).images[
            0
        ]
        found = np.asarray(Image.open(work / "run" / receipt.file.path))
        assert np.array_equal(found, np.asarray(expected)), receipt.task.loras
