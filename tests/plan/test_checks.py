"""What a model cannot do is said with its line, before anything is rendered."""

import importlib.util

import pytest

from batch.base.errors import ManifestError
from batch.plan import checks
from tests.helpers import grid, plan
from tests.render.direct import job

pytestmark = pytest.mark.usefixtures("one_thread")


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
        ("sdxl", "scheduler", "DPM++ 2M Karras", "write dpm++(use_karras_sigmas=true)\n"),
        ("sdxl", "scheduler", "Euler a", "write euler-a\n"),
        ("flux", "scheduler", "DPM++ 2M Karras", "flux does not take dpm++(use_karras_sigmas=true))"),
        ("flux", "scheduler", "Euler a", "write flow-euler ("),
        ("flux", "scheduler", "DPM++ 2M SDE Karras", "write dpm++(algorithm_type=sde-dpmsolver++) ("),
        ("flux", "scheduler", "LCM", "write flow-lcm ("),
        ("flux", "scheduler", "Default", "'Default' is another program's name; write default\n"),
        ("z_image", "scheduler", "DPM++ 2M", "z_image does not take dpm++)"),
        ("flux", "scheduler", "dpm++(use_karras_sigmas=true)", "gives no picture of a flow model"),
        ("flux", "scheduler", "dpm++-2s(use_exponential_sigmas=true)", "gives no picture of a flow model"),
        ("flux", "scheduler", "deis(use_beta_sigmas=true)", "gives no picture of a flow model"),
        ("flux", "scheduler", "unipc(use_karras_sigmas=true)", ""),
        ("flux", "scheduler", "flow-euler(use_karras_sigmas=true)", ""),
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


def test_a_setting_that_is_none_is_one_mistake_and_not_two(manifest, cli):
    outcome = cli("plan", manifest("grid:\n  model: demo\n  prompt: a\n  memory: [full, model_offload]\n"))
    assert (outcome.code, "did you mean 'model-offload'?" in outcome.err) == (2, True)
    assert "same picture" not in outcome.err


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("model: nope", "'nope' is not known"),
        ("size: 3840x2160", "it would render 672x384 and resample it; write 672x384"),
        ("size: 5376x3072", "demo cannot render 5376x3072"),
        ("memory: fast", "is no memory setting"),
        ("memory: 'vae_tiling(1000, 900)'", "multiples of 32"),
        ("memory: 'vae_tiling(256, 448)'", "gaps"),
        ("memory: 'vae_tiling(512)'", "takes tile and stride"),
        ("memory: tiled + tiled", "more than once"),
        ("scheduler: euler", "cannot follow demo"),
        ("scheduler: eular", "is unknown"),
        ("dtype: int8", "is unknown"),
        ("dtype: fp8_e4m3fn", "weights are kept in 8 bits by `memory: fp8_weights`"),
        ("vae: Automatic", "write default, which is the model's own"),
        ("extra.nope: 1", "takes no such argument"),
        ("lora: gone.safetensors", "there is no file"),
        ("memory: [full, tiled]", "give the same picture"),
    ],
)
def test_what_the_model_cannot_do_is_said(manifest, cli, extra, says):
    name = extra.split(":", maxsplit=1)[0]
    rest = "" if name == "model" else "  model: demo\n"
    path = manifest(f"grid:\n  prompt: a\n{rest}  {extra}\n")
    outcome = cli("plan", path)
    assert (outcome.code, says in outcome.err) == (2, True), outcome.err
    assert f"{path}:{3 if name == 'model' else 4}: {name}: " in outcome.err


def test_resize_allows_what_is_resampled_and_says_so(manifest, cli):
    outcome = cli("plan", manifest("resize: true\ngrid: {model: demo, prompt: a, size: 300x300}\n"))
    assert "300x300   rendered at 512x512, then resampled" in outcome.out


def test_two_models_one_with_wrong_size(manifest):
    with pytest.raises(ManifestError, match="demo cannot render 5376x3072"):
        plan(manifest("grid: {model: [demo-4k, demo], prompt: a, size: 5376x3072}\n"))


def test_of_a_setting_that_is_left_out_nothing_is_said(cli, manifest):
    text = "grid: {model: demo, prompt: a, guidance: [1, 3], memory: split_guidance}\n"
    assert "nothing to split at guidance 1" in cli("plan", manifest(text)).err
    planned = cli("plan", manifest(text + "exclude: [{guidance: 1}]\n"))
    assert planned.code == 0
    assert "nothing to split" not in planned.err


# What the catalogue says of a model


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({"model": "z-image-turbo", "negative_prompt": "blue"},
         "z-image-turbo is distilled and ignores a negative prompt; leave it out"),
        ({"model": "krea-2-turbo", "negative_prompt": "blue"}, "is distilled and ignores a negative prompt"),
        ({"model": "chroma1-flash", "negative_prompt": "blue"}, "is distilled and ignores a negative prompt"),
        ({"model": "flux-2-klein-4b", "negative_prompt": "blue"}, "Flux2KleinPipeline takes no negative prompt"),
        ({"model": "flux-2-klein-9b", "guidance": 4}, "trained without guidance, so it has no effect"),
        ({"model": "prx-512", "guidance": 0}, "takes no guidance below 1; write 1 for none"),
        ({"model": "hunyuan-image-2.1", "guidance": 3}, "takes no guidance scale; leave it out"),
        ({"model": "hunyuan-image-2.1", "extra.distilled_guidance_scale": 3}, "it counts with the distilled one"),
        ({"model": "qwen-image-2.1-turbo", "steps": 12}, "fix 8 steps, so 12 has no effect; leave it out"),
        ({"model": "flux-2-dev", "size": "1000x1010"},
         "must be multiples of 16 for flux-2-dev; write 992x1008"),
        ({"model": "cogview-4", "size": "1920x1080"}, "must be multiples of 32 for cogview-4; write 1920x1088"),
        ({"model": "ideogram-4", "steps": 20}, "48 steps by a schedule of its own; for 20 write a guidance"),
        ({"model": "ideogram-4", "extra.guidance_schedule": [[7, 3]]}, "a list of 48 numbers is wanted"),
        ({"model": "ideogram-4", "extra.guidance_schedule": [[7] * 48], "guidance": 3}, "only without guidance"),
        ({"model": "flux-1-kontext-dev", "extra.max_area": 4}, "the program sets it"),
        ({"model": "playground-2.5", "scheduler": "euler"}, "cannot follow playground-2.5 (edm prediction)"),
    ],
)  # fmt: skip
def test_what_has_no_effect_on_a_model_is_an_error(cli, manifest, axes, says):
    outcome = cli("plan", manifest(grid(**{"prompt": "a fox", **axes})))
    assert outcome.code == 2
    assert says in " ".join(outcome.err.split())
    assert "job.yaml:4: " in outcome.err
    assert "no effect at guidance" not in outcome.err  # said once


@pytest.mark.parametrize(
    "axes",
    [
        {"model": "z-image-turbo", "negative_prompt": "blue", "guidance": 3},  # unwise, and it acts
        {"model": "z-image", "negative_prompt": "blue"},
        {"model": "qwen-image-2.1-turbo", "steps": 8},
        {"model": "qwen-image-2.1-turbo", "steps": 2, "extra.sigmas": [[1.0, 0.5]]},
        {"model": "ideogram-4", "steps": 20, "guidance": 5},
        {"model": "ideogram-4", "steps": 2, "extra.guidance_schedule": [[7, 3]]},
        {"model": "hunyuan-image-2.1-distilled", "extra.distilled_guidance_scale": 3},
    ],
)
def test_what_has_an_effect_is_let_be(cli, manifest, axes, monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda _: True)  # as if every package were installed
    outcome = cli("plan", manifest(grid(**{"prompt": "a fox", **axes})))
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    ("model", "argument", "value", "says"),
    [
        ("flux-1-dev", "true_cfg_scale", "abc", "a number is wanted, not 'abc'"),
        ("flux-1-dev", "true_cfg_scale", None, "a number is wanted, not null"),
        ("flux-1-dev", "sigmas", None, ""),
        ("z-image", "cfg_truncation", "x", "a number is wanted, not 'x'"),
        ("z-image", "cfg_truncation", True, "a number is wanted, not True"),
        ("z-image", "cfg_normalization", [[1, 2]], "true or false or a number is wanted, not (1, 2)"),
        ("z-image", "cfg_normalization", [True, 0.5], ""),
        ("krea-2-raw", "max_sequence_length", -5, "a whole number above 0 is wanted, not -5"),
        ("chroma1-hd", "max_sequence_length", 100000, "ChromaPipeline takes 512 at most, not 100000"),
        ("qwen-image", "max_sequence_length", 0, "a whole number above 0 is wanted, not 0"),
        ("hidream-i1-full", "prompt_4", 7, "a text (in quotes) is wanted, not 7"),
        ("hidream-i1-full", "prompt_4", "7", ""),
        ("lumina-2", "cfg_trunc_ratio", "a", "a number is wanted, not 'a'"),
        ("lumina-2", "cfg_normalization", 0.5, "true or false is wanted, not 0.5"),
        ("auraflow-0.3", "sigmas", "no", "a list of numbers is wanted, not 'no'"),
        ("auraflow-0.3", "sigmas", [[1, 0.5]], ""),
        ("sdxl", "crops_coords_top_left", [[1]], "a list of 2 whole numbers is wanted, not (1,)"),
        ("sana-1.5-1.6b-1k", "complex_human_instruction", None, ""),
        ("sana-1.5-1.6b-1k", "complex_human_instruction", "be brief", "a list of texts is wanted"),
    ],
)  # fmt: skip
def test_an_extra_of_another_kind_is_said(cli, manifest, model, argument, value, says):
    beside = {"negative_prompt": "blue"} if argument == "true_cfg_scale" else {}
    path = manifest(grid(model=f"random:{model}", prompt="a fox", **beside, **{f"extra.{argument}": value}))
    outcome = cli("plan", path)
    assert (f": extra.{argument}: {says}" in outcome.err) == bool(says), outcome.err
    assert outcome.code == (2 if says else 0), outcome.err


def test_a_negative_prompt_of_a_style_is_told_and_no_mistake(cli, manifest):
    text = "styles: {oil: {prompt: 'oil {prompt}', negative_prompt: photo}}\n"
    axes = {"model": "z-image-turbo", "prompt": "a fox", "style": ["none", "oil"]}
    outcome = cli("plan", manifest(text + grid(**axes)))
    assert outcome.code == 0, outcome.err
    assert "a negative prompt has no effect at guidance 0: it counts above 0" in outcome.err
    refused = cli("plan", manifest(text + grid(**axes, negative_prompt="blue")))
    assert (refused.code, "ignores a negative prompt; leave it out" in refused.err) == (2, True)


@pytest.mark.parametrize("folder", [True, False])
def test_a_random_folder_needs_its_packages(cli, manifest, monkeypatch, tiny, folder):
    found = importlib.util.find_spec
    monkeypatch.setattr(checks, "find_spec", lambda name: None if name == "ftfy" else found(name))
    name = tiny("prx") if folder else "prx-1024"
    outcome = cli("plan", manifest(grid(prompt="a fox", model=f"random:{name}")))
    assert ("needs the package ftfy" in outcome.err, outcome.code) == (folder, 2 if folder else 0), outcome.err


def test_a_package_that_is_missing_is_said_with_the_model(cli, manifest, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(checks, "find_spec", lambda name: None if name == "sentencepiece" else found(name))
    outcome = cli("plan", manifest(grid(prompt="a fox", model="kolors")))
    assert outcome.code == 2
    assert "kolors needs the package sentencepiece; install it with: pip install sentencepiece" in outcome.err
