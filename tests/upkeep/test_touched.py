"""Finished pictures that somebody edited, optimised, renamed, moved or copied: they stay theirs."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from batch.report import table
from batch.store.folder import RunFolder
from batch.store.images.looks import hash_pixels, look
from tests.conftest import SMALL
from tests.edits import (
    convert,
    crop,
    export,
    move,
    move_and_rate,
    optimise,
    rate,
    rename,
    rename_and_strip,
    repaint,
    retouch,
    shrink,
    turn_and_sort,
)
from tests.helpers import hashes
from tests.upkeep.run_files import flip, image, receipt, snapshot

EDITS = {
    "rated": (rate, "changed", "other bytes, the same pixels"),
    "optimised": (optimise, "changed", "other bytes, the same pixels"),
    "retouched": (retouch, "changed", "other pixels"),
    "renamed": (rename, "moved", "it was images/a-fox-0-"),
    "moved": (move, "moved", "it was images/a-fox-0-"),
    "renamed and rated": (move_and_rate, "moved and changed", "other bytes, the same pixels"),
    "renamed and stripped": (rename_and_strip, "moved and changed", "other bytes, the same pixels"),
    "painted over": (repaint, "replaced", "nothing in the file says which picture it is"),
    "made smaller": (shrink, "replaced", "nothing in the file says which picture it is"),
    "cropped": (crop, "changed", "other pixels"),
    "turned and sorted": (turn_and_sort, "moved and changed", "other pixels"),
    "converted": (convert, "replaced", "nothing in the file says which picture it is"),
    "exported": (export, "replaced", "it was images/a-fox-0-"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_touched_picture_is_left_alone_and_said(cli, run, edit):
    touch, word, said = EDITS[edit]
    touch(image(run))
    before = hashes(run)

    status = cli("status", run)
    assert (status.code, f"{word} 1" in status.out, "4 of 4 done" in status.out) == (0, True, True)
    verified = cli("verify", run)
    assert verified.code == 0, verified.out
    assert said in verified.out
    again = cli("run", "job.yaml", "--out", run)
    assert again.code == 0, again.err
    assert "0 images rendered" in again.out
    assert "1 finished picture edited or moved" in again.err + again.out
    assert cli("prune", run).code == 0
    assert hashes(run) == before

    row = table.read(run / "results.csv").set_index("status").loc["done"]
    (touched,) = row[row.touched != ""].itertuples()
    assert touched.touched == word
    assert (touched.width, touched.height) == _size(run / touched.file)
    assert (run / touched.file).is_file()
    assert f'"touched":"{word}"' in (run / "report.html").read_text()
    assert not (run / "trash").exists()


@pytest.mark.parametrize(
    "edit",
    ["retouched", "moved", "renamed and rated", "renamed and stripped", "painted over", "converted", "exported"],
)
def test_restore_renders_it_again_and_keeps_what_was_there(cli, run, edit):
    original = hashes(run)
    EDITS[edit][0](image(run))
    edited = hashes(run)
    again = cli("run", "job.yaml", "--out", run, "--restore")
    assert (again.code, "1 image rendered" in again.out) == (0, True), again.err
    assert original.items() <= hashes(run).items()
    kept = {**hashes(run), **{path.name: digest for path, digest in _all(run / "trash").items()}}
    assert set(edited.values()) <= set(kept.values())
    verified = cli("verify", run)
    assert (verified.code, "4 of 4 done and whole" in verified.out) == (0, True), verified.out


def _size(path):
    seen = look(path)
    return seen.width, seen.height


def _all(folder):
    return {path: _digest(path) for path in folder.rglob("*") if path.is_file()}


def _digest(path):
    return look(path).sha256


@pytest.mark.parametrize("tear", [lambda path: os.truncate(path, 1000), flip, lambda path: path.write_bytes(b"")])
def test_a_torn_picture_is_rendered_again_and_kept_in_trash(cli, run, tear):
    original = hashes(run)
    tear(image(run))
    torn = image(run).read_bytes()
    assert "1 torn" in cli("status", run).out
    again = cli("run", "job.yaml", "--out", run)
    assert (again.code, "1 image rendered" in again.out) == (0, True), again.err
    assert "1 picture damaged" in again.err + again.out
    assert hashes(run) == original
    (kept,) = _all(run / "trash")
    assert kept.read_bytes() == torn
    assert kept.name == image(run).name


def test_pictures_that_were_swapped_are_both_found(cli, run):
    one, other = image(run), image(run, "a-whale-1")
    swapped = one.with_name("swap.png")
    one.rename(swapped)
    other.rename(one)
    swapped.rename(other)
    before = hashes(run)
    assert "moved 2" in cli("status", run).out
    assert "0 images rendered" in cli("run", "job.yaml", "--out", run).out
    assert hashes(run) == before


def test_a_picture_that_was_moved_onto_another_steps_aside(cli, run):
    one, other = image(run), image(run, "a-whale-1")
    fox, whale = look(one).sha256, look(other).sha256
    name, place = one.stem, other.relative_to(run).as_posix()
    one.replace(other)
    status = cli("status", run).out
    assert ("1 place taken by another picture" in status, "torn" in status) == (True, False)
    verified = cli("verify", run).out
    assert f"MISSING    {place}: it holds the picture of {name}\n" in verified
    assert verified.count(place) == 1
    again = cli("run", "job.yaml", "--out", run)
    assert (again.code, "1 image rendered" in again.out) == (0, True), again.err
    assert f"{other.name} stepped aside as {other.stem}-2.png" in again.err
    assert "damaged" not in again.err
    assert look(other).sha256 == whale
    assert look(other.with_stem(f"{other.stem}-2")).sha256 == fox
    assert "moved 1" in cli("status", run).out
    assert "0 images rendered" in cli("run", "job.yaml", "--out", run).out


def test_a_folder_that_was_copied_without_times_is_whole(cli, run):
    for path in (run / "images").iterdir():
        os.utime(path, (1, 1))
    assert "4 of 4 done" in cli("status", run).out
    assert "changed" not in cli("status", run).out
    assert "0 images rendered" in cli("run", "job.yaml", "--out", run).out


def test_a_picture_is_read_once_while_it_stays_as_it_is(cli, run, monkeypatch):
    from batch.store.images import looks

    rename(image(run))
    rate(image(run, "a-fox-1"))
    read = []
    monkeypatch.setattr(looks, "look", lambda path, known=(): read.append(path) or look(path, known))
    assert "moved 1" in cli("status", run).out
    first = len(read)
    assert first
    assert "moved 1" in cli("status", run).out
    assert len(read) == first
    rate(image(run, "a-fox-1"), "12345")
    assert "changed 1" in cli("status", run).out
    assert len(read) > first


def test_untouched_pictures_are_never_read(cli, run, monkeypatch):
    from batch.store.images import looks

    monkeypatch.setattr(looks, "look", lambda *_: pytest.fail("read"))
    assert "4 of 4 done" in cli("status", run).out


def test_an_edited_picture_without_receipt_is_not_overwritten(cli, run):
    retouch(image(run))
    edited = look(image(run)).sha256
    receipt(run).unlink()
    again = cli("run", "job.yaml", "--out", run)
    assert (again.code, "1 image rendered" in again.out) == (0, True)
    assert [_digest(path) for path in _all(run / "trash")] == [edited]


def test_links_in_images_are_not_followed(cli, run, work):
    elsewhere = work / "elsewhere.png"
    image(run).rename(elsewhere)
    image_path = Path(json.loads(receipt(run).read_text())["file"]["path"])
    (run / image_path).symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    verified = cli("verify", run).out
    assert "MISSING" in verified
    assert "a link is in its place, and links are not followed" in verified
    assert "damaged" not in verified + cli("plan", "job.yaml", "--out", run).out
    assert "1 with a link in the place" in cli("status", run).out
    again = cli("run", "job.yaml", "--out", run)
    assert (again.code, "1 image rendered" in again.out) == (0, True)
    assert "1 picture behind a link" in again.err
    assert elsewhere.read_bytes() == before
    assert not (run / image_path).is_symlink()


def test_prune_moves_what_is_extra_from_where_it_lies(cli, run, manifest):
    move(image(run, "a-whale-0"))
    path = manifest(SMALL.replace("[a fox, a whale]", "a fox"))
    assert cli("run", path, "--out", run, "--quiet").code == 0
    assert cli("prune", run).code == 0
    moved = [path for path in _all(run / "trash") if "best" in path.parts]
    assert len(moved) == 1


@pytest.mark.parametrize("kind", ["jpeg", "webp", "webp-lossless", "tiff", "png", "avif"])
def test_every_format_keeps_a_hash_of_its_pixels(cli, manifest, kind):
    path = manifest(SMALL + f"output: {{format: {kind}}}\n")
    assert cli("run", path, "--out", "run", "--quiet", "--max-images", "1").code == 75
    (done,) = RunFolder(Path("run")).scan().receipts.values()
    seen = look(Path("run") / done.file.path)
    assert (seen.pixels_sha256, seen.task_id) == (done.file.pixels_sha256, done.task.id)
    assert not seen.error


def test_compare_leaves_out_what_was_repainted(cli, run):
    shutil.copytree(run, "other")
    retouch(image(run))
    rate(image(run, "a-fox-1"))
    outcome = cli("compare", run, "other", "--json")
    assert outcome.code == 0, outcome.err
    assert "other pixels" in outcome.out
    assert "a-fox-1" not in outcome.out


def test_greys_and_opaque_alpha_are_the_same_pixels():
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    colour = np.repeat(grey[:, :, None], 3, axis=2)
    opaque = np.dstack([colour, np.full((8, 8), 255, np.uint8)])
    clear = np.dstack([colour, np.full((8, 8), 254, np.uint8)])
    assert hash_pixels(grey) == hash_pixels(colour) == hash_pixels(opaque) != hash_pixels(clear)


def test_verify_writes_nothing_about_touched_pictures(cli, run):
    move(image(run))
    before = snapshot(run)
    cli("verify", run)
    assert snapshot(run) == before


@pytest.mark.parametrize("command", ["status", "verify", "report"])
def test_a_file_of_a_terabyte_is_not_read(cli, run, command):
    os.truncate(image(run), 2**40)
    assert "Traceback" not in cli(command, run).err
    assert "to render 1" in cli("status", run).out


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff"])
def test_bits_that_rot_are_damage_and_a_run_mends_them(cli, manifest, kind):
    """The size and the time stay: `verify` reads the file, and a run then knows."""
    options = ", compression: none" if kind == "tiff" else ""
    path = manifest(SMALL + f"output: {{format: {kind}{options}}}\n")
    assert cli("run", path, "--out", "run", "--quiet").code == 0
    before, (rotten, *_) = hashes("run"), sorted(Path("run/images").iterdir())
    time = rotten.stat().st_mtime
    flip(rotten)
    os.utime(rotten, (time, time))
    assert "4 of 4 done" in cli("status", "run").out
    verified = cli("verify", "run")
    assert (verified.code, "damaged 1" in verified.out) == (1, True), verified.out
    assert "1 image rendered" in cli("run", path, "--out", "run").out
    assert hashes("run") == before
    assert len(_all(Path("run/trash"))) == 1
    assert cli("verify", "run").code == 0


def test_rotten_bits_that_were_put_right_are_done_again(cli, run):
    whole, time = image(run).read_bytes(), image(run).stat().st_mtime
    flip(image(run))
    os.utime(image(run), (time, time))
    assert cli("verify", run).code == 1
    assert "to render 1" in cli("status", run).out
    image(run).write_bytes(whole)
    os.utime(image(run), (time, time))
    assert cli("verify", run).code == 0
    assert "4 of 4 done" in cli("status", run).out


def test_pictures_of_one_size_and_moment_are_told_apart(cli, manifest):
    path = manifest(SMALL + "output: {format: tiff, compression: none}\n")
    assert cli("run", path, "--out", "run", "--quiet").code == 0
    one, other, *_ = sorted(Path("run/images").iterdir())
    assert one.stat().st_size == other.stat().st_size
    one.replace(other)
    assert "to render 1" in cli("status", "run").out
    assert "1 image rendered" in cli("run", path, "--out", "run").out
    assert "4 of 4 done and whole" in cli("verify", "run").out
