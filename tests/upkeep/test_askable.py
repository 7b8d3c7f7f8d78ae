"""Receipts that ask for what no manifest can: nothing of them is rendered again."""

import json

import pytest

from batch.manifest.values import Size
from batch.memory import profiles
from batch.memory.steps import STEPS


def forge(run, **changes):
    """Every picture of a run, and its plan, claim to be made otherwise."""
    for path in (run / ".run" / "receipts").rglob("*.json"):
        data = json.loads(path.read_text())
        data["task"] |= changes
        path.write_text(json.dumps(data))
    tasks = run / ".run" / "tasks.jsonl"
    lines = [json.dumps(json.loads(line) | changes) for line in tasks.read_text().splitlines()]
    tasks.write_text("\n".join(lines) + "\n")


BILLION = 10**9


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": BILLION}, "out of bounds; 1 to 1000 is possible"),
        ({"rendered_width": 65_536, "rendered_height": 65_536}, "65536x65536 has more pixels than are read here"),
        ({"rendered_width": BILLION}, "is not a size"),
        ({"prompt": "a" * 200_000}, "200,000 letters"),
        ({"seed": -1}, "out of bounds"),
        ({"extra": [["max_sequence_length", BILLION]]}, "extra.max_sequence_length: 1,000,000,000 is more than"),
        ({"extra": [["num_images_per_prompt", 9]]}, "extra.num_images_per_prompt: set it with seed"),
        (
            {"scheduler": {"name": "StableDiffusionPipeline", "arguments": []}},
            "StableDiffusionPipeline is unknown",
        ),
        ({"scheduler": {"name": "dpm++", "arguments": [["num_train_timesteps", BILLION]]}}, "1 to 1,000,000"),
        ({"memory_steps": [{"name": "nothing", "arguments": []}]}, "there is no memory step nothing"),
        ({"dtype": "float8"}, "dtype: "),
        ({"format_options": [["level", BILLION]]}, "level: "),
    ],
)
def test_no_task_beyond_a_manifest_is_rendered_again(cli, run, changes, says):
    forge(run, **changes)
    commands = [("verify", run, "--reproduce", "1")]
    if "rendered_width" not in changes and "memory_steps" not in changes:  # which are decided anew there
        commands.append(("redecode", run, "--memory", "vae_tiling(256, 192)"))
    for command in commands:
        outcome = cli(*command)
        assert (outcome.code, says in outcome.err) == (2, True), outcome.err
        assert "none that a manifest can ask for" in outcome.err


def lora(**changes):
    return {"path": "someone/lora", "sha256": None, "scale": 1.0, "in_text": False, "source": ""} | changes


@pytest.mark.parametrize("source", ["", f"someone/lora@{'c0' * 20}/x.safetensors"])
def test_a_lora_of_unknown_content_is_not_loaded(cli, run, source):
    forge(run, loras=[lora(source=source)])
    outcome = cli("verify", run, "--reproduce", "1")
    assert (outcome.code, "is not known, so it is not loaded" in outcome.err) == (2, True), outcome.err


def test_more_loras_than_a_manifest_takes_are_refused(cli, run, manifest):
    forge(run, loras=[lora(sha256="0")] * 101)
    assert "101 LoRAs" in cli("verify", run, "--reproduce", "1").err
    names = " + ".join(f"{number}.safetensors" for number in range(101))
    outcome = cli("plan", manifest(f"grid: {{model: demo, prompt: a, lora: {names}}}\n"))
    assert (outcome.code, "101 LoRAs; at most 100" in outcome.err) == (2, True)


def test_every_memory_step_is_read_back_as_it_was_written():
    settings = [
        *profiles.PROFILES,
        "group_offload(leaf)",
        "group_offload(block, 3, stream=false)",
        "quantize(bnb4)",
    ]
    for step in (step for setting in settings for step in profiles.resolve(setting, Size(4096, 4096))):
        assert dict(STEPS[step.name].read((), dict(step.arguments))) == dict(step.arguments)
