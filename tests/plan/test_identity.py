"""What makes two images the same, and what makes them two."""

from dataclasses import fields, replace

import pytest

from batch.memory import profiles
from batch.plan.identity import FIELD_KINDS, Kind, identify
from batch.records.tasks import Lora, Task
from tests.helpers import plan
from tests.plan.small_task import TASK


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


def test_reordering_adding_and_renaming_keep_the_ids(manifest):
    first = {task.id for task in plan(manifest("grid: {model: demo, prompt: [a, b], seed: 0..1}\n")).tasks}
    other = plan(manifest("output: {name: x}\ngrid: {seed: [1, 0], prompt: [new, b, a], steps: 8, model: demo}\n"))
    assert first < {task.id for task in other.tasks}
    assert len(other.tasks) == 6


def test_a_component_in_the_dtype_of_all_is_no_other_picture(manifest):
    plain, named = (
        plan(manifest(f"grid: {{model: demo, prompt: a, dtype: {dtype}}}\n")).tasks[0]
        for dtype in ("float32", "float32(vae=float32)")
    )
    assert plain.id == named.id
