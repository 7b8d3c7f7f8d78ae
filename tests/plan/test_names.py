"""Names of images: safe on every file system, and unique."""

import json
import re
import time
import unicodedata
from dataclasses import replace
from itertools import count

from hypothesis import example, given
from hypothesis import strategies as st

from batch.plan import names
from batch.plan.identity import identify
from batch.records.tasks import Lora
from batch.store.folder import RunFolder
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


def name_of(template, **changes):
    (task,) = names.assign([identify(replace(TASK, **changes))], template, BEGUN)
    return task.name.rpartition("-")[0]


def test_a_prompt_is_cut_to_so_many_letters():
    assert name_of("{prompt:9}", prompt="a fox at dusk") == "a-fox-at"  # a dash at the end says nothing
    assert name_of("{prompt:100}", prompt="x" * 300) == "x" * 100
    assert name_of("{prompt:5}", prompt="狐狐狐狐狐狐狐") == "狐狐狐狐狐"
    assert name_of("{negative_prompt:4}-{style:2}", negative_prompt="blurry", style="oil") == "blur-oi"
    assert len(name_of("{prompt:150}", prompt="狐" * 300).encode()) <= names.MAX_BYTES


LETTERS = st.one_of(st.text(max_size=80), st.text("aé狐🦊 _-.=+<!…\u0301\u0338\u0323", max_size=400))


@given(text=LETTERS, times=st.sampled_from([1, 1, 30]))
@example(text=" \n_-!", times=9000)
@example(text="fox ", times=9000)
@example(text="e\u0301", times=9000)
def test_what_is_read_of_a_long_prompt_changes_no_name(text, times):
    written = text * times + "a fox" if text.isascii() or times > 1 else text
    whole = unicodedata.normalize("NFC", written).replace("_", "-")
    whole = re.sub(r"-{2,}", "-", re.sub(r"[^\w.+=-]+", "-", whole))
    assert names.slug(written) == names.cut(whole.strip("-. "), names.MAX_BYTES).strip("-. ")


def test_accents_without_end_are_named_at_once():
    begun = time.monotonic()
    assert names.slug("a" + "\u0301\u0323" * 50_000) == "ạ"
    assert time.monotonic() - begun < 1


def test_date_and_time_are_those_of_the_begin():
    assert name_of("{date}/{time}_{seed}") == "2026-11-28/07-31-05-1"


def test_a_begin_that_somebody_wrote_leads_nowhere():
    (task,) = names.assign([identify(TASK)], "{date}/{time}/x", "../../../x/../../../etc/passwd")
    assert ".." not in task.name.split("/")


def test_the_index_is_the_place_in_the_plan(manifest):
    text = "grid: {{model: demo, prompt: [{0}], seed: 0..1}}\noutput: {{name: '{{index}}-{{prompt}}'}}\n"
    made = plan(manifest(text.format("a, b")))
    assert [task.name.rpartition("-")[0] for task in made.tasks] == ["00001-a", "00002-b", "00003-a", "00004-b"]
    more = plan(manifest(text.format("new, a, b")))
    assert {task.id for task in made.tasks} < {task.id for task in more.tasks}
    assert more.tasks[1].name.startswith("00002-a")


def test_the_index_of_a_measurement_counts_every_image(manifest):
    path = manifest("kind: measure\ngrid: {model: demo, prompt: a}\noutput: {name: '{index}'}\n")
    made = plan(path, "repeats=1")
    assert [task.name[:5] for task in made.tasks] == [f"{place:05}" for place in range(1, len(made.tasks) + 1)]


NAMED = "output: {name: '{index}-{date}-{time}-{prompt:3}'}\nrun: {min_free_disk: 1MB}\n"


def test_pictures_keep_their_names_when_prompts_come_before_them(cli, manifest, work):
    text = "grid: {{model: demo, prompt: [{0}], steps: 1, size: 512x512}}\n" + NAMED.replace("{", "{{").replace(
        "}", "}}"
    )
    assert cli("run", manifest(text.format("b")), "--quiet").code == 0
    folder = work / "outputs" / "job"
    (before,) = (folder / "images").iterdir()
    time = before.stat().st_mtime_ns
    begun = RunFolder(folder).pins().begun
    assert before.name.startswith(f"00001-{begun[:10]}-{begun[11:19].replace(':', '-')}-b-")
    assert cli("run", manifest(text.format("a, b")), "--quiet").code == 0
    assert RunFolder(folder).pins().begun == begun
    found = {path.name[:5] + path.name[-15:-13]: path for path in (folder / "images").iterdir()}
    assert len(found) == 2
    assert (before.exists(), before.stat().st_mtime_ns) == (True, time)
    assert all(begun[:10] in path.name for path in found.values())
    assert cli("verify", folder).code == 0


def test_a_folder_of_an_earlier_version_begins_with_its_next_run(cli, manifest, work):
    path = manifest("grid: {model: demo, prompt: a, steps: 1, size: 512x512}\nrun: {min_free_disk: 1MB}\n")
    assert cli("run", path, "--quiet").code == 0
    kept = work / "outputs" / "job" / ".run" / "plan.json"
    data = json.loads(kept.read_text())
    del data["begun"]
    kept.write_text(json.dumps(data))
    assert cli("run", path, "--quiet").code == 0
    assert json.loads(kept.read_text())["begun"]
