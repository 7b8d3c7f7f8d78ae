"""How a job is said: zip, include, tables, prompts with values of their own, styles, variants."""

import json
import time
from pathlib import Path

import pytest

from batch.manifest.document import Place
from batch.manifest.variants import Grammar, WildcardLine
from batch.store.folder import RunFolder
from tests.helpers import plan


def values(made, *names):
    return {tuple(getattr(task, name) for name in names) for task in made.tasks}


def test_zip_groups_move_together_and_multiply_with_the_rest(manifest, cli):
    path = manifest(
        "grid: {model: demo, prompt: [a, b]}\n"
        "zip:\n  - {steps: [14, 20, 28], guidance: [4.0, 4.5, 5.0]}\n"
        "  - {seed: '{random: 2}', size: [512x512, 672x384]}\n"
    )
    made = plan(path)
    assert values(made, "steps", "guidance") == {(14, 4.0), (20, 4.5), (28, 5.0)}
    assert len(values(made, "seed", "size")) == 2
    assert len(made.tasks) == 2 * 3 * 2
    shown = cli("plan", path).out
    assert "2 prompts × 3 (steps + guidance) × 2 (seed + size) = 12 images" in shown


def test_include_takes_scalars_from_the_grid_and_is_not_excluded(manifest, cli):
    path = manifest(
        "grid: {model: demo, prompt: [a, b], seed: 0..3, steps: 5}\n"
        "exclude: [{seed: 3}]\n"
        "include:\n  - {prompt: a lighthouse, seed: 3}\n  - {prompt: [c, d], seed: 0..1, size: 672x384}\n"
    )
    made = plan(path)
    assert (made.cells, made.included, made.excluded, len(made.tasks)) == (8, 5, 2, 11)
    lighthouse = next(task for task in made.tasks if task.prompt == "a lighthouse")
    assert (lighthouse.seed, lighthouse.steps, lighthouse.size) == (3, 5, "512x512")
    assert "= 8 + 5 included − 2 excluded = 11 images" in cli("plan", path).out


def test_a_manifest_of_includes_alone(manifest, cli):
    path = manifest("include:\n  - {model: demo, prompt: a, seed: 1}\n  - {model: demo, prompt: b, seed: 2}\n")
    assert values(plan(path), "prompt", "seed") == {("a", 1), ("b", 2)}
    assert "2 included = 2 images" in cli("plan", path).out


def test_a_prompts_own_values_replace_those_of_the_grid(manifest):
    made = plan(
        manifest(
            "grid:\n  model: demo\n  seed: 0..1\n  negative_prompt: fog\n  prompt:\n    - a\n"
            "    - {text: b, negative_prompt: [rain, snow], seed: 7}\n    - {text: 1984, steps: 3}\n"
            "exclude: [{prompt: b, negative_prompt: snow}]\n"
        )
    )
    assert values(made, "prompt", "negative_prompt", "seed") == {
        ("a", "fog", 0), ("a", "fog", 1), ("b", "rain", 7), ("1984", "fog", 0), ("1984", "fog", 1),
    }  # fmt: skip
    assert {task.steps for task in made.tasks if task.prompt == "1984"} == {3}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.tsv", 'id\tcaption\n1\ta "quoted" fox\n2\t\n3\t"a, ""b"""\n4\ta | b .. c\n'),
        ("p.csv", 'id,caption\n1,"a ""quoted"" fox"\n2,\n3,"a, ""b"""\n4,a | b .. c\n'),
        ("semicolons.csv", 'id;caption\n1;"a ""quoted"" fox"\n2;\n3;"a, ""b"""\n4;a | b .. c\n'),
        ("p.jsonl", "\n".join(json.dumps({"caption": c}) for c in ['a "quoted" fox', 'a, "b"', "a | b .. c"])),
    ],
)
def test_prompts_from_the_column_of_a_table(manifest, work, name, text):
    (work / name).write_text(text, encoding="utf-8")
    made = plan(manifest(f"grid: {{model: demo, prompt: {{file: {name}, column: caption}}}}\n"))
    assert values(made, "prompt") == {('a "quoted" fox',), ('a, "b"',), ("a | b .. c",)}
    assert all(task.source.startswith(str(work / name)) for task in made.tasks)


TABLE = """\
# shots of the second week
model,prompt,seed,steps,negative_prompt,extra.eta
demo,"a fox, red",0..2,4,,
demo,a | b .. c,1|5,4|6,rain|fog,0.5
demo|demo-1k,whale,{random: 2},,,
"""


def test_a_table_is_a_manifest(work, cli):
    path = work / "shots.csv"
    path.write_text(TABLE)
    made = plan(path)
    assert (made.rows, made.cells, len(made.tasks)) == (3, 11, 11)
    assert values(made, "prompt", "negative_prompt") == {
        ("a fox, red", ""),
        ("a | b .. c", "rain|fog"),
        ("whale", ""),
    }
    assert {task.extra for task in made.tasks if task.seed == 5} == {(("eta", 0.5),)}
    assert {task.model for task in made.tasks if task.prompt == "whale"} == {"demo", "demo-1k"}
    assert "3 rows = 11 images" in cli("plan", path).out
    outcome = cli("run", path, "--quiet", "--set", "size=512x512", "--set", "exclude=[{model: demo-1k}]")
    assert outcome.code == 2
    assert "demo-1k cannot render 512x512" in outcome.err
    path.write_text(TABLE.replace("|demo-1k", "").replace("0..2", "0").replace("4|6", "1").replace(",4,", ",1,"))
    outcome = cli(path, "--quiet", "--set", "size=512x512")
    assert outcome.code == 0, outcome.err
    written = (work / "outputs" / "shots" / "manifest.csv").read_text()
    assert written.startswith("# --set size=512x512\n# shots of the second week\nmodel,")
    assert "0 images rendered" in cli("run", path, "--quiet", "--set", "size=512x512").out


def test_rows_take_from_the_grid_what_they_leave_out(manifest, work):
    (work / "shots.csv").write_text("prompt,seed,size\na,,\nb,7..8,672x384\n")
    made = plan(
        manifest("grid: {model: demo, seed: [1, 2], steps: 3}\nrows: {file: shots.csv}\nexclude: [{seed: 8}]\n")
    )
    assert values(made, "prompt", "seed", "size", "steps") == {
        ("a", 1, "512x512", 3), ("a", 2, "512x512", 3), ("b", 7, "672x384", 3),
    }  # fmt: skip
    (work / "shots.jsonl").write_text(
        '{"prompt": "a", "seed": [1, "3..4"]}\n{"prompt": "b", "negative_prompt": ""}\n'
    )
    made = plan(manifest("grid: {model: demo, negative_prompt: fog}\nrows: {file: shots.jsonl}\n"))
    assert values(made, "prompt", "seed", "negative_prompt") == {
        ("a", 1, "fog"), ("a", 3, "fog"), ("a", 4, "fog"), ("b", 0, ""),
    }  # fmt: skip


def test_prefix_suffix_and_styles(manifest, work):
    made = plan(
        manifest(
            "prompt_prefix: photo of\nprompt_suffix: ', 35mm'\n"
            "styles:\n  none at all: ''\n  oil: {prompt: 'oil painting of {prompt}', negative_prompt: photo}\n"
            "  dusk: at dusk\n"
            "grid:\n  {model: demo, prompt: [a fox, a whale], negative_prompt: blur,\n"
            "   style: [none, oil, dusk + oil]}\n"
            "exclude: [{prompt: a whale, style: [oil, dusk + oil]}]\n"
            "output: {name: '{style}/{prompt}'}\n"
        )
    )
    assert values(made, "prompt", "negative_prompt", "style") == {
        ("photo of a fox, 35mm", "blur", ""),
        ("photo of a whale, 35mm", "blur", ""),
        ("oil painting of photo of a fox, 35mm", "blur, photo", "oil"),
        ("oil painting of photo of a fox, 35mm, at dusk", "blur, photo", "dusk + oil"),
    }
    assert {task.name.split("/")[0] for task in made.tasks} == {"none", "oil", "dusk-+-oil"}
    (work / "styles.csv").write_text('name,prompt,negative_prompt\noil,"oil of {prompt}",photo\n')
    made = plan(manifest("styles: {file: styles.csv}\ngrid: {model: demo, prompt: a, style: oil}\n"))
    assert values(made, "prompt", "negative_prompt") == {("oil of a", "photo")}


def test_variants_are_off_unless_asked_for(manifest, cli):
    path = manifest("grid: {model: demo, prompt: 'a {red|blue} car'}\n")
    assert values(plan(path), "prompt") == {("a {red|blue} car",)}
    assert "variants is off" in cli("plan", path).err


def test_every_variant(manifest, work):
    (work / "wildcards" / "more").mkdir(parents=True)
    (work / "wildcards" / "more" / "beast.txt").write_text("fox\n# not this\n{big|small} whale\n")
    made = plan(
        manifest(
            "variants: all\nwildcards: {colour: [red, 1984]}\n"
            "grid: {model: demo, prompt: 'a __colour__ __more/beast__ {at dusk|}', seed: 0..1}\n"
            "exclude: [{prompt: a red fox at dusk}]\n"
        )
    )
    assert len(made.tasks) == 2 * 3 * 2 * 2 - 2
    assert ("a 1984 small whale",) in values(made, "prompt")


@pytest.mark.parametrize(
    ("template", "texts"),
    [
        ("{a|b} {c|d}", ["a c", "a d", "b c", "b d"]),
        ("{2$$a|b|c}", ["a, b", "a, c", "b, c"]),
        ("{1-2$$ and $$a|b}", ["a", "b", "a and b"]),
        ("{0.5::a|3::b}", ["a", "b"]),
        ("a \\{b\\|c\\}", ["a {b|c}"]),
        ("{a|{b|c} d}", ["a", "b d", "c d"]),
        ("snake_case and __init__.py", ["snake_case and x.py"]),
        ("(red:1.2) | [a|b]", ["(red:1.2) | [a|b]"]),
    ],
)
def test_the_grammar_of_variants(template, texts):
    found = Grammar(lambda name: [WildcardLine("x", Place("x.txt", 1))]).parse(template)
    assert list(found.texts()) == texts
    assert found.extent.texts == len(texts)


def test_random_variants_are_drawn_once_and_kept(manifest, cli, work):
    text = "variants: {random: 3}\ngrid: {model: demo, prompt: ['{a|b|c|d|e|f|g|h} car', '{x|y}'], steps: 1}\n"
    path = manifest(text)
    assert cli("plan", path).out.count("once seeds and variants are drawn") == 1
    assert cli("run", path, "--quiet").code == 0
    pins = RunFolder(work / "outputs" / "job").pins()
    first = plan(path, pins=pins)
    assert len(first.tasks) == 3 + 2
    assert not first.new_draws
    assert "done 5, to render 0" in cli("plan", path).out
    more = plan(manifest(text.replace("random: 3", "random: 5")), pins=pins)
    assert values(first, "prompt") < values(more, "prompt")
    other = plan(manifest(text.replace("['{a", "[new, '{a")), pins=pins)
    assert values(first, "id") < values(other, "id")


def test_random_seeds_of_rows_do_not_move_when_rows_are_added(work):
    path = work / "t.csv"
    path.write_text("model,prompt,seed\ndemo,a,{random: 2}\n")
    first = plan(path)
    path.write_text("model,prompt,seed\ndemo,new,{random: 2}\ndemo,a,{random: 2}\n")
    assert values(first, "id") < values(plan(path, pins=first.pins), "id")


def test_keys_of_the_contract_are_read(manifest, cli):
    path = manifest(
        "name: night\nkind: render\ngrid: {model: demo, prompt: a}\n"
        "output: {format: png, keep_latents: false, name: '{prompt}-{seed}-{size}'}\n"
        "run: {on_oom: fallback, retries: 2, min_free_disk: 5GiB, max_consecutive_failures: 5,"
        " compile: auto, batch: 1}\n"
        "notify: ['mailto://x']\nallow_pickle: [demo]\ntrust_remote_code: [demo]\nresize: false\n"
    )
    outcome = cli("plan", path)
    assert outcome.code == 0
    assert "notify" not in outcome.err


def test_failure_after_failure_stops_the_run(cli, manifest, work):
    path = manifest(
        "grid: {model: demo, prompt: a, seed: 0..9, steps: 1, extra.sigmas: [[1.0, 0.5]]}\n"
        "run: {max_consecutive_failures: 3}\n"
    )
    outcome = cli("run", path, "--out", "run", "--quiet")
    assert outcome.code == 1
    assert "3 images failed one after the other" in outcome.err
    assert cli("status", "run", "--json").json()["failed"] == 3


def test_1600_prompts_from_a_table_are_planned_at_once(manifest, work, cli):
    lines = ["Prompt\tCategory", *(f'a "thing" number {number}\tOutdoor' for number in range(1600))]
    (work / "prompts.tsv").write_text("\n".join(lines))
    path = manifest(
        "grid: {model: demo, prompt: {file: prompts.tsv, column: Prompt}, seed: 0..3, size: [512x512, 672x384]}\n"
    )
    start = time.monotonic()
    assert cli("plan", path, "--json").json()["images"] == 12_800
    assert time.monotonic() - start < 3


def test_the_same_task_said_three_ways(manifest, work):
    (work / "t.csv").write_text("model,prompt,seed\ndemo,a,1\n")
    said = [
        manifest("grid: {model: demo, prompt: a, seed: 1}\n", "a.yaml"),
        manifest("include: [{model: demo, prompt: a, seed: 1}]\n", "b.yaml"),
        manifest("grid: {model: demo, prompt: {text: a, seed: 1}, seed: 5}\n", "c.yaml"),
        work / "t.csv",
    ]
    assert len({task.id for path in map(Path, said) for task in plan(path).tasks}) == 1


def test_what_has_no_effect_is_a_warning(manifest, cli):
    path = manifest(
        "grid: {model: demo, prompt: a, guidance: [1, 4.5], style: [none, oil]}\n"
        "styles: {oil: {prompt: oil, negative_prompt: photo}}\n"
    )
    said = cli("plan", path).err
    assert said.count("has no effect at guidance 1") == 1
    assert f"{path}:1: " in said
    assert "has no effect" not in cli("plan", path, "--set", "guidance=2").err


def test_a_manifest_from_elsewhere_is_noticed(manifest, cli, work):
    (work / "other").mkdir()
    cli("run", manifest("grid: {model: demo, prompt: a, steps: 1}\n"), "--quiet")
    other = manifest("grid: {model: demo, prompt: b, steps: 1}\n", "other/job.yaml")
    assert f"was last run from {work / 'job.yaml'}" in cli("plan", other).err
    assert "was last run from" not in cli("plan", "job.yaml").err


@pytest.mark.parametrize(
    ("axis", "says"),
    [
        ("cfg: 3", "did you mean 'guidance'?"),
        ("sampler: euler", "did you mean 'scheduler'?"),
        ("seed: -1", "{random: 1}"),
        ("seed: 1-5", "write 1..5"),
        ("guidance: '3,4'", "[3, 4]"),
    ],
)
def test_words_of_other_programs_are_answered(manifest, cli, axis, says):
    outcome = cli("plan", manifest(f"grid:\n  model: demo\n  prompt: a\n  {axis}\n"))
    assert (outcome.code, says in outcome.err) == (2, True), outcome.err
    outcome = cli("plan", manifest("prompts: [a]\ngrid: {model: demo, prompt: a}\n"))
    assert "did you mean the axis 'prompt'? It stands under grid:" in outcome.err
    outcome = cli("plan", manifest("clip_skip: 2\ngrid: {model: demo, prompt: a}\n"))
    assert "did you mean the axis 'extra.clip_skip'? It stands under grid:" in outcome.err


def test_everything_the_models_cannot_do_comes_at_once(manifest, cli):
    path = manifest(
        "grid:\n  model: [demo, nope]\n  prompt: a\n  size: 500x500\n  lora: x.safetensors\n  extra.foo: 1\n"
        "  dtype: int3\n  scheduler: ddim\n  memory: fast\n"
    )
    said = cli("plan", path).err
    for line in range(2, 10):
        assert line == 3 or f"{path}:{line}: " in said, (line, said)


def test_every_scheduler_that_is_offered_renders(manifest, cli):
    from batch.hub.models import find_model
    from batch.plan.scheduler_checks import possible

    names = possible(find_model("demo", Path(), {}, online=False))
    path = manifest(f"grid: {{model: demo, prompt: a, steps: 2, scheduler: [{', '.join(names)}]}}\n")
    outcome = cli("run", path, "--quiet")
    assert outcome.code == 0, cli("status", "outputs/job").out
    shown = cli("models", "demo").out
    assert all(name in shown for name in names)
    assert "euler-a" not in shown


def test_what_was_drawn_stays_whatever_becomes_of_a_list(manifest, cli, work):
    path = manifest(
        "variants: {random: 2}\nwildcards: {c: {file: c.txt}}\n"
        "grid: {model: demo, prompt: a __c__ fox, steps: 1, size: 512x512}\n"
    )
    (work / "c.txt").write_text("red\nblue\n")
    assert cli("run", path, "--quiet").code == 0
    for colours in ("violet", "violet\npink", "".join(f"c{number}\n" for number in range(9))):
        (work / "c.txt").write_text(colours)
        assert "done 2, to render 0" in cli("plan", path).out
    more = cli("plan", path, "--set", "variants={random: 3}", "--json").json()
    assert more["images"] == 3


@pytest.mark.parametrize(
    ("value", "prompts"),
    [
        ("{red|blue} car", {"{red|blue} car"}),
        ("[fox:0.5] b", {"[fox:0.5] b"}),
        ("{a}", {"{a}"}),
        ("[a fox, a whale]", {"a fox", "a whale"}),
        ("{text: a fox, seed: 3}", {"a fox"}),
    ],
)
def test_a_prompt_on_the_command_line_is_taken_as_it_is(manifest, value, prompts):
    made = plan(manifest("grid: {model: demo, prompt: x}\n"), f"prompt={value}", "output.name={id}-{prompt}")
    assert {task.prompt for task in made.tasks} == prompts


def test_embeddings_that_cannot_be_kept_end_the_run(manifest, cli, work, monkeypatch):
    (work / "file").write_text("")
    monkeypatch.setenv("RUN_BATCH_CACHE", str(work / "file"))
    outcome = cli("run", manifest("grid: {model: demo, prompt: never kept, steps: 1}\n"), "--json")
    assert outcome.code == 1
    assert "RUN_BATCH_CACHE" in outcome.events()[-1]["reason"]
    assert (work / "outputs" / "job" / "results.csv").is_file()
