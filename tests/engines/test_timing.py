"""Where the time goes: a row's columns add up to the distance to the next image."""

import time
from itertools import pairwise

import pytest
import torch

from batch.engines.saving import Saver
from batch.engines.worker import Worker
from batch.records.receipts import CardState, Measurement, StagePeak
from batch.records.spec import ModelSource
from batch.render.image import Renderer
from batch.render.session import DiffusersSession
from batch.report import table
from batch.report.timing import ImageCosts
from tests.conftest import DEMO

JOB = """\
grid:
  {model: demo-1k, prompt: [a fox, a whale], seed: 0..3, steps: 2, size: 1024x1024, memory: "vae_tiling(512, 448)"}
run: {min_free_disk: 1MB, batch: BATCH, compile: off}
"""

PARTS = ["load_s", "encode_s", "denoise_s", "decode_s", "between_s"]


@pytest.fixture
def clock(monkeypatch):
    """When the worker was ready, and when each image left the device."""
    seen = []
    made, render = Worker.__init__, Renderer.together

    def ready(*arguments, **named):
        made(*arguments, **named)
        seen.append(time.perf_counter())

    def rendered(*arguments, **named):
        for item in render(*arguments, **named):
            seen.append(time.perf_counter())
            yield item

    monkeypatch.setattr(Worker, "__init__", ready)
    monkeypatch.setattr(Renderer, "together", rendered)
    return seen


@pytest.mark.parametrize("batch", [1, 3])
def test_every_second_between_two_images_stands_in_a_column(cli, manifest, work, clock, batch):
    assert cli("run", manifest(JOB.replace("BATCH", str(batch))), "--out", "run", "--quiet").code == 0
    rows = table.read(work / "run" / "results.csv").sort_values("seed", kind="stable")
    assert rows[["denoise_s", "decode_s", "between_s"]].notna().all(axis=None)
    assert (rows.between_s >= 0).all()
    told = rows[PARTS].fillna(0).sum(axis=1)
    assert told.sum() == pytest.approx(clock[-1] - clock[0], rel=0.03)
    if batch == 1:
        apart = [after - before for before, after in pairwise(clock)][1:]  # texts come before the first image
        assert list((told - rows.encode_s.fillna(0))[1:]) == pytest.approx(apart, rel=0.03, abs=0.005)


def test_a_wait_for_a_saver_is_told(cli, manifest, work, monkeypatch):
    """A disk that is slower than the model holds the model up, and that is in no stage."""
    save = Saver._save

    def slow(*arguments):
        time.sleep(0.5)
        return save(*arguments)

    monkeypatch.setattr(Saver, "_save", slow)
    job = "grid: {model: demo, prompt: a, seed: 0..9, steps: 1, size: 512x512}\nrun: {min_free_disk: 1MB}\n"
    assert cli("run", manifest(job), "--out", "run", "--quiet").code == 0
    rows = table.read(work / "run" / "results.csv")
    assert rows.between_s.max() > 0.1 > rows.between_s.iloc[1]


@pytest.mark.parametrize("measure", [True, False])
def test_a_measured_stage_begins_with_nothing_left_over(monkeypatch, measure):
    done = []
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, name=name: done.append(name))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: 0)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    source = ModelSource(name="x", family="sana", location=str(DEMO))
    with DiffusersSession(source, "float32", "cuda:0", measure=measure).meter.stage():
        done.append("work")
    emptied = ["empty_cache"] if measure else []
    assert done == [
        "synchronize",
        *emptied,
        "reset_peak_memory_stats",
        "work",
        "synchronize",
        "max_memory_allocated",
    ]


def test_peaks_of_stages_are_what_is_predicted():
    """Allocated, not reserved: what torch keeps beside it is left from the stage before."""
    stage = StagePeak(allocated=2**30, reserved=2**31, device=2**32, rss=2**33)
    cost = ImageCosts.of(Measurement(denoise=stage, decode=StagePeak(rss=2**20), card=CardState()))
    assert (cost.denoise.predicted, cost.decode.predicted, cost.peaks.reserved) == (1024, 1, 2048)
