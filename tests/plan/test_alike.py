"""Which tasks are alike: by what they may differ, and how keys stand in files."""

import json
from dataclasses import fields, replace

import pytest

from batch.plan import alike
from batch.records.tasks import EncodeTask, Task
from batch.store.rungs import RungFile

TASK = Task(
    model="sana", dtype="bfloat16", prompt="a fox", seed=1, width=640, height=512, rendered_width=672,
    rendered_height=512, steps=20, guidance=4.5,
)  # fmt: skip

OWN = {"id", "picture_id", "prompt", "prompt_template", "negative_prompt", "style", "seed", "name", "source"}


def changed(name):
    return replace(TASK, **{name: 77 if isinstance(getattr(TASK, name), int | float) else "another"})


@pytest.mark.parametrize("name", [item.name for item in fields(Task)])
def test_images_of_one_call_differ_in_texts_and_seed_only(name):
    assert (alike.call_key(changed(name)) == alike.call_key(TASK)) is (name in OWN)
    assert (alike.setting_key(changed(name)) == alike.setting_key(TASK)) is (name in OWN | {"repeat", "warmup"})


@pytest.mark.parametrize(
    ("key", "names"),
    [
        (alike.session_key, {"model", "dtype"}),
        (alike.size_key, {"model", "dtype", "rendered_width", "rendered_height"}),
        (alike.size_name, {"model", "dtype", "rendered_width", "rendered_height"}),
        (alike.subject_key, {"model", "prompt", "negative_prompt", "seed", "width", "height"}),
        (
            alike.pace_key,
            {"model", "revision", "dtype", "width", "height", "rendered_width", "rendered_height", "steps"}
            | {"guidance", "scheduler", "loras", "vae", "extra", "memory", "memory_steps", "format"}
            | {"format_options"},
        ),
        (
            alike.wall_key,
            {"model", "revision", "dtype", "memory", "memory_steps", "guidance", "loras", "extra"},
        ),
    ],
)
def test_every_key_holds_what_it_says(key, names):
    assert {item.name for item in fields(Task) if key(changed(item.name)) != key(TASK)} == names


def test_keys_in_files_stay_as_they_are(tmp_path):
    assert alike.size_name(TASK) == "sana | bfloat16 | 672x512"
    rungs = RungFile(tmp_path, "H200", "me")
    rungs.take(TASK, "decode", ("vae_cpu",))
    text = EncodeTask(key="k", model="sana", dtype="bfloat16", text="a fox", negative=False)
    rungs.take_for_texts(text, "text_encoder_cpu")
    assert json.loads((tmp_path / "rungs.json").read_text())["rungs"] == {
        "H200 | sana | bfloat16 | 672x512": {"decode": ["vae_cpu"]},
        "H200 | sana | bfloat16 | texts": {"encode": ["text_encoder_cpu"]},
    }
