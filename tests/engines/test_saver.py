"""Saving behind the next image: side by side, bounded, and measured by benchmarks/output_path.py."""

import csv
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from batch.cli.progress import Silent
from batch.engines import saving
from batch.store.folder import RunFolder
from tests import fake_session as fake
from tests.fake_session import Fault
from tests.helpers import fake_run

JOB = """\
name: saver
grid: {model: demo, prompt: a, seed: 0..9, steps: 1, size: 512x512}
run: {min_free_disk: 1MB}
"""


@pytest.fixture
def saves(monkeypatch):
    """How many images are in memory when one is drawn, and how many are being saved when one is."""
    lock, now = threading.Lock(), {"rendered": 0, "saved": 0, "saving": 0}
    seen = {"rendered": [], "saving": []}
    draw, save = fake._picture, RunFolder.save_image

    def drawn(*arguments):
        with lock:
            now["rendered"] += 1
            seen["rendered"].append(now["rendered"] - now["saved"])
        return draw(*arguments)

    def saved(*arguments):
        with lock:
            now["saving"] += 1
            seen["saving"].append(now["saving"])
        time.sleep(0.1)  # a slow disk; drawing takes a few milliseconds
        try:
            return save(*arguments)
        finally:
            with lock:
                now["saving"] -= 1
                now["saved"] += 1

    monkeypatch.setattr(fake, "_picture", drawn)
    monkeypatch.setattr(RunFolder, "save_image", saved)
    return seen


def render(path, *faults):
    return fake_run(path, *faults, seen=Silent(), out=Path("run"), engine="local")


def test_images_are_saved_side_by_side_and_never_pile_up(manifest, saves):
    result = render(manifest(JOB))
    assert len(RunFolder(result.folder).scan().receipts) == 10
    assert max(saves["saving"]) == saving.SAVERS
    assert max(saves["rendered"]) == saving.QUEUE


def test_an_image_that_cannot_be_saved_fails_alone(manifest, saves):
    result = render(manifest(JOB), Fault("eio", "save", seed=4))
    scan = RunFolder(result.folder).scan()
    assert len(scan.receipts) == 9
    (failure,) = scan.failures.values()
    assert (failure.task.seed, failure.error.stage) == (4, "save")


def test_the_files_are_those_of_one_saver(manifest, monkeypatch, work):
    names = []
    for savers in (2, 1):
        monkeypatch.setattr(saving, "SAVERS", savers)
        folder = RunFolder(render(manifest(JOB)).folder)
        names.append({key: replace(item.file, mtime=None) for key, item in folder.scan().receipts.items()})
        folder.root.rename(work / f"run-{savers}")
    assert names[0] == names[1]


def test_the_benchmark_runs_and_compares(tmp_path, monkeypatch):
    """Small pictures: that it works, not what it measures."""
    from benchmarks import output_path

    monkeypatch.setenv("RUN_BATCH_CACHE", "")  # it sets its own
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    target = tmp_path / "figures.csv"
    output_path.main(["--quick", "--csv", str(target), "--folder", str(tmp_path)])
    rows = list(csv.DictReader(target.read_text(encoding="utf-8").splitlines()))
    tables = [row["table"] for row in rows]
    assert {name: tables.count(name) for name in tables} == {"format": 21, "stage": 6, "overlap": 1}
    assert all(float(row["seconds"]) > 0 for row in rows if row["case"] != "sha256")
    png = next(row for row in rows if (row["picture"], row["case"]) == ("grainy", "png"))
    assert 0 < float(png["mb"]) < float(png["plain_mb"])


def test_the_benchmark_notices_a_lossy_encoder(tmp_path):
    from benchmarks import output_path

    path = tmp_path / "picture.png"
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    Image.fromarray(pixels ^ 1).save(path)
    with pytest.raises(SystemExit, match="lossless"):
        output_path.compare(pixels, path, "png")
