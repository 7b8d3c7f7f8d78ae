"""What got through once: folders a thousand deep, numbers that break a report, folders swapped for links."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from batch.base.errors import FolderLost
from batch.store.folder import RunFolder
from batch.store.images import reading
from tests.upkeep.run_files import image, receipt


@pytest.fixture
def deep_in(run):
    """Folders inside one another, and a picture in the last; pytest could not remove them again."""
    made = []

    def make(place):
        made.append(folder := run / place / "d")
        folder.mkdir(parents=True)
        for _ in range(1000):
            folder = folder / "d"
            folder.mkdir()
        (folder / "p.png").write_bytes(b"x")

    yield make
    subprocess.run(["rm", "-rf", *made], check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="paths end at 260 letters")
@pytest.mark.parametrize("place", ["images", "trash", "latents", ".run/receipts", "mine"])
def test_folders_a_thousand_deep_are_walked(cli, run, deep_in, place):
    deep_in(place)
    for command in (
        ("status", run),
        ("verify", run),
        ("prune", run, "--dry-run"),
        ("run", "job.yaml", "--out", run),
    ):
        assert cli(*command).code in (0, 1), command


@pytest.mark.parametrize(("key", "value"), [("seconds", 1e308), ("seconds", -1e308), ("width", 0), ("height", -5)])
def test_numbers_that_break_sums_are_damage(cli, run, key, value):
    data = json.loads(receipt(run).read_text())
    part = data["task"] if key in data["task"] else data["measurement"]["denoise"]
    part[key] = value
    receipt(run).write_text(json.dumps(data))
    for command in ("status", "report", "verify"):
        assert cli(command, run).code in (0, 1)
    assert cli("run", "job.yaml", "--out", run).code == 0
    assert cli("verify", run).code == 0


def test_a_folder_that_becomes_a_link_is_not_written_through(cli, run, work):
    (work / "elsewhere").mkdir()
    task = RunFolder(run).tasks()[0]
    pixels = reading.read_pixels(image(run))
    (run / "images").rename(work / "away")
    (run / "images").symlink_to(work / "elsewhere", target_is_directory=True)
    folder = RunFolder(run)
    with pytest.raises(FolderLost, match="leads out of"):
        folder.save_image(task, pixels)
    with pytest.raises(FolderLost):
        folder.trash.take("images/x.png")
    assert list((work / "elsewhere").iterdir()) == []


def test_a_name_with_a_line_end_is_one_line(cli, run):
    Image.new("RGB", (8, 8)).save(run / "images" / "x\nDONE all is well.png")
    outcome = cli("verify", run)
    assert outcome.code == 1
    assert "x\\u000aDONE all is well.png" in outcome.out


def test_a_picture_of_gigabytes_is_not_read(cli, run):
    os.truncate(image(run), 2**30 + 1)
    with pytest.raises(ValueError, match="bytes"):
        reading.read_pixels(image(run))
    assert "damaged 1" in cli("verify", run).out


def test_a_thumbnail_of_gigabytes_is_made_anew(cli, run):
    (thumb, *_) = sorted((run / "thumbs").glob("*.webp"))
    os.truncate(thumb, 2**31)
    assert cli("report", run).code == 0
    assert thumb.stat().st_size < 2**20


def test_latents_of_gigabytes_are_not_read(cli, run):
    (first, *_) = sorted((run / "latents").iterdir())
    os.truncate(first, 2**33)
    outcome = cli("redecode", run, "--memory", "vae_tiling(256, 192)", "--out", "again")
    assert (outcome.code, "3 of 4 done" in outcome.out) == (1, True), outcome.out
    assert "no latents can be read" in cli("status", "again").out
