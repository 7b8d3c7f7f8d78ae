"""Lists of prompts with options a line, as A1111 reads them."""

import pytest

from batch.records.values import Call
from tests.helpers import plan

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
