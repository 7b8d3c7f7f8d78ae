"""Every family against one direct call of its pipeline, and what each model refuses."""

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import diffusers
import huggingface_hub.constants
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from batch import configs, hub, signatures
from batch.engines import Control
from batch.engines.local import LocalEngine
from batch.errors import ModelError, UserError
from batch.manifest.values import Size
from batch.plan import catalogue, encode_tasks, fits
from batch.plan.memory import tiling
from batch.records import RunSpec
from batch.render import from_files, memory
from batch.render.families import common
from batch.store.folder import RunFolder

pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def loaded(folder: Path):
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe, pipe.scheduler


def direct(folder, *, scheduler=None, tile=None, **arguments):
    """What a user gets from the pipeline itself."""
    pipe, own = loaded(folder)
    pipe.scheduler = scheduler(own.config) if scheduler else own
    pipe.vae.disable_tiling()
    if tile:
        pipe.vae.tile_sample_min_size, pipe.vae.tile_latent_min_size = tile, tile // 8
        pipe.vae.tile_overlap_factor = 0.5
        pipe.vae.enable_tiling()
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


def sde(config):
    return diffusers.DPMSolverMultistepScheduler.from_config(config, algorithm_type="sde-dpmsolver++")


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


def test_settings_and_texts_do_not_leak_from_one_picture_into_the_next(cli, manifest, work, tiny):
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


def test_embeddings_are_cached_and_the_text_encoders_stay_unloaded(cli, manifest, tiny, monkeypatch):
    text = job(tiny("sdxl"), size="64x64", negative_prompt="grey", prompt=["one", "two"])
    assert cli("run", manifest(text), "--out", "first", "--quiet").code == 0

    def refuse(*_):
        raise AssertionError("the text encoders were loaded")

    monkeypatch.setattr(common, "load_text_encoder", refuse)
    assert cli("run", manifest(text), "--out", "second", "--quiet").code == 0
    other = cli("run", manifest(job(tiny("sdxl"), size="64x64", prompt="three")), "--out", "third", "--quiet")
    assert "the text encoders were loaded" in other.err


def test_half_precision_decodes_in_float32_where_the_autoencoder_overflows(cli, manifest, work, tiny):
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
    assert cli("run", path, "--out", "run", "--quiet").code == 0
    row = pd.read_csv(work / "run" / "results.csv").iloc[0]
    assert row["total_s"] > row["save_s"] > 0
    assert row["peak_rss_mib"] > 0
    assert row[["encode_s", "denoise_s", "decode_s", "denoise_peak_mib", "decode_peak_mib"]].isna().all()
    (receipt,) = RunFolder(work / "run").scan().receipts.values()
    assert receipt.measurement.whole.seconds > 0
    tasks = [replace(receipt.task, id="0" * 16)]
    list(LocalEngine().execute(tasks, spec(work, tiny("sd1")), Control(on_beat=steps.append)))
    parts = [beat.part for beat in steps if beat.stage == "render" and beat.part]
    assert parts == [1, 2, 2]  # PNDM goes through three timesteps


def spec(work, folder, **changes):
    model = hub.find_model(str(folder), work, {}, online=False)
    return RunSpec(
        root=str(work / "run"), device="cpu", cache=str(work / "cache"), runner="test",
        models={model.name: hub.source(model)}, **changes,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["sdxl", "pixart", "flux"])
def test_kept_latents_decode_to_the_same_picture_without_the_rest(cli, manifest, work, tiny, name, monkeypatch):
    path = manifest(job(tiny(name), size="256x256" if name == "pixart" else "96x64"))
    assert cli("run", path, "--out", "first", "--quiet").code == 0
    (receipt,) = RunFolder(work / "first").scan().receipts.values()
    keeping = spec(work, tiny(name), keep_latents=True)
    (work / "run").mkdir()
    outcomes = list(
        LocalEngine().execute([*encode_tasks(receipt.task, name, "cpu"), receipt.task], keeping, Control())
    )
    assert {outcome.status for outcome in outcomes} == {"done"}
    kept = work / "run" / "latents" / f"{receipt.task.id}.safetensors"
    assert set(safetensors.torch.load_file(kept)) == {"latents"}

    for part in ("load_text_encoder", "load_without_texts"):
        monkeypatch.setattr(common, part, None)
    again, gone = replace(receipt.task, id="1" * 16), replace(receipt.task, id="2" * 16)
    decoding = spec(work, tiny(name), latents={again.id: str(kept), gone.id: "nowhere"})
    failed, decoded = sorted(
        LocalEngine().execute([again, gone], decoding, Control()), key=lambda outcome: outcome.status, reverse=True
    )
    found = np.asarray(Image.open(work / "run" / decoded.receipt.file.path))
    assert np.array_equal(found, picture(work / "first"))
    assert decoded.receipt.measurement.denoise is None
    assert decoded.receipt.measurement.decode.seconds > 0
    assert failed.error.stage == "decode"


def test_keep_latents_of_a_whole_pipeline_is_refused_before_anything_is_loaded(work, tiny):
    with pytest.raises(UserError, match="called whole"):
        list(LocalEngine().execute([], spec(work, tiny("sd1"), keep_latents=True), Control()))


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
    assert common.load(hub.source(allowed), torch.float32).unet is not None
    with pytest.raises(OSError, match="safetensors"):
        common.load(replace(hub.source(allowed), allow_pickle=False), torch.float32)
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
        ("pixart", ("pixart", Size(256, 256), 16, "float16", 20, 4.5, "epsilon")),
        ("flux", ("flux", Size(1024, 1024), 16, "bfloat16", 28, 3.5, "flow")),
        ("sd1", ("generic", Size(128, 128), 8, "float16", 50, 7.5, "epsilon")),
        ("sd3", ("generic", Size(128, 128), 16, "bfloat16", 28, 7.0, "flow")),
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
        transformer={"patch_size": 2}, vae={"temperal_downsample": [False, True, True]},
    )  # fmt: skip
    model = configs.describe(
        "qwen", lambda path: hub.folders.json_of(folder / path) if (folder / path).exists() else None
    )
    assert (model.native, model.size_step, model.guidance) == (Size(1024, 1024), 16, 0.0)
    assert "true_cfg_scale" in fits.possible_extras(model)
    assert dict(fits.objections(replace(model, pipeline="HunyuanImagePipeline"), {"guidance": 3})) == {
        "guidance": "HunyuanImagePipeline takes no guidance scale; leave it out, or set "
        "extra.distilled_guidance_scale"
    }
    schnell = replace(model, family="flux", pipeline="FluxPipeline", embeds_guidance=False)
    assert "has no effect" in dict(fits.objections(schnell, {"guidance": 3}))["guidance"]


def test_the_source_says_what_the_classes_say():
    import inspect

    for name, family in catalogue.PIPELINE_FAMILY.items():
        call = inspect.signature(getattr(diffusers, name).__call__).parameters
        read = signatures.pipeline_call(name)
        assert [key for key in call if key not in ("self", "kwargs")] == list(read)
        assert all(call[key].default == value for key, value in read.items() if value is not signatures.COMPUTED)
        assert set(catalogue.FAMILIES[family].extra) <= set(read)
    for name in set(catalogue.SCHEDULERS.values()):
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


@pytest.mark.parametrize("name", ["sdxl", "flux"])
def test_a_lora_that_changes_texts_too_acts_on_both_halves(cli, manifest, work, tiny, name):
    from peft import LoraConfig, get_peft_model_state_dict

    torch.manual_seed(1)
    pipe = DiffusionPipeline.from_pretrained(tiny(name))
    pipe.set_progress_bar_config(disable=True)
    denoiser = "unet" if name == "sdxl" else "transformer"
    layers = {}
    for part, targets in ((denoiser, ["to_q", "to_v"]), ("text_encoder", ["q_proj", "v_proj"])):
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
        expected = call("a fox 7", num_inference_steps=2, width=64, height=64, generator=seed).images[0]
        found = np.asarray(Image.open(work / "run" / receipt.file.path))
        assert np.array_equal(found, np.asarray(expected)), receipt.task.loras
