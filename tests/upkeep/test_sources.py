"""Which files ``manifest from`` means, and the grids that it makes of many."""

import yaml

from batch.store.folder import RunFolder
from tests.conftest import ROOT
from tests.helpers import plan
from tests.upkeep.foreign_pictures import axes_of, planned, png
from tests.upkeep.foreign_texts import BASE, PLAIN

# Which files are meant


def test_patterns_are_expanded_where_no_shell_does_it(cli, work):
    (work / "a" / "b").mkdir(parents=True)
    for at, name in enumerate(["x.png", "a/y.PNG", "a/b/z.png"]):
        png(work / name, {"parameters": PLAIN.replace("965400086", str(at))})
    (work / "a" / "notes.txt").write_text("x")
    assert axes_of(cli, "*.png")["seed"] == 0
    assert axes_of(cli, "a")["seed"] == 1
    assert axes_of(cli, "**/*.png")["seed"] in ("0..2", [0, 2])  # case counts where the system says so
    assert axes_of(cli, "**")["seed"] == "0..2"
    for nothing in ("*.jpg", "b*"):
        outcome = cli("manifest", "from", nothing)
        assert (outcome.code, "matches no picture" in outcome.err) == (2, True)
    png(work / "[1].png", {"parameters": PLAIN})
    assert axes_of(cli, "[1].png") == BASE
    (work / "empty").mkdir()
    assert "folder without pictures" in cli("manifest", "from", "empty").err


def test_of_many_pictures_those_that_say_nothing_are_told(cli, work):
    png(work / "a.png", {"parameters": PLAIN})
    png(work / "b.png", {})
    (work / "c.png").write_text("hello")
    outcome = cli("manifest", "from", "*.png")
    assert outcome.code == 0
    assert "b.png says nothing of how it was made" in outcome.err
    assert "c.png is not an image" in outcome.err
    assert cli("manifest", "from", "b.png", "c.png").code == 2
    outcome = cli("manifest", "from", "a.png", "gone.png")
    assert (outcome.code, "gone.png is not there" in outcome.err) == (2, True)


def test_a_touched_and_renamed_picture_still_serves(cli, manifest, work):
    cli("run", manifest("grid: {model: demo, prompt: a fox, seed: 7, steps: 1}\n"), "--quiet")
    (image,) = (work / "outputs" / "job" / "images").iterdir()
    with image.open("ab") as file:
        file.write(b"behind the end")
    image.rename(work / "mine.png")
    assert axes_of(cli, "mine.png")["seed"] == 7


# Grids


def test_many_pictures_are_a_grid_where_they_are_one(cli, work):
    for prompt in ("fox", "whale"):
        for seed in (3, 4, 5):
            text = PLAIN.replace("a fox", prompt).replace("965400086", str(seed))
            png(work / f"{prompt}{seed}.png", {"parameters": text})
    made = yaml.safe_load(cli("manifest", "from", "*.png").out)
    assert made["grid"] == BASE | {"prompt": ["fox", "whale"], "seed": "3..5"}
    assert "include" not in made
    png(work / "other.png", {"parameters": PLAIN.replace("a fox", "owl").replace("Steps: 20", "Steps: 9")})
    made = yaml.safe_load(cli("manifest", "from", "*.png").out)
    assert made["include"] == [
        {"prompt": ["fox", "whale"], "seed": "3..5", "steps": 20},
        {"prompt": "owl", "seed": 965400086, "steps": 9},
    ]
    planned(cli, "*.png")


def test_a_run_comes_back_as_the_grid_it_was(cli, manifest, work):
    text = "grid: {model: demo, prompt: [a, b], seed: 0..3, steps: [1, 2], extra.sigmas: [null, [1.0, 0.5]]}\n"
    assert cli("run", manifest(text), "--quiet", "--max-images", "1").code == 75
    grid = axes_of(cli, "outputs/job")
    assert {name: grid[name] for name in ("prompt", "seed", "steps", "extra.sigmas")} == {
        "prompt": ["a", "b"], "seed": "0..3", "steps": [2, 1], "extra.sigmas": [None, [1.0, 0.5]],
    }  # fmt: skip


def test_a_measurement_keeps_all_its_settings(cli, work):
    golden = ROOT / "tests" / "golden" / "measure"
    assert cli("manifest", "from", golden, "-o", "again.yaml").code == 0
    made = yaml.safe_load((work / "again.yaml").read_text())
    assert (made["kind"], made["repeats"]) == ("measure", 1)
    assert made["grid"]["memory"] == ["full", "tiled", "vae_tiling(128, 96)"]
    assert len(plan(work / "again.yaml").tasks) == len(RunFolder(golden).tasks())
    png(work / "x.png", {"parameters": PLAIN})
    mixed = yaml.safe_load(cli("manifest", "from", golden, "x.png").out)
    assert ("kind" in mixed, [entry.get("memory") for entry in mixed["include"]]) == (False, [None, "full"])
