"""SANA-Sprint and perturbed-attention guidance against direct calls of diffusers' pipelines, and their rules."""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from accelerate import cpu_offload_with_hook
from diffusers import DiffusionPipeline, SanaPAGPipeline, SanaPipeline
from diffusers.models.attention_processor import SanaLinearAttnProcessor2_0
from peft import LoraConfig, get_peft_model_state_dict

from batch.base.errors import ModelError
from batch.catalogue import pag
from batch.hub import models as hub
from batch.plan import batching, checks, scheduler_checks
from batch.plan.estimate import cost
from batch.records.tasks import Task
from batch.render import memory, pipelines, session
from batch.render.failures import StageFailed
from tests.helpers import picture, receipts_of
from tests.render.direct import job as plain_job

pytestmark = pytest.mark.usefixtures("one_thread")

HALVES = {"transformer": torch.float16, "default": torch.bfloat16}


@cache
def loaded(folder: Path, kind: str = "", dtype: str = "float32", layers: tuple[str, ...] = ()):
    """The pipeline as a user loads it; another class on the same files where ``kind`` names one."""
    own = HALVES if dtype == "float16" else torch.float32
    if kind:
        named = {"pag_applied_layers": list(layers)} if layers else {}
        pipe = SanaPAGPipeline.from_pretrained(folder, dtype=own, **named)
    else:
        pipe = DiffusionPipeline.from_pretrained(folder, dtype=own)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def direct(pipe, *, tile=None, seed=7, **arguments):
    pipe.vae.disable_tiling()
    if tile:
        pipe.vae.enable_tiling(tile[0], tile[0], tile[1], tile[1])
    arguments = {"prompt": "a fox 7", "num_inference_steps": 2, **arguments}
    made = pipe(generator=torch.Generator("cpu").manual_seed(seed), use_resolution_binning=False, **arguments)
    return np.asarray(made.images[0])


def job(folder, run="", **settings):
    return plain_job(folder, **settings) + f"run: {{min_free_disk: 1MB, compile: off{run}}}\n"


# SANA-Sprint

WIDE = {"size": "1344x768"}, {"width": 1344, "height": 768}

SPRINT = [
    ({}, {}),
    ({"steps": 1}, {"num_inference_steps": 1, "intermediate_timesteps": None}),
    ({"steps": 4, "guidance": 2},
     {"num_inference_steps": 4, "intermediate_timesteps": None, "guidance_scale": 2.0}),
    ({"extra.intermediate_timesteps": 1.1}, {"intermediate_timesteps": 1.1}),
    ({"extra.intermediate_timesteps": None}, {"intermediate_timesteps": None}),
    ({"extra.max_timesteps": 1.5, "extra.max_sequence_length": 40},
     {"max_timesteps": 1.5, "max_sequence_length": 40}),
    (WIDE[0] | {"memory": "vae_tiling(512, 448)"}, WIDE[1] | {"tile": (512, 448)}),
    ({"dtype": "float16"}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "arguments"), SPRINT)
def test_sprint_is_bit_identical_to_its_call(cli, manifest, work, tiny, settings, arguments):
    folder = tiny("sana-sprint")
    settings = {"size": "1024x1024"} | settings
    outcome = cli("run", manifest(job(folder, **settings)), "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.out + outcome.err
    (receipt,) = receipts_of(work / "run")
    expected = direct(loaded(folder, dtype=settings.get("dtype", "float32")), **arguments)
    assert np.array_equal(picture(work / "run", receipt), expected)
    assert expected.std() > 5
    assert receipt.measurement.denoise is not None
    assert receipt.scheduler["class"] == "SCMScheduler"


def test_sprint_takes_timesteps_which_its_own_call_cannot(cli, manifest, work, tiny):
    folder, times = tiny("sana-sprint"), [1.5, 1.2, 0.7, 0]
    pipe = loaded(folder)
    arguments = {
        "timesteps": times,
        "max_timesteps": None,
        "intermediate_timesteps": None,
        "num_inference_steps": 3,
    }
    with pytest.raises(TypeError, match="num_inference_steps"):
        direct(pipe, **arguments)
    outcome = cli("run", manifest(job(folder, steps=3, **{"extra.timesteps": [times]})), "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.err
    own = pipe.scheduler.set_timesteps
    pipe.scheduler.set_timesteps = partial(own, 3)
    expected = direct(pipe, **arguments)
    del pipe.scheduler.set_timesteps
    assert np.array_equal(picture(work / "run", *receipts_of(work / "run")), expected)


def test_sprint_in_a_batch_and_its_steps_side_by_side(cli, manifest, work, tiny):
    folder = tiny("sana-sprint")
    path = manifest(job(folder, steps=[3, 2], seed=[1, 2, 3]))
    assert cli("run", path, "--out", "run", "--set", "run.batch=3", "--quiet").code == 0
    found = receipts_of(work / "run")
    assert [item.batch for item in found] == [3] * 6
    for receipt in found:
        steps = receipt.task.steps
        expected = direct(
            loaded(folder), seed=receipt.task.seed, num_inference_steps=steps,
            intermediate_timesteps=1.3 if steps == 2 else None,
        )  # fmt: skip
        assert np.abs(picture(work / "run", receipt).astype(int) - expected.astype(int)).max() <= 1


def test_what_is_known_of_sprint(work, tiny):
    model = hub.find_model(str(tiny("sana-sprint")), work, {}, online=False)
    assert (model.family, model.prediction, model.steps, model.guidance) == ("sana_sprint", "trigflow", 2, 4.5)
    assert (model.native, len(model.sizes())) == ((1024, 1024), 33)
    assert scheduler_checks.possible(model) == ["default", "scm"]
    packaged = hub.find_model("random:sana-sprint-1.6b-1k", work, {}, online=False)
    assert model.steps_range == (1, 4)  # random weights have none
    assert replace(model, name="", revision="", folder="", variant="", steps_range=None) == replace(
        packaged,
        name="",
        revision="",
        package="",
        about="",
        architecture="",
        random=False,
        weights_gib=None,
        source="",
    )
    folder = work / "small"
    (folder / "transformer").mkdir(parents=True)
    (folder / "model_index.json").write_text('{"_class_name": "SanaSprintPipeline", "transformer": ["a", "b"]}')
    (folder / "transformer" / "config.json").write_text('{"sample_size": 16}')
    with pytest.raises(ModelError, match="for 512x512"):
        hub.find_model(str(folder), work, {}, online=False)


@pytest.mark.parametrize(
    ("axis", "value", "says"),
    [
        ("extra.intermediate_timesteps", 1.2, "it counts with exactly 2 steps, not with 3"),
        ("extra.timesteps", [[1.5, 0]], "a list of 4 numbers is wanted for 3 steps, the last one 0"),
        ("extra.max_timesteps", 100, "a number above 0 and up to 1.5708"),
        ("extra.max_timesteps", float("nan"), "a number above 0 and up to 1.5708"),
        ("extra.max_timesteps", None, "a number above 0 and up to 1.5708"),
        ("extra.max_timesteps", -1, "a number above 0 and up to 1.5708"),
        ("negative_prompt", "blue", "takes no negative prompt"),
        ("extra.eta", 0.5, "its scheduler takes no eta"),
        ("extra.pag_scale", 3, "takes no such argument"),
        ("size", "512x512", "would render 1024x1024"),
        ("scheduler", "dpm++", "(trigflow prediction); possible are default, scm"),
        ("scheduler", "scm(sigma_data=half)", "of scm is a number above 0 (by default 0.5), not 'half'"),
    ],
)  # fmt: skip
def test_what_sprint_cannot_do_is_said_with_its_line(cli, manifest, tiny, axis, value, says):
    path = manifest(job(tiny("sana-sprint"), steps=3, **{axis: value}))
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if f"  {axis}:" in text)
    outcome = cli("plan", path)
    assert outcome.code == 2
    assert f"{path}:{line}: {axis}: " in outcome.err
    assert says in outcome.err


def test_more_steps_than_sprint_takes_are_warned_about(cli, manifest, tiny):
    planned = cli("plan", manifest(job(tiny("sana-sprint"), steps=20)))
    assert planned.code == 0
    assert "is made for 1 to 4 steps, 2 is right; 20 are slower and worse" in planned.err


def test_arguments_beside_timesteps_have_no_effect(cli, manifest, tiny):
    extra = {"extra.timesteps": [[1.5, 1, 0]], "extra.max_timesteps": 1.5}
    outcome = cli("plan", manifest(job(tiny("sana-sprint"), **extra)))
    assert (outcome.code, "extra.max_timesteps: it has no effect beside extra.timesteps" in outcome.err) == (
        2,
        True,
    )


# Perturbed-attention guidance

BLOCK = "transformer_blocks.1"

PAG = [
    ({}, {}),
    ({"guidance": 1}, {"guidance_scale": 1.0}),
    ({"negative_prompt": "blue"}, {"negative_prompt": "blue"}),
    ({"extra.pag_adaptive_scale": 0.002}, {"pag_adaptive_scale": 0.002}),
    ({"size": "736x352", "memory": "vae_tiling(256, 192)"}, {"width": 736, "height": 352, "tile": (256, 192)}),
    ({"dtype": "float16"}, {}),
    ({"dtype": "float16", "guidance": 1}, {"guidance_scale": 1.0}),
    ({"scheduler": "default(flow_shift=6)"}, {"shift": 6.0}),
]


@pytest.mark.parametrize(("settings", "arguments"), PAG)
def test_pag_is_bit_identical_to_its_pipeline_and_leaves_nothing(cli, manifest, work, tiny, settings, arguments):
    folder = tiny("sana")
    size = {"size": "512x512"} if "size" not in settings else {}
    path = manifest(job(folder, **{"extra.pag_scale": [0, 2, 0.0, 3]}, **size, **settings))
    outcome = cli("run", path, "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.out + outcome.err
    found = receipts_of(work / "run")
    assert sorted(pag.scale(item.task.extra) for item in found) == [0, 2, 3]
    dtype, arguments = settings.get("dtype", "float32"), {"width": 512, "height": 512} | arguments
    shift = arguments.pop("shift", 3.0)
    for receipt in found:
        scale = pag.scale(receipt.task.extra)
        pipe = loaded(folder, "pag", dtype, (BLOCK,)) if scale else loaded(folder, dtype=dtype)
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, flow_shift=shift)
        given = {name: value for name, value in arguments.items() if scale or name != "pag_adaptive_scale"}
        expected = direct(pipe, **given, **({"pag_scale": scale} if scale else {}))
        assert np.array_equal(picture(work / "run", receipt), expected), scale
        assert expected.std() > 5
    assert len({item.file.sha256 for item in found}) == 3


def test_layers_by_name_and_a_model_that_is_a_pag_pipeline(cli, manifest, work, tiny):
    folder = tiny("sana-pag")
    layers = [["transformer_blocks.0", "transformer_blocks.2"], "transformer_blocks.(1|2)"]
    path = manifest(job(folder, **{"extra.pag_applied_layers": layers}))
    assert cli("run", path, "--out", "run", "--quiet").code == 0
    plain = manifest(job(folder, seed=[7], **{"extra.pag_scale": [0]}), "plain.yaml")
    own = manifest(job(folder, guidance=3), "own.yaml")
    assert cli("run", plain, "--out", "plain", "--quiet").code == 0
    assert cli("run", own, "--out", "own", "--quiet").code == 0
    for receipt in receipts_of(work / "run"):
        asked = dict(receipt.task.extra)["pag_applied_layers"]
        names = (asked,) if isinstance(asked, str) else asked
        expected = direct(loaded(folder, "pag", layers=tuple(names)), width=512, height=512)
        assert np.array_equal(picture(work / "run", receipt), expected)
    assert np.array_equal(
        picture(work / "plain", *receipts_of(work / "plain")), direct(loaded(tiny("sana")), width=512, height=512)
    )
    (receipt,) = receipts_of(work / "own")
    assert receipt.task.extra == (("pag_scale", 3.0),)
    assert np.array_equal(
        picture(work / "own", receipt), direct(loaded(folder), width=512, height=512, guidance_scale=3.0)
    )


def test_pag_in_a_batch(cli, manifest, work, tiny):
    path = manifest(job(tiny("sana"), ", batch: 2", seed=[1, 2], negative_prompt="blue", **{"extra.pag_scale": 2}))
    assert cli("run", path, "--out", "run", "--quiet").code == 0
    for receipt in receipts_of(work / "run"):
        assert receipt.batch == 2
        pipe = loaded(tiny("sana"), "pag", layers=(BLOCK,))
        expected = direct(pipe, seed=receipt.task.seed, negative_prompt="blue", pag_scale=2, width=512, height=512)
        assert np.abs(picture(work / "run", receipt).astype(int) - expected.astype(int)).max() <= 1


def test_a_call_that_raises_leaves_no_pag_behind(work, tiny):
    source = hub.source(hub.find_model(str(tiny("sana")), work, {}, online=False))
    made = session.DiffusersSession(source, "float32", "cpu")
    task = Task(
        id="1" * 16, model=source.name, dtype="float32", prompt="a", seed=1, width=512, height=512,
        rendered_width=512, rendered_height=512, steps=2, guidance=1.0,
    )  # fmt: skip
    embeds = torch.zeros(1, 300, 16), torch.ones(1, 300, dtype=torch.int64)
    names = ("prompt_embeds", "prompt_attention_mask")
    texts = [[safetensors.torch.save(dict(zip(names, embeds, strict=True)))]]
    made.prepare("images", task)
    before = made.denoise([task], texts, (), lambda *_: None).value

    def give_up(_stage, step, _steps):
        if step:
            raise RuntimeError("no more")

    guided = replace(task, extra=(("pag_scale", 2.0),))
    with pytest.raises(StageFailed, match="no more"):
        made.denoise([guided], texts, (), give_up)
    assert type(made.pipe).__name__ == "SanaPipeline"
    processors = made.pipe.transformer.attn_processors
    assert {type(item) for name, item in processors.items() if ".attn1." in name} == {SanaLinearAttnProcessor2_0}
    assert torch.equal(made.denoise([task], texts, (), lambda *_: None).value, before)
    made.close()


@pytest.mark.parametrize(
    ("settings", "axis", "says"),
    [
        ({"extra.pag_adaptive_scale": 0.1}, "extra.pag_adaptive_scale", "no effect without extra.pag_scale"),
        ({"extra.pag_applied_layers": "mid"}, "extra.pag_applied_layers", "no effect without extra.pag_scale"),
        ({"extra.pag_scale": "much"}, "extra.pag_scale", "a number is wanted"),
        ({"extra.pag_scale": -1}, "extra.pag_scale", "a number is wanted"),
        (
            {"extra.pag_scale": 2, "extra.pag_applied_layers": "transformer_blocks.3"}, "extra.pag_applied_layers",
            "there is no layer transformer_blocks.3",
        ),
        (
            {"extra.pag_scale": 2, "extra.pag_applied_layers": "transformer_blocks.("}, "extra.pag_applied_layers",
            "is no regular expression",
        ),
        ({"extra.pag_scale": 2, "extra.pag_applied_layers": 8}, "extra.pag_applied_layers", "the name of a layer"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_pag_is_said_with_its_line(cli, manifest, tiny, settings, axis, says):
    path = manifest(job(tiny("sana"), **settings))
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if f"  {axis}:" in text)
    outcome = cli("plan", path)
    assert outcome.code == 2
    assert f"{path}:{line}: {axis}: " in outcome.err
    assert says in outcome.err


def test_pag_by_the_number_of_blocks_or_the_attention(work):
    known = hub.find_model("random:sana-1.6b-1k", work, {}, online=False)
    ask = {"extra.pag_scale": 2, "extra.pag_applied_layers": "transformer_blocks.20"}
    assert (
        "transformer_blocks.0 to transformer_blocks.19"
        in dict(checks.objections(known, ask))["extra.pag_applied_layers"]
    )
    assert not dict(checks.objections(known, ask | {"extra.pag_applied_layers": ("transformer_blocks.8",)}))
    normed = hub.find_model("random:sana-1.5-1.6b-1k", work, {}, online=False)
    assert "spoilt" in dict(checks.objections(normed, {"extra.pag_scale": 2}))["extra.pag_scale"]
    assert not dict(checks.objections(normed, {"extra.pag_scale": 0}))
    assert (pag.default_layer(20), pag.default_layer(2)) == ("transformer_blocks.8", "transformer_blocks.1")


def test_pag_costs_a_third_image_in_every_call():
    task = Task(
        model="sana-1.6b-1k", dtype="bfloat16", prompt="", seed=0, width=1024, height=1024, rendered_width=1024,
        rendered_height=1024, steps=10, guidance=4.5,
    )  # fmt: skip
    guided = replace(task, extra=(("pag_scale", 2),))
    assert cost(guided) * 2 == cost(task) * 3
    assert cost(replace(guided, guidance=1.0)) == cost(task)
    around = batching.Surroundings(card=True, memory=int(5.4 * 2**30), batch="auto")
    models = {"sana-1.6b-1k": hub.find_model("random:sana-1.6b-1k", Path(), {}, online=False)}
    fewer = [batching.choose(tasks, models, around, {}) for tasks in ([task], [task, guided])]
    assert [choice.numerics.batch for (choice,) in (found.values() for found in fewer)] == [4, 2]


def test_a_pag_pipeline_loads_loras_too(work, tiny):
    model = hub.find_model(str(tiny("sana-pag")), work, {}, online=False)
    assert not dict(checks.objections(model, {"lora": (("a.safetensors", 1.0),)}))
    pipe = pipelines.load_without_texts(hub.source(model), "float32")
    assert type(pipe).__name__ == "SanaPipeline"
    assert pipe.pag_applied_layers == ["transformer_blocks.0"]


def test_pag_with_a_lora_and_offloading(cli, manifest, work, tiny, monkeypatch):
    """Hooks and adapters stay on the components, whatever class the pipeline has for the call."""
    torch.manual_seed(3)
    lora = SanaPipeline.from_pretrained(tiny("sana"))
    config = LoraConfig(r=4, init_lora_weights=False, target_modules=["to_q", "to_v"])
    lora.transformer.add_adapter(config)
    SanaPipeline.save_lora_weights(work / "lora", get_peft_model_state_dict(lora.transformer))
    placed = []

    def place(pipe, _arguments, device):
        for component in (pipe.transformer, pipe.vae):
            cpu_offload_with_hook(component, torch.device(device))
            placed.append(component)

    monkeypatch.setitem(memory.STEPS, "model_cpu_offload", place)
    file = "lora/pytorch_lora_weights.safetensors"
    settings = {"memory": "model_cpu_offload", "lora": ["none", file], "extra.pag_scale": [0, 2]}
    outcome = cli("run", manifest(job(tiny("sana"), **settings)), "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.out + outcome.err
    assert placed
    for receipt in receipts_of(work / "run"):
        pipe = SanaPipeline.from_pretrained(tiny("sana"))
        if receipt.task.loras:
            pipe.load_lora_weights(str(work / file))
        scale = pag.scale(receipt.task.extra)
        if scale:
            pipe = SanaPAGPipeline(**pipe.components, pag_applied_layers=[BLOCK])
        pipe.set_progress_bar_config(disable=True)
        expected = direct(pipe, width=512, height=512, **({"pag_scale": scale} if scale else {}))
        assert np.array_equal(picture(work / "run", receipt), expected), (scale, receipt.task.loras)
    assert len({item.file.sha256 for item in receipts_of(work / "run")}) == 4
