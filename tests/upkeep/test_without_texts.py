"""Pictures that carry no texts, or A1111's alone: their pixels say which they are."""

import csv
import os
import shutil

import pytest

from batch.store.folder import RunFolder
from batch.store.images.reading import read_metadata
from tests.conftest import SMALL
from tests.edits import rate
from tests.helpers import hashes, only_receipt, receipts_of
from tests.upkeep.run_files import image


@pytest.fixture(params=["parameters", "none"])
def bare(cli, manifest, request):
    assert (
        cli("run", manifest(f"{SMALL}output: {{metadata: {request.param}}}\n"), "--out", "run", "--quiet").code
        == 0
    )
    return RunFolder(manifest().parent / "run").root


def nothing_is_rendered(cli, run):
    return "0 images rendered" in cli("run", "job.yaml", "--out", run).out


def test_it_is_no_other_picture(cli, manifest, bare):
    assert "done 4, to render 0" in cli("plan", manifest(SMALL), "--out", bare).out


def test_a_moved_picture_is_found_by_its_pixels(cli, bare):
    place = bare / "images" / "best"
    place.mkdir()
    moved = image(bare).rename(place / "one.png")
    rate(moved)
    verified = cli("verify", bare)
    assert (verified.code, "MOVED      images/best/one.png" in verified.out) == (0, True), verified.out
    assert nothing_is_rendered(cli, bare)


def test_swapped_pictures_are_both_found(cli, bare):
    one, other = image(bare), image(bare, "a-whale-1")
    one.rename(bare / "images" / "swap.png")
    other.rename(one)
    (bare / "images" / "swap.png").rename(other)
    before = hashes(bare)
    assert "moved 2" in cli("status", bare).out
    assert nothing_is_rendered(cli, bare)
    assert hashes(bare) == before


def test_a_copy_is_a_copy(cli, bare):
    shutil.copy(image(bare), bare / "images" / "copy.png")
    rate(bare / "images" / "copy.png")
    verified = cli("verify", bare)
    assert (verified.code, "COPY       images/copy.png" in verified.out) == (0, True), verified.out
    assert cli("prune", bare).code == 0
    assert (bare / "images" / "copy.png").exists()


def test_a_folder_copied_without_times_is_whole(cli, bare):
    for path in (bare / "images").iterdir():
        os.utime(path, (1, 1))
    assert "4 of 4 done" in cli("status", bare).out
    assert cli("verify", bare).code == 0


def test_a_lossy_picture_is_found_too(cli, manifest, work):
    text = "grid: {model: demo, prompt: a, steps: 1, size: 512x512}\noutput: {format: jpeg, metadata: none}\n"
    assert cli("run", manifest(text), "--out", "run", "--quiet").code == 0
    (found,) = (work / "run" / "images").iterdir()
    found.rename(found.with_name("other.jpg"))
    assert "0 images rendered" in cli("run", "job.yaml", "--out", "run").out
    assert only_receipt(work / "run").file.path == "images/other.jpg"


def test_a_manifest_is_made_of_the_folder_or_of_what_is_there(cli, bare):
    assert cli("manifest", "from", bare).code == 0
    made = cli("manifest", "from", image(bare))
    if read_metadata(image(bare)):
        assert (made.code, "model: demo" in made.out) == (0, True), made.err
    else:
        assert (made.code, "it has no metadata" in made.err) == (2, True)


def test_redecoded_pictures_carry_as_much(cli, manifest, work):
    text = (
        "grid: {model: demo, prompt: a, steps: 1, size: 512x512}\noutput: {metadata: none, keep_latents: true}\n"
    )
    assert cli("run", manifest(text), "--out", "run", "--quiet").code == 0
    assert cli("redecode", "run", "--memory", "vae_tiling(256, 192)", "--out", "again", "--quiet").code == 0
    (found,) = (work / "again" / "images").iterdir()
    assert read_metadata(found) == {}


def test_another_setting_renders_nothing_again(cli, manifest, bare):
    before = hashes(bare)
    manifest(SMALL)
    assert nothing_is_rendered(cli, bare)
    assert hashes(bare) == before


def test_what_is_no_choice_is_said(cli, manifest):
    outcome = cli("plan", manifest(SMALL + "output: {metadata: some}\n"))
    assert (outcome.code, "'full', 'parameters' or 'none' is" in outcome.err) == (2, True), outcome.err


VARIED = """\
variants: {random: 2}
prompt_prefix: photo of
grid: {model: demo, prompt: ["a {red|blue|green|white} fox", a whale], steps: 1, size: 512x512}
"""


def test_the_template_is_in_receipt_and_table(cli, manifest, work):
    assert cli("run", manifest(VARIED), "--out", "run", "--quiet").code == 0
    templates = {item.task.prompt: item.task.prompt_template for item in receipts_of(work / "run")}
    assert templates.pop("photo of a whale") == ""
    assert set(templates.values()) == {"photo of a {red|blue|green|white} fox"}
    with (work / "run" / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["prompt"]: row["prompt_template"] for row in csv.DictReader(file)}
    assert rows == {**templates, "photo of a whale": ""}


def test_a_text_that_was_drawn_and_is_written_now_is_no_other_picture(cli, manifest, work):
    assert cli("run", manifest(VARIED), "--out", "run", "--quiet").code == 0
    prompts = [item.task.prompt.removeprefix("photo of ") for item in receipts_of(work / "run")]
    plain = f"prompt_prefix: photo of\ngrid: {{model: demo, prompt: {prompts}, steps: 1, size: 512x512}}\n"
    manifest(plain)
    assert nothing_is_rendered(cli, work / "run")
