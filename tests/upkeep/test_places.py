"""What lies where an image is to be written: it steps aside or goes to the trash, and only when that is done."""

import os
import shutil
from pathlib import Path

import pytest

from batch.store.images.looks import look
from tests.conftest import SMALL
from tests.edits import rate, rename, repaint, retouch
from tests.helpers import receipts_of
from tests.upkeep.run_files import image, names

NAMED = SMALL + "output: {name: '{seed}/{prompt}'}\n"


def _swap(run):
    one, other = image(run), image(run, "a-whale-1")
    between = one.with_name("swap.png")
    one.rename(between)
    other.rename(one)
    between.rename(other)
    return one, other


def test_the_picture_of_another_run_steps_aside(cli, run, manifest):
    path = manifest(SMALL.replace("a fox", "a dog"), "other.yaml")
    assert cli("run", path, "--out", "other", "--quiet", "--max-images", "1").code == 75
    (dog,) = (run.parent / "other" / "images").iterdir()
    place = image(run)
    shutil.copy(dog, place)
    assert "1 place taken by another picture" in cli("status", run).out
    assert f"MISSING    images/{place.name}: it holds the picture of another run\n" in cli("verify", run).out
    assert "1 place taken" in cli("plan", "job.yaml", "--out", run).out
    again = cli("run", "job.yaml", "--out", run)
    assert again.code == 0
    assert f"{place.name} stepped aside as {place.stem}-2.png" in again.err
    assert look(place.with_stem(f"{place.stem}-2")).sha256 == look(dog).sha256
    assert not (run / "trash").exists()
    verified = cli("verify", run)
    assert (verified.code, "another picture, under the name of" in verified.out) == (0, True)


def test_what_is_not_rendered_makes_nothing_step_aside(cli, run):
    _swap(run)
    before = names(run / "images")
    assert cli("run", "job.yaml", "--out", run, "--restore", "--max-hours", "1e-7").code == 75
    assert names(run / "images") == before
    limited = cli("run", "job.yaml", "--out", run, "--restore", "--max-images", "1")
    assert limited.code == 75
    assert limited.err.count("stepped aside as") == 1
    assert len(names(run / "images") - before) == 1
    assert cli("run", "job.yaml", "--out", run, "--restore").code == 0
    assert cli("verify", run).code == 0


def test_a_limited_restore_counts_what_is_done(cli, run):
    for name in ("a-fox-0", "a-fox-1", "a-whale-0"):
        retouch(image(run, name))
    limited = cli("run", "job.yaml", "--out", run, "--restore", "--max-images", "1")
    assert limited.code == 75
    assert "2 finished pictures are left to render again" in limited.err
    assert "4 of 4 done (4 were done before), 2 still to restore" in limited.out
    (trash,) = (run / "trash").iterdir()
    assert f"what lay in their places is in {trash}" in limited.out
    (back,) = (line for line in limited.out.splitlines() if "prune run --restore" in line)
    (kept,) = (path for path in names(trash) if path.startswith("images/"))
    (run / kept).rename(run / "new.png")
    assert cli(*back.split("run-batch ")[1].split(" puts it back")[0].split()).code == 0
    assert "changed 3" in cli("status", run).out


@pytest.mark.parametrize("tear", [lambda path: os.truncate(path, 1000), lambda path: path.write_bytes(b"")])
def test_a_torn_picture_under_an_earlier_name_is_kept_too(cli, run, manifest, tear):
    path = image(run)
    tear(path)
    torn = path.read_bytes()
    again = cli("run", manifest(NAMED), "--out", run)
    assert (again.code, "1 image rendered" in again.out) == (0, True), again.err
    assert not path.exists()
    (kept,) = (run / "trash").rglob(path.name)
    assert kept.read_bytes() == torn
    assert cli("verify", run).code == 0


def test_a_whole_picture_under_an_earlier_name_stays(cli, run, manifest):
    retouch(image(run))
    path = image(run)
    again = cli("run", manifest(NAMED), "--out", run, "--restore")
    assert (again.code, "1 image rendered" in again.out) == (0, True), again.err
    assert path.exists()
    assert cli("verify", run).code == 0


def test_images_with_their_own_pixels_are_rendered_again(cli, run):
    rate(image(run, "a-fox-0"))
    rename(image(run, "a-fox-1"))
    repaint(image(run, "a-whale-0"))
    retouch(image(run, "a-whale-1"))
    outcome = cli("verify", run, "--reproduce", "4")
    assert (outcome.code, "rendered again: 2 of 2 images bit-identical" in outcome.out) == (0, True), outcome.out
    for path in (run / "images").iterdir():
        repaint(path)
    outcome = cli("verify", run, "--reproduce", "4")
    assert "no image with its own pixels to compare: " in outcome.out
    assert "are replaced" in outcome.out
    data = cli("verify", run, "--json").json()
    assert (data["done"], data["untouched"]) == (cli("status", run, "--json").json()["done"], 0)


def test_compare_says_that_the_reference_is_touched(cli, manifest):
    path = manifest("grid: {model: demo, prompt: a fox, steps: 1, memory: [auto, vae_cpu]}\n")
    assert cli("run", path, "--out", "run", "--quiet").code == 0
    auto = next(item for item in receipts_of("run") if item.task.memory == "auto")
    repaint(Path("run") / auto.file.path)
    said = cli("compare", "run").out
    assert "of 1 picture that of auto is replaced: vae_cpu is the reference its pixels are compared with" in said
    assert "not done" not in said
