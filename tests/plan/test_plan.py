"""A grid becomes tasks: counted, ordered, drawn, and shown."""

import json
import shutil
from dataclasses import replace

import numpy as np
from safetensors.numpy import save_file

from batch.catalogue.families import digest
from batch.manifest.axes import AXES
from tests.conftest import DEMO
from tests.helpers import plan


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


def test_an_exclude_without_effect_is_a_warning(manifest, cli):
    path = manifest("grid: {model: demo, prompt: a, seed: 0..1}\nexclude: [{seed: 7}]\n")
    assert "leaves nothing out" in cli("plan", path).err


def test_heavier_first_and_every_prompt_once_before_any_twice(manifest):
    made = plan(manifest("grid: {model: demo, prompt: [a, b, c], seed: [5, 1], size: [672x384, 512x512]}\n"))
    order = [(task.size, task.seed, task.prompt) for task in made.tasks]
    assert order[:6] == [("512x512", seed, prompt) for seed in (5, 1) for prompt in "abc"]


def test_random_seeds_of_an_include_stay_when_prompts_come(manifest):
    def seeds(prompts, pins=None):
        text = f"grid: {{model: demo}}\ninclude:\n  - {{prompt: {prompts}, seed: {{random: 1}}, steps: 2}}\n"
        made = plan(manifest(text), pins=pins)
        return {task.prompt: task.seed for task in made.tasks}, made.pins

    first, pins = seeds("[a, b]")
    assert seeds("[c, b, a]", pins)[0] == {**first, "c": first["a"]}
    old = replace(pins, seeds={f"seed.{digest(['a', 'b'])}.0": (7,)})  # as a version before kept them
    assert seeds("[a, b]", old)[0] == {"a": 7, "b": 7}


def test_random_seeds_are_pinned(manifest):
    path = manifest("grid: {model: demo, prompt: a, seed: {random: 3}}\n")
    first = plan(path)
    assert first.new_draws
    again = plan(path, pins=first.pins)
    assert [task.id for task in again.tasks] == [task.id for task in first.tasks]
    assert not again.new_draws
    more = plan(path, "seed={random: 5}", pins=first.pins)
    assert {task.seed for task in first.tasks} < {task.seed for task in more.tasks}


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
    "vae": ["default", "vae"],
    "lora": ["a.safetensors", "b.safetensors"],
}


def test_every_axis_reaches_the_task(manifest, work):
    assert TWO_OF_EACH.keys() == AXES.keys()
    for name, strength in (("a", 0.0), ("b", 1.0)):
        save_file({"x.lora_A.weight": np.full((1, 1), strength, np.float32)}, work / f"{name}.safetensors")
    shutil.copytree(DEMO / "vae", work / "vae")
    styles = "styles: {ink: {prompt: 'ink, {prompt}'}, oil: {prompt: 'oil, {prompt}'}}\n"
    for axis, (one, other) in TWO_OF_EACH.items():
        grid = {"model": "demo", "prompt": "a fox", axis: [one, other]}
        made = plan(manifest(f"{styles}grid: {json.dumps(grid)}\n"))
        assert len({task.id for task in made.tasks}) == 2, axis
