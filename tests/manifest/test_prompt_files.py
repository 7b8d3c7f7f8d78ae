"""Lists of prompts with options a line, as A1111 reads them."""

import pytest

from batch.manifest.document import Place
from batch.manifest.line_forms import dressed, no_prompts
from batch.records.values import Call
from tests.helpers import plan
from tests.hostile import quick

GRID = "grid: {model: demo, prompt: {file: p.txt}, seed: 3, size: 512x512}\n"


def tasks(manifest, work, text):
    (work / "p.txt").write_text(text)
    return plan(manifest(GRID)).tasks


def test_a_line_with_options_is_a_prompt_with_values(manifest, work):
    made = tasks(
        manifest,
        work,
        "# comment\na plain fox, 1-2\n"
        '--prompt a fox in snow --negative_prompt "bad, \\"worse\\"" --steps 4 --seed 7 --width 672 --height 384 '
        '--cfg_scale 4.5 --sampler_name "DPM++ 2M"\n'
        '--steps 5 --prompt "the fox\'s den" --seed 11 --n_iter 2 --batch_size 2\n'
        "--prompt 'a \"red\" fox'\\ now\n",
    )
    assert {(task.prompt, task.seed, task.steps) for task in made} == {
        ("a plain fox, 1-2", 3, 8),
        ("a fox in snow", 7, 4),
        *(("the fox's den", seed, 5) for seed in (11, 12, 13, 14)),
        ('a "red" fox now', 3, 8),
    }
    (snow,) = (task for task in made if task.prompt == "a fox in snow")
    assert (snow.negative_prompt, str(snow.size), snow.guidance) == ('bad, "worse"', "672x384", 4.5)
    assert snow.scheduler == Call(name="dpm++")
    assert snow.source.endswith("p.txt:3")


def test_seed_minus_one_is_drawn_once_and_kept(manifest, work):
    made = tasks(manifest, work, "--prompt a --seed -1 --n_iter 3\n")
    assert len({task.seed for task in made}) == 3


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--prompt a fox's den", "is not closed; put a text with an apostrophe in double quotes"),
        ('--prompt "a', "is not closed"),
        ("--prompt a --stepz 4", "--stepz is unknown; did you mean 'steps'?"),
        ("--prompt a --restore_faces true", "faces are not touched up here"),
        ("--prompt a --sd_model x", "{text: a fox, model: demo}"),
        ("--prompt a --do_not_save_grid true", "no grids are made"),
        ("--prompt a --subseed 3", "variations of a seed"),
        ("--prompt a --steps many", "--steps 'many' is not a whole number"),
        ("--prompt a --steps 5000", "1 to 1000 is possible"),
        ("--prompt a --seed -2", "out of bounds"),
        ("--prompt a --width 512", "give both"),
        ("--prompt a --cfg_scale 4,5", "write 4.5"),
        ("--prompt a --cfg_scale 1e5", "is not a number"),
        ('--prompt a --sampler_name "Euler z"', "did you mean 'euler a'?"),
        ("--steps 4", "names its prompt"),
        ("--prompt", "--prompt has no value"),
        ("--prompt a --steps 4 5", "'5' belongs to no option"),
        ("--prompt a --prompt b", "given twice"),
        ("--prompt a --n_iter 4", "4 pictures of a line want seeds"),
        ("--prompt a --n_iter 0", "1 to 1,000,000 pictures"),
        ("--prompt ''", "names its prompt"),
        ("-n 4 a fox", "-n looks like an option"),
        ("-h", "-h looks like an option"),
        ("a fox --negative_prompt blurry", "begin the line with --prompt"),
    ],
)
def test_what_is_wrong_with_options_is_said_at_its_line(manifest, work, cli, line, says):
    (work / "p.txt").write_text(f"a whale\n\n{line}\n")
    outcome = cli("plan", manifest(GRID))
    assert outcome.code == 2
    assert f"{work / 'p.txt'}:3: " in outcome.err
    assert says in outcome.err


@pytest.mark.parametrize("line", ["- a fox", "-5 degrees", "-- a fox", "a fox - at night", "a --- b"])
def test_a_dash_is_no_option_yet(manifest, work, line):
    (task,) = tasks(manifest, work, f"{line}\n")
    assert task.prompt == line


def test_options_set_on_the_command_line_too_are_refused(manifest, work, cli):
    (work / "p.txt").write_text("--prompt a --seed 4\n")
    outcome = cli("plan", manifest(GRID), "--set", "seed=1")
    assert outcome.code == 2
    assert "p.txt:1 sets 'seed' itself" in outcome.err


NO_PROMPTS = {
    "a negative prompt": ("Negative prompt: lowres", "this is generation data; write a line for each: --prompt"),
    "labels": ("positive: a red fox", "this is generation data; write a line for each: --prompt"),
    "other labels": ("Negative: fog", "this is generation data"),
    "a label without a blank": ("Positive prompt:a fox", "this is generation data"),
    "a setting alone": ("Seed: 42", "this is generation data; write a line for each: --prompt"),
    "dashes": ("--------", "parts nothing here"),
    "a fence": ("```", "parts nothing here"),
}


@pytest.mark.parametrize("name", NO_PROMPTS)
def test_what_is_no_prompt_is_said_once_at_its_line(manifest, work, cli, name):
    line, says = NO_PROMPTS[name]
    (work / "p.txt").write_text(f"a fox\n{line}\n\na whale\n{line}\n")
    outcome = cli("plan", manifest(GRID))
    assert outcome.code == 2
    assert outcome.err.startswith(f"{work / 'p.txt'}:2: {line}: ")
    assert says in outcome.err
    assert outcome.err.count("\n") == 1
    assert "(1 more like this)" in outcome.err


def test_generation_data_names_the_command_that_reads_it(manifest, work, cli):
    (work / "p.txt").write_text("a fox\nSteps: 30, Sampler: Euler a, Seed: 1\n")
    assert "p.txt:2: " in (said := cli("plan", manifest(GRID)).err)
    assert f"`run_batch.py manifest from {work / 'p.txt'}` reads it, or write a line for each" in said
    assert cli("manifest", "from", "p.txt").code == 0


DRESSED = {
    "* a red fox": "the mark of a list",
    "- a fox": "the mark of a list",
    "• a fox": "the mark of a list",
    "1. a wolf": "the number",
    "12) a wolf": "the number",
    '"a fox, red",': ".jsonl",
    '["a fox",': ".jsonl",
    '{"prompt": "a fox"}': ".jsonl",
    '"a fox, red"': "the quotes",
    "“a fox”": "the quotes",
    "a fox ||": "the bars",
    "| a fox | red |": "the bars",
    "Prompt 1: a fox": "the label",
    "prompt: a fox": "the label",
    "/imagine prompt: a fox": "the command",
    "// a comment": "begin it with #",
    "—prompt a fox": "write two hyphens",
}


def warned(cli, manifest):
    said = [line for line in cli("plan", manifest(GRID)).err.splitlines() if "has no effect" not in line]
    return [line.removeprefix("warning: ") for line in said]


@pytest.mark.parametrize("line", DRESSED)
def test_a_line_dressed_as_elsewhere_is_told_and_kept(manifest, work, cli, line):
    (work / "p.txt").write_text(f"a whale\n{line}\n{line} now\n", encoding="utf-8")
    (said,) = (said for said in warned(cli, manifest) if "p.txt:2: " in said and "variants" not in said)
    assert said.startswith(f"{work / 'p.txt'}:2: {line}: ")
    assert DRESSED[line] in said
    assert line in {task.prompt for task in plan(manifest(GRID)).tasks}


@pytest.mark.parametrize("line", ["prompt,negative_prompt", "Prompt;Seed", "prompt"])
def test_a_header_in_a_text_file_is_told(manifest, work, cli, line):
    (work / "p.txt").write_text(f"{line}\na whale\n")
    (said,) = warned(cli, manifest)
    assert "p.txt:1: " in said
    assert "save it as .csv" in said


@pytest.mark.parametrize(
    "line",
    ["35mm photo", "1girl, solo", '"No" signs and a "yes"', "(a fox), red", "24 foxes", "prompt service, photo",
     "-5 degrees", "a prompt,", "negative:space", "steps: a stair", "/r/pics, a fox"],
)  # fmt: skip
def test_language_is_not_taken_for_dress(manifest, work, cli, line):
    (work / "p.txt").write_text(f"a whale\n{line}\n")
    assert warned(cli, manifest) == []


@pytest.mark.parametrize("line", ["prompt" + " " * 90_000 + "x", "| " * 40_000, '"' * 90_001, "(1" * 40_000])
def test_a_long_line_is_gone_over_once(line):
    with quick(2):
        assert no_prompts([(line, Place("p.txt", 1))], "p.txt") == []
        assert len(list(dressed([(line, Place("p.txt", 1))]))) <= 1


def test_a_file_with_errors_is_not_said_to_be_empty(manifest, work, cli):
    (work / "p.txt").write_text("{a|b\n")
    assert "holds no prompt" not in cli("plan", manifest("variants: all\n" + GRID)).err
    (work / "p.txt").write_text("# nothing\n")
    assert "p.txt holds no prompt" in cli("plan", manifest(GRID)).err
