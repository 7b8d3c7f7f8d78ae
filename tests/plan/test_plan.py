"""Grid, identity, order, names and sizes."""

import json
from dataclasses import fields, replace
from itertools import count

import diffusers
import numpy as np
import pytest
from diffusers.image_processor import PixArtImageProcessor
from safetensors.numpy import save_file

from batch.base.errors import ManifestError
from batch.catalogue import families
from batch.catalogue.models import known_models
from batch.hub.models import find_model
from batch.manifest.axes import AXES
from batch.manifest.read import read_manifest
from batch.manifest.values import Size
from batch.memory import profiles
from batch.plan import names
from batch.plan.build import build_plan
from batch.plan.identity import FIELD_KINDS, Kind, identify
from batch.plan.pins import Pins
from batch.records.tasks import Lora, Task
from batch.run.lookup import lookup


def plan(path, *overrides, pins=None):
    pins = pins or Pins()
    return build_plan(read_manifest(path, overrides), lookup(str(path.parent), pins), pins)


TASK = Task(
    model="m", revision="r", dtype="float32", prompt="a fox", seed=1, width=512, height=512,
    rendered_width=512, rendered_height=512, steps=8, guidance=4.5,
)  # fmt: skip


def test_every_field_of_a_task_is_declared():
    assert set(FIELD_KINDS) == {item.name for item in fields(Task)}


def test_ids_stay_what_they_were():
    # Changing these means that every image people have made is rendered again.
    assert identify(TASK).id == "cb43fa214b29e3c5"
    assert identify(replace(TASK, seed=2)).id != identify(TASK).id


@pytest.mark.parametrize("name", [name for name, kind in FIELD_KINDS.items() if kind is Kind.IDENTITY])
def test_identity_fields_change_the_id(name):
    lora = (Lora(path="x", sha256="aa"),)
    values = {
        "loras": lora,
        "extra": (("eta", 1),),
        "format_options": (("quality", 90),),
        "scheduler": profiles.tiling(64, 32),
    }
    old = getattr(TASK, name)
    new = values.get(name, old + 1 if isinstance(old, int | float) else f"{old}x")
    assert identify(replace(TASK, **{name: new})).id != identify(TASK).id
    assert identify(replace(TASK, **{name: new})).picture_id != identify(TASK).picture_id


def test_tiling_changes_the_id_but_not_the_picture_id():
    tiled = identify(replace(TASK, pixel_steps=(profiles.tiling(256, 128),)))
    assert tiled.id != identify(TASK).id
    assert tiled.picture_id == identify(TASK).picture_id


def test_where_a_lora_lies_does_not_count():
    here, there = (identify(replace(TASK, loras=(Lora(path=path, sha256="aa"),))) for path in ("a", "b"))
    assert here.id == there.id


def test_loras_whose_content_is_not_known_are_told_apart():
    one, other = (identify(replace(TASK, loras=(Lora(path=path, sha256=None),))) for path in ("a/b", "a/c"))
    assert one.id != other.id
    # The id that a plan had before their hash could be None.
    assert one.id == identify(replace(TASK, loras=(Lora(path="", sha256="not known: a/b"),))).id


def test_arithmetic_exclude_and_duplicates(manifest, cli):
    path = manifest(
        "grid:\n  model: demo\n  prompt: [a, b, a]\n  seed: 0..3\n  size: [512x512, 672x384]\n"
        "exclude: [{size: 672x384, seed: [2, 3]}]\n"
    )
    made = plan(path)
    assert (made.cells, made.excluded, made.duplicates, len(made.tasks)) == (24, 6, 6, 12)
    shown = cli("plan", path).out
    assert "3 prompts × 4 seeds × 2 sizes = 24 − 6 excluded − 6 duplicates = 12 images" in shown
    assert cli("plan", path, "--json").json()["images"] == 12


def test_a_plan_shows_its_first_prompts_as_they_are_understood(manifest, cli):
    comma = "a blue heart on the left and a red star on the right, on a yellow background"
    shown = cli("plan", manifest(f"grid: {{model: demo, prompt: [{comma}]}}\n")).out
    assert (
        "  prompt: a blue heart on the left and a red star on the right\n  prompt: on a yellow background\n"
        in shown
    )
    many = cli("plan", manifest(f"grid: {{model: demo, prompt: [{', '.join('abcdefg')}, {'x' * 300}]}}\n")).out
    assert "  prompt: d\n  … and 4 more prompts\n" in many
    long = cli("plan", manifest(f"grid: {{model: demo, prompt: {'x' * 300}}}\n")).out
    assert f"  prompt: {'x' * 98} …\n" in long


def test_a_setting_that_is_none_is_one_mistake_and_not_two(manifest, cli):
    outcome = cli("plan", manifest("grid:\n  model: demo\n  prompt: a\n  memory: [full, model_offload]\n"))
    assert (outcome.code, "did you mean 'model-offload'?" in outcome.err) == (2, True)
    assert "same picture" not in outcome.err


def test_an_exclude_without_effect_is_a_warning(manifest, cli):
    path = manifest("grid: {model: demo, prompt: a, seed: 0..1}\nexclude: [{seed: 7}]\n")
    assert "leaves nothing out" in cli("plan", path).err


def test_heavier_first_and_every_prompt_once_before_any_twice(manifest):
    made = plan(manifest("grid: {model: demo, prompt: [a, b, c], seed: [5, 1], size: [672x384, 512x512]}\n"))
    order = [(task.size, task.seed, task.prompt) for task in made.tasks]
    assert order[:6] == [("512x512", seed, prompt) for seed in (5, 1) for prompt in "abc"]


def test_reordering_adding_and_renaming_keep_the_ids(manifest):
    first = {task.id for task in plan(manifest("grid: {model: demo, prompt: [a, b], seed: 0..1}\n")).tasks}
    other = plan(manifest("output: {name: x}\ngrid: {seed: [1, 0], prompt: [new, b, a], steps: 8, model: demo}\n"))
    assert first < {task.id for task in other.tasks}
    assert len(other.tasks) == 6


def test_random_seeds_are_pinned(manifest):
    path = manifest("grid: {model: demo, prompt: a, seed: {random: 3}}\n")
    first = plan(path)
    assert first.new_draws
    again = plan(path, pins=first.pins)
    assert [task.id for task in again.tasks] == [task.id for task in first.tasks]
    assert not again.new_draws
    more = plan(path, "seed={random: 5}", pins=first.pins)
    assert {task.seed for task in first.tasks} < {task.seed for task in more.tasks}


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


def test_auto_tiling_is_a_function_of_the_size():
    assert profiles.resolve("auto", Size(1024, 1024)) == ()
    assert profiles.resolve("auto", Size(5376, 3072)) == profiles.resolve("tiled", Size(5376, 3072))
    assert profiles.pixel_steps(profiles.resolve("tiled", Size(512, 512)), Size(512, 512)) == ()


def test_bins_and_schedulers_are_those_of_diffusers():
    from diffusers.pipelines.pixart_alpha import pipeline_pixart_alpha as alpha
    from diffusers.pipelines.pixart_alpha import pipeline_pixart_sigma as sigma
    from diffusers.pipelines.sana import pipeline_sana as sana

    tables = {
        16: alpha.ASPECT_RATIO_512_BIN,
        32: alpha.ASPECT_RATIO_1024_BIN,
        64: sigma.ASPECT_RATIO_2048_BIN,
        128: sana.ASPECT_RATIO_4096_BIN,
    }
    models = {model.sample_size: model for model in known_models().values() if model.package}
    for sample, table in tables.items():
        model = models[sample]
        assert len(model.sizes()) >= len(table) - 2
        for width, height in [*model.sizes(), (3840, 2160), (1000, 1000), (500, 3000)]:
            found = PixArtImageProcessor.classify_height_width_bin(height, width, ratios=table)
            assert model.rendered(Size(width, height)) == (found[1], found[0])
    assert all(hasattr(diffusers, name) for name in families.SCHEDULERS.values())


def test_extra_arguments_are_those_of_the_pipeline():
    import inspect

    call = inspect.signature(diffusers.SanaPipeline.__call__).parameters
    guided = inspect.signature(diffusers.SanaPAGPipeline.__call__).parameters
    made = inspect.signature(diffusers.SanaPAGPipeline.__init__).parameters
    for name, stage in families.FAMILIES["sana"].extra.items():
        assert name in ({**guided, **made} if stage == "pag" else call)


def test_memory_steps_are_those_that_render_carries_out():
    from batch.memory import steps
    from batch.render.memory import ELSEWHERE, STEPS

    assert set(steps.STEPS) == set(STEPS) | ELSEWHERE
    assert not ELSEWHERE & set(STEPS)


def test_the_overnight_model_renders_its_size_natively(work):
    model = find_model("sana-1.6b-4k", work, {}, online=False)
    assert model.rendered(Size(5376, 3072)) == (5376, 3072)
    assert model.revision == ""


PROMPTS = [
    "con", "a/b\\c:d*e?\"<>|", "ünïcødé 狐 🦊", "x" * 5000, "a.", " . ", "LPT1.txt", "A fox", "a FOX",
    "\t\n", "..",
]  # fmt: skip


def test_names_are_safe_and_unique():
    number = count()
    tasks = [identify(replace(TASK, prompt=prompt, seed=next(number))) for prompt in PROMPTS]
    named = names.assign(tasks, "{prompt}")
    assert len({task.name.casefold() for task in named}) == len(tasks)
    for task in named:
        assert len(task.name.encode()) < 200
        assert not set(task.name) & set('<>:"/\\|?*\n\t')
        assert not task.name.startswith(".")


def test_names_that_clash_get_the_full_id():
    twins = [replace(TASK, id="aaaaaaaa11111111", prompt="A"), replace(TASK, id="aaaaaaaa22222222", prompt="a")]
    assigned = [task.name for task in names.assign(twins, "{prompt}")]
    assert assigned == ["A-aaaaaaaa11111111", "a-aaaaaaaa22222222"]


def test_names_tell_strengths_apart_below_and_above_nought():
    style, both = Lora(path="s.safetensors", sha256="aa", scale=-0.8), ("0.8", "-0.8")
    tasks = [identify(replace(TASK, loras=(replace(style, scale=float(scale)),))) for scale in both]
    named = [task.name.rpartition("-")[0] for task in names.assign(tasks, "{lora}")]
    assert named == ["s-0.8", "s=-0.8"]


def test_an_extra_argument_that_no_grid_sets_is_told(manifest):
    text = "grid: {model: demo, prompt: a, extra.pag_scale: [0, 2]}\n"
    planned = plan(manifest(text + "output: {name: '{extra.pag_scale}-{extra.typo}'}\n"))
    assert [task.name.rpartition("-")[0] for task in planned.tasks] == ["2-default", "0-default"]
    assert ["extra.typo is set nowhere" in note for note in planned.warnings] == [True]


def test_a_component_in_the_dtype_of_all_is_no_other_picture(manifest):
    plain, named = (
        plan(manifest(f"grid: {{model: demo, prompt: a, dtype: {dtype}}}\n")).tasks[0]
        for dtype in ("float32", "float32(vae=float32)")
    )
    assert plain.id == named.id


def test_a_template_may_make_folders_but_not_leave_them():
    (task,) = names.assign([identify(replace(TASK, prompt="../../x"))], "{prompt}/{seed}/../{size}")
    assert task.name == f"x/1/512x512-{task.id[:8]}"


def test_two_models_one_with_wrong_size(manifest):
    with pytest.raises(ManifestError, match="demo cannot render 5376x3072"):
        plan(manifest("grid: {model: [demo-4k, demo], prompt: a, size: 5376x3072}\n"))


def test_of_a_setting_that_is_left_out_nothing_is_said(cli, manifest):
    text = "grid: {model: demo, prompt: a, guidance: [1, 3], memory: split_guidance}\n"
    assert "nothing to split at guidance 1" in cli("plan", manifest(text)).err
    planned = cli("plan", manifest(text + "exclude: [{guidance: 1}]\n"))
    assert planned.code == 0
    assert "nothing to split" not in planned.err


TWO_OF_EACH = {
    "model": ["random:sana-1.6b-1k", "random:sana-1.5-1.6b-1k"],
    "prompt": ["a fox", "a whale"],
    "negative_prompt": ["blurry", "dark"],
    "style": ["ink", "oil"],
    "seed": [1, 2],
    "size": ["512x512", "672x384"],
    "steps": [2, 3],
    "guidance": [2.0, 3.0],
    "scheduler": ["unipc", "dpm++"],
    "memory": ["full", "vae_tiling(256, 192)"],
    "dtype": ["float32", "bfloat16"],
    "lora": ["a.safetensors", "b.safetensors"],
}


def test_every_axis_reaches_the_task(manifest, work):
    assert TWO_OF_EACH.keys() == AXES.keys()
    for name, strength in (("a", 0.0), ("b", 1.0)):
        save_file({"x.lora_A.weight": np.full((1, 1), strength, np.float32)}, work / f"{name}.safetensors")
    styles = "styles: {ink: {prompt: 'ink, {prompt}'}, oil: {prompt: 'oil, {prompt}'}}\n"
    for axis, (one, other) in TWO_OF_EACH.items():
        grid = {"model": "demo", "prompt": "a fox", axis: [one, other]}
        made = plan(manifest(f"{styles}grid: {json.dumps(grid)}\n"))
        assert len({task.id for task in made.tasks}) == 2, axis
