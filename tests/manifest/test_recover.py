"""Texts in pictures back to axes: gone over once, and nothing but what a manifest takes as one value."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from batch.manifest import recover
from batch.manifest.foreign import a1111 as a1111_text
from batch.manifest.foreign.a1111 import a1111
from batch.manifest.foreign.draft import FOREIGN
from batch.manifest.loras import lora
from batch.manifest.recovered import Recovered
from batch.manifest.writing import to_data, to_yaml
from tests.hostile import NASTY_JSON, NASTY_LINES, OLD_SETTING, quick

INVOKE = {"positive_prompt": "a fox", "seed": 1, "width": 8, "height": 8, "steps": 1, "scheduler": "euler"}
TASK = {
    "model": "demo", "dtype": "float32", "prompt": "a fox", "seed": 1, "width": 8, "height": 8,
    "rendered_width": 8, "rendered_height": 8, "steps": 1, "guidance": 4.5,
}  # fmt: skip


@given(st.text(alphabet='aB1 -/"\\:,(é{\t=', max_size=40))
def test_settings_are_read_as_the_old_expression_read_them(line):
    old = [(key, value.strip()) for key, value in OLD_SETTING.findall(line)]
    assert list(a1111_text._settings(line)) == old


@pytest.mark.parametrize("line", NASTY_LINES.values(), ids=NASTY_LINES)
@pytest.mark.parametrize("prompt", ["fox", "(" * 10**6, "(a:" * 333_333], ids=["fox", "brackets", "weights"])
def test_a_million_letters_are_gone_over_once(line, prompt):
    with quick(4), pytest.raises(FOREIGN):
        a1111(f"{prompt}\nSteps: 1, {line}")


@pytest.mark.parametrize("text", NASTY_JSON.values(), ids=NASTY_JSON)
@pytest.mark.parametrize("key", ["run_batch", "invokeai_metadata", "sd-metadata", "parameters"])
def test_json_that_hurts_is_not_understood(key, text):
    inside = {"run_batch": f'{{"task": {text}}}', "parameters": f'{{"sui_image_params": {text}}}'}
    with quick(1), pytest.raises(ValueError, match=f"^{key}: "):
        recover.from_metadata({key: inside.get(key, text)})


ODD = (None, True, -1, 2**70, 1e300, "x", "", "0..9", {"file": "/etc/passwd"}, {"random": 3}, ["a", "b"], [[]])


@pytest.mark.parametrize("value", ODD, ids=repr)
@pytest.mark.parametrize("key", [*INVOKE, "model", "cfg_scale", "negative_prompt", "loras"])
def test_a_wrong_type_is_refused_or_one_value(key, value):
    taken_for_one(lambda: recover.from_metadata({"invokeai_metadata": json.dumps(INVOKE | {key: value})}))


@pytest.mark.parametrize("value", [*ODD, [["a", [1]]]], ids=repr)
@pytest.mark.parametrize(
    "key",
    [*TASK, "revision", "negative_prompt", "memory", "scheduler", "loras", "extra", "format", "format_options"],
)
def test_a_wrong_type_in_a_task_is_refused_or_one_value(key, value):
    taken_for_one(lambda: recover.from_metadata({"run_batch": json.dumps({"task": TASK | {key: value}})}))


def taken_for_one(read):
    try:
        found = read()
    except ValueError:
        return
    several = {name: value for name, value in found.axes.items() if isinstance(value, list | dict)}
    assert all(name.startswith("extra.") and len(value) == 1 for name, value in several.items())
    assert yaml.safe_load(to_yaml(to_data([found]), ["x"]))["grid"] == dict(found.axes)


def test_the_first_text_that_is_whole_counts():
    texts = {"run_batch": "[" * 10_000, "invokeai_metadata": json.dumps(INVOKE)}
    assert recover.from_metadata(texts).axes["prompt"] == "a fox"


def test_a_text_of_too_many_letters_is_not_read():
    with pytest.raises(ValueError, match="run_batch: it has more than 262,144 letters"):
        recover.from_metadata({"run_batch": "[" * (recover.MAX_TEXT + 1)})


def test_arguments_have_a_size_and_a_depth():
    deep = [1]
    for _ in range(20):
        deep = [deep]
    for value in (deep, list(range(6_000))):
        with pytest.raises(ValueError, match="more than 5,000 values, or is too deep"):
            recover.from_task(TASK | {"extra": [["sigmas", value]]})
    with pytest.raises(ValueError, match="is no axis of a manifest"):
        recover.from_task(TASK | {"extra": [["a b", 1]]})


def test_a_lora_that_would_read_as_two_is_refused():
    one = {"path": "a.safetensors(scale=1) + /etc/x", "sha256": "", "scale": 0.5}
    with pytest.raises(ValueError, match="reads as another one in a manifest"):
        recover.from_task(TASK | {"loras": [one]})
    odd = {"path": "style (1), v+2.safetensors", "sha256": "", "scale": 0.5}
    assert lora(recover.from_task(TASK | {"loras": [odd]}).axes["lora"]) == (("style (1), v+2.safetensors", 0.5),)


@pytest.mark.parametrize(
    ("model", "is_place"),
    [
        ("demo", False), ("owner/name", False), ("owner/name@main", False), ("random:sana", False),
        ("../../x", True), ("/etc", True), ("~/x", True), ("a/../../b", True), ("C:\\x", True),
        ("\\\\host\\x", True), ("https://example.org/x", True), ("random:/x", True), ("D:x", True),
    ],
)  # fmt: skip
def test_places_are_told_from_names(model, is_place):
    found = Recovered(axes={"model": model, "lora": "none"}, output={})
    assert bool(recover.places(found)) == is_place


@given(st.text(min_size=1, max_size=60))
def test_any_text_comes_out_of_the_yaml_as_it_was(text):
    found = Recovered(axes={"model": "demo", "prompt": text}, output={"format": "png"})
    written = to_yaml(to_data([found]), [text])
    assert yaml.safe_load(written.encode())["grid"]["prompt"] == text
    assert "\x1b" not in written and "\u202e" not in written
