"""The catalogue of models: every entry against the real classes, and what contradicts a model."""

import importlib.util
import inspect
import re
from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from batch.catalogue import architectures, families, precision, signatures
from batch.catalogue.models import packaged
from batch.manifest import loras
from batch.plan import checks, scheduler_checks
from batch.render import assembly, schedulers
from tests.conftest import ROOT
from tests.helpers import grid, only_receipt, picture

pytestmark = pytest.mark.usefixtures("one_thread")


BUILDERS = {
    "SanaPipeline": "sana", "SanaSprintPipeline": "sana-sprint", "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusionPipeline": "sd1", "StableDiffusion3Pipeline": "sd3", "FluxPipeline": "flux",
    "QwenImagePipeline": "qwen_image", "ZImagePipeline": "z_image", "PixArtSigmaPipeline": "pixart",
    "FluxKontextPipeline": "flux-kontext", "Flux2KleinPipeline": "flux2-klein", "Krea2Pipeline": "krea2",
    "Ideogram4Pipeline": "ideogram4", "ErnieImagePipeline": "ernie_image", "ChromaPipeline": "chroma",
    "Lumina2Pipeline": "lumina2", "HiDreamImagePipeline": "hidream", "CogView4Pipeline": "cogview4",
    "OvisImagePipeline": "ovis_image", "PRXPipeline": "prx", "AuraFlowPipeline": "aura_flow",
}  # fmt: skip
"""The tiny pipeline that stands for a class."""

FROM_HUB = {name: model for name, model in packaged().items() if model.repo}
UNLIKE = {
    (model.pipeline, model.steps, model.guidance, model.flow_shift, model.embeds_guidance): name
    for name, model in FROM_HUB.items()
    if model.pipeline in BUILDERS and model.scheduler
}
"""Of models with the same defaults, one; where there is a tiny pipeline, and the scheduler is known."""


# Every entry


@pytest.mark.parametrize("name", packaged())
def test_an_entry_fits_the_real_classes(name, monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda _: True)  # as if every package were installed
    model = packaged()[name]
    for package in model.needs:
        pytest.importorskip(package)  # without it diffusers has a stand-in for the class
    kind = assembly.kind_of(model.pipeline)
    call, build = (inspect.signature(item).parameters for item in (kind.__call__, kind.__init__))
    assert "num_inference_steps" in call
    assert families.FAMILIES[model.family].guidance in call or not model.guidance
    assert set(precision.by_component(model)) <= set(build)
    assert {getattr(torch, dtype) for dtype in precision.by_component(model).values()}
    assert model.dtype in (model.dtypes or families.DTYPES)
    for low, value, high in (
        (*_ends(model.steps_range, model.steps),),
        (*_ends(model.guidance_range, model.guidance),),
    ):
        assert low <= value <= high
    assert all(side % model.size_step == 0 for side in model.native)
    assert not model.sizes() or model.native in model.sizes()
    there = replace(model, needs=())  # a package that is not installed is another mistake
    assert list(checks.objections(there, {"dtype": model.dtype, "steps": model.steps})) == []
    if model.guidance:
        assert list(checks.objections(there, {"guidance": model.guidance})) == []
    if model.scheduler:  # else its card does not say
        _scheduler_is_right(model)
    if model.repo:
        assert re.match(r"https://(huggingface\.co|github\.com)/\S+( \(.+\))?$", model.source)
    assert model.variant in ("", {"float16": "fp16", "bfloat16": "bf16"}.get(model.dtype))


def _ends(ends, value):
    return (ends[0], value, ends[1]) if ends else (value, value, value)


def _scheduler_is_right(model):
    made = _own_scheduler(model)
    settings = signatures.scheduler_settings(model.scheduler)
    assert ("flow_shift" in settings or "shift" in settings) or model.flow_shift is None
    assert scheduler_checks.follows(model, model.scheduler)
    made.set_timesteps(model.steps, **({"mu": 1.0} if model.dynamic_shift else {}))
    assert len(made.timesteps) >= model.steps


def _own_scheduler(model):
    """The entry's scheduler as its checkpoint configures it."""
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"} if model.prediction == "flow" else {}
    shift = {} if model.flow_shift is None else {"flow_shift": model.flow_shift, "shift": model.flow_shift}
    given = {**flow, **shift, "use_dynamic_shifting": model.dynamic_shift}
    kind = getattr(diffusers, model.scheduler)
    takes = signatures.scheduler_settings(model.scheduler)
    return kind(**{key: value for key, value in given.items() if key in takes})


@pytest.mark.parametrize("name", UNLIKE.values())
def test_the_defaults_render_with_the_real_pipeline(tiny, name):
    model = FROM_HUB[name]
    pipe = DiffusionPipeline.from_pretrained(tiny(BUILDERS[model.pipeline]))
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = _own_scheduler(model)
    call = inspect.signature(type(pipe).__call__).parameters
    given = {
        "prompt": "a fox", "num_inference_steps": model.steps, "width": 64, "height": 64,
        "generator": torch.Generator("cpu").manual_seed(1), "output_type": "latent",
    }  # fmt: skip
    # With no guidance at all some calls have a default of their own.
    own = call[families.FAMILIES[model.family].guidance].default is None
    if model.guidance or (families.FAMILIES[model.family].guidance == "guidance_scale" and not own):
        given[families.FAMILIES[model.family].guidance] = model.guidance
    if "use_resolution_binning" in call:
        given["use_resolution_binning"] = False
    if families.FAMILIES[model.family].guidance == "true_cfg_scale":
        given["negative_prompt"] = " "
    latents = pipe(**given).images
    assert bool(torch.isfinite(torch.as_tensor(latents)).all())
    assert schedulers.make(pipe.scheduler, None) is pipe.scheduler


def test_what_sana_needs_is_as_nvidia_says():
    for name, model in FROM_HUB.items():
        if not name.startswith("sana"):
            continue
        shift = None if "sprint" in name else 6.0 if name.endswith("4k") else 3.0
        bf16 = "BF16" in model.repo or "SANA1.5" in model.repo or "Sprint" in model.repo
        assert model.flow_shift == shift
        assert model.dtypes == (("bfloat16" if bf16 else "float16"), "float32")
        assert (model.steps, model.steps_range) == ((2, (1, 4)) if "sprint" in name else (20, (10, 50)))
        side = model.sample_size * 32
        assert side == {"512": 512, "1k": 1024, "2k": 2048, "4k": 4096}[re.search(r"512|\dk", name)[0]]
        kept = precision.by_component(model)
        half = {"transformer": model.dtype, "vae": "bfloat16", "text_encoder": "bfloat16"}
        assert kept == half


def test_the_page_is_the_catalogue():
    spec = importlib.util.spec_from_file_location("page", ROOT / "tools" / "make_models_page.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    for name, written in (("docs/models.md", made.page), ("README.md", made.readme)):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert written(text) == text, "run python tools/make_models_page.py"
    assert list(made.predicted()) == [
        name
        for name, model in packaged().items()
        if name in architectures.known() and families.FAMILIES[model.family].staged
    ], "run python tools/predict_models.py"


# What contradicts a model


def job(**axes):
    return grid(**{"prompt": "a fox", **axes})


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        (
            {"model": "sana-sprint-1.6b-1k", "steps": 20},
            "is made for 1 to 4 steps, 2 is right; 20 are slower and worse",
        ),
        ({"model": "sana-1.6b-4k", "steps": 2}, "2 leave noise in the picture"),
        ({"model": "sana-1.6b-4k", "steps": 90}, "take their time and better nothing"),
        ({"model": "z-image-turbo", "guidance": 5}, "distilled to do without guidance, 0 is right"),
        ({"model": "sdxl", "guidance": 70}, "is made for guidance 1 to 20, 5 is right"),
        ({"model": "sdxl", "size": "4096x4096"}, "16.0 times the pixels"),
        (
            {"model": "chroma1-hd", "size": "4096x4096"},
            "is made for 1024x1024; 4096x4096 has 16.0 times the pixels",
        ),
        ({"model": "sdxl", "size": "256x256"}, "as small as 256x256 are poor"),
    ],
)
def test_what_renders_but_contradicts_the_model_is_a_warning(cli, manifest, axes, says):
    outcome = cli("plan", manifest(job(**axes)))
    assert outcome.code == 0, outcome.err
    axis = list(axes)[1]
    assert f"job.yaml:4: {axis}: " in outcome.err
    assert says in " ".join(outcome.err.split())


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        (
            {"model": "sana-1.6b-4k", "dtype": "float16"},
            "gives broken pictures in float16; write bfloat16 or float32",
        ),
        (
            {"model": "sana-0.6b-1k", "dtype": "bfloat16"},
            "gives broken pictures in bfloat16; write float16 or float32",
        ),
        (
            {"model": "sana-0.6b-1k", "dtype": "float16(vae=float16)"},
            "vae overflows in float16, and the picture becomes black",
        ),
        ({"model": "sana-1.6b-1k", "size": "5376x3072"}, "it would render 1344x768 and resample it"),
        ({"model": "demo", "dtype": "int3"}, "int3 is unknown; possible are float32, bfloat16, float16"),
        ({"model": "demo", "dtype": "float32(vea=float32)"}, "has no component vea; possible are"),
        ({"model": "demo", "dtype": "float32(vae=fp16)"}, "fp16 is unknown"),
        ({"model": "demo", "dtype": "float32(vae)"}, "names components apart by their names"),
        ({"model": "sd-1.5", "dtype": "float16(vae=float32)"}, "is called whole and does not convert"),
    ],
)
def test_what_would_be_broken_is_an_error(cli, manifest, axes, says):
    outcome = cli("plan", manifest(job(**axes)))
    assert outcome.code == 2
    assert says in outcome.err
    assert "job.yaml:4: " in outcome.err


def test_what_is_excluded_is_held_against_no_model(cli, manifest):
    axes = {"model": ["demo", "sana-sprint-1.6b-1k"], "scheduler": ["default", "dpm++"], "size": "512x512"}
    text = "resize: true\n" + job(**axes)
    assert "cannot follow sana-sprint-1.6b-1k" in cli("plan", manifest(text)).err
    spared = cli("plan", manifest(text + "exclude: [{model: sana-sprint-1.6b-1k, scheduler: dpm++}]\n"))
    assert spared.code == 0, spared.err


def test_right_values_warn_of_nothing(cli, manifest):
    for name, model in packaged().items():
        if not all(
            importlib.util.find_spec(package) for package in (*model.needs, *families.FAMILIES[model.family].needs)
        ):
            continue
        text = job(model=name, steps=model.steps, size=str(model.native), dtype=model.dtype)
        outcome = cli("plan", manifest(text))
        said = [
            line for line in outcome.err.splitlines() if "are to be downloaded into" not in line
        ]  # a small disk
        assert (outcome.code, said) == (0, []), name
    assert cli("plan", manifest(job(model="random:sana-1.6b-4k", steps=1, dtype="float32"))).err == ""


# Components in dtypes of their own


@pytest.mark.parametrize("name", ["sana", "sdxl", "flux", "pixart", "sd3"])
def test_a_component_has_the_dtype_it_was_given(cli, manifest, work, tiny, name):
    size = {"sana": "512x512", "pixart": "256x256"}.get(name, "64x64")
    given = {"model": "demo" if name == "sana" else str(tiny(name)), "size": size, "steps": 2, "seed": 7}
    for index, dtype in enumerate(("bfloat16(vae = float32)", "bfloat16")):
        path = manifest(job(**given, dtype=dtype), f"{index}.yaml")
        outcome = cli("run", path, "--out", f"run{index}", "--quiet")
        assert outcome.code == 0, outcome.err
    mixed, plain = picture(work / "run0"), picture(work / "run1")
    assert only_receipt(work / "run0").task.dtype == "bfloat16(vae=float32)"  # one spelling, so one id
    difference = np.abs(mixed.astype(int) - plain.astype(int))
    assert 0 < difference.mean() < 2  # a half's rounding in the autoencoder, no more


# LoRAs as a mapping


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"file": "a.safetensors"}, ("a.safetensors", 1.0)),
        ({"file": "a.safetensors", "strength": -0.5}, ("a.safetensors", -0.5)),
        ({"repo": "me/x", "weight": "sub/a.safetensors", "scale": 0.8}, ("me/x/sub/a.safetensors", 0.8)),
        ({"repo": "me/x", "weight": "a.safetensors", "revision": "v2"}, ("me/x/a.safetensors@v2", 1.0)),
        ({"repo": "me/x"}, ("me/x", 1.0)),
        ("me/x(strength=0.3)", ("me/x", 0.3)),
    ],
)
def test_a_lora_as_a_mapping(value, expected):
    assert loras.lora(value) == (expected,)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"fiel": "a"}, "fiel is unknown in a LoRA"),
        ({}, "a LoRA is one of"),
        ({"file": "a", "repo": "b/c"}, "a LoRA is one of"),
        ({"file": "a", "revision": "v"}, "belong to a repo"),
        ({"file": "a", "scale": 1, "strength": 1}, "mean the same"),
        ({"file": "a", "scale": "much"}, "is not a number"),
        ({"file": "a", "scale": float("inf")}, "is not a number"),
        ("a.safetensors(scale=.nan)", "is not a LoRA scale"),
    ],
)
def test_mistakes_in_such_a_mapping(cli, manifest, value, says):
    outcome = cli("plan", manifest(job(model="demo", lora=["none", value])))
    assert outcome.code == 2
    assert says in outcome.err
