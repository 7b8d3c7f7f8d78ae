"""Names of images: safe on every file system, and unique."""

from dataclasses import replace
from itertools import count

from batch.plan import names
from batch.plan.identity import identify
from batch.records.tasks import Lora
from tests.helpers import plan
from tests.plan.small_task import TASK

BEGUN = "2026-11-28T07:31:05+01:00"
PROMPTS = [
    "con", "a/b\\c:d*e?\"<>|", "ünïcødé 狐 🦊", "x" * 5000, "a.", " . ", "LPT1.txt", "A fox", "a FOX",
    "\t\n", "..",
]  # fmt: skip


def test_names_are_safe_and_unique():
    number = count()
    tasks = [identify(replace(TASK, prompt=prompt, seed=next(number))) for prompt in PROMPTS]
    named = names.assign(tasks, "{prompt}", BEGUN)
    assert len({task.name.casefold() for task in named}) == len(tasks)
    for task in named:
        assert len(task.name.encode()) < 200
        assert not set(task.name) & set('<>:"/\\|?*\n\t')
        assert not task.name.startswith(".")


def test_names_that_clash_get_the_full_id():
    twins = [replace(TASK, id="aaaaaaaa11111111", prompt="A"), replace(TASK, id="aaaaaaaa22222222", prompt="a")]
    assigned = [task.name for task in names.assign(twins, "{prompt}", BEGUN)]
    assert assigned == ["A-aaaaaaaa11111111", "a-aaaaaaaa22222222"]


def test_names_tell_strengths_apart_below_and_above_nought():
    style, both = Lora(path="s.safetensors", sha256="aa", scale=-0.8), ("0.8", "-0.8")
    tasks = [identify(replace(TASK, loras=(replace(style, scale=float(scale)),))) for scale in both]
    named = [task.name.rpartition("-")[0] for task in names.assign(tasks, "{lora}", BEGUN)]
    assert named == ["s-0.8", "s=-0.8"]


def test_an_extra_argument_that_no_grid_sets_is_told(manifest):
    text = "grid: {model: demo, prompt: a, extra.pag_scale: [0, 2]}\n"
    planned = plan(manifest(text + "output: {name: '{extra.pag_scale}-{extra.typo}'}\n"))
    assert [task.name.rpartition("-")[0] for task in planned.tasks] == ["2-default", "0-default"]
    assert ["extra.typo is set nowhere" in note for note in planned.warnings] == [True]


def test_a_template_may_make_folders_but_not_leave_them():
    (task,) = names.assign([identify(replace(TASK, prompt="../../x"))], "{prompt}/{seed}/../{size}", BEGUN)
    assert task.name == f"x/1/512x512-{task.id[:8]}"
