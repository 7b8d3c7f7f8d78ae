"""What the program costs beside rendering: its start, each image, and that neither grows with their number."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from batch.base import atomic
from batch.cli.progress import Silent
from batch.plan.pins import Pins
from batch.records.tasks import Task
from batch.report.sheet import axes, blocks, growing, layout
from batch.report.sheet.growing import Sheets
from batch.run import runner
from batch.run.options import Options
from batch.run.steering import Steering
from batch.store.folder import RunFolder
from batch.store.job import Origin
from batch.store.receipts import Scan
from benchmarks import scale
from tests.conftest import ROOT, SMALL
from tests.fake_session import FakeBackend
from tests.helpers import receipts_of

MEASURED = """\
import json, sys, time
from batch.cli.main import main
if __name__ == "__main__":
    code = main(sys.argv[1:])
    modules = sorted({name.split(".")[0] for name in sys.modules})
    with open("measured.json", "w") as file:
        json.dump({"code": code, "cpu_s": time.process_time(), "modules": modules}, file)
"""

TORCH = {"torch", "diffusers", "transformers", "accelerate", "peft"}
LIBRARIES = TORCH | {"numpy", "PIL", "pydantic", "yaml", "pandas", "psutil", "huggingface_hub", "imagecodecs"}


def measured(folder, *arguments):
    """The command line in a process of its own: exit code, processor seconds, modules loaded at its end."""
    script = folder / "measured.py"
    script.write_text(MEASURED)
    # Pytest's own path, so that this package is tested and not an installed one.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RUN_BATCH_ENGINE": "process"}
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads((folder / "measured.json").read_text()) | {"err": done.stderr}


# The start


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_loads_no_library_and_takes_no_time(work, arguments):
    found = [measured(work, *arguments) for _ in range(3)]
    assert found[0]["code"] == 0
    assert LIBRARIES.isdisjoint(found[0]["modules"])
    assert min(item["cpu_s"] for item in found) < 0.6  # 0.13 s on an idle machine


def test_a_mistake_is_told_before_anything_heavy_is_loaded(work):
    (work / "job.yaml").write_text(SMALL.replace("seed", "sead"))
    found = measured(work, "run", "job.yaml")
    assert found["code"] == 2
    assert "sead" in found["err"]
    assert (TORCH | {"pandas", "multiprocessing"}).isdisjoint(found["modules"])
    assert not (work / "outputs").exists()


def test_torch_is_loaded_by_the_worker_alone(work):
    (work / "job.yaml").write_text(SMALL)
    found = measured(work, "run", "job.yaml", "--max-images", 1, "--out", "run", "--devices", "cpu")
    assert found["code"] == 75, found["err"]
    receipts = receipts_of(work / "run")
    assert [bool(receipt.machine.torch) for receipt in receipts] == [True]
    assert TORCH.isdisjoint(found["modules"])
    status = measured(work, "status", "run")
    assert status["code"] == 0
    assert (TORCH | {"pandas"}).isdisjoint(status["modules"])


# An image


def test_an_image_costs_four_syncs(work, monkeypatch):
    """Its file and its receipt, each with its folder; the thumbnail can be made again."""
    (work / "job.yaml").write_text(SMALL.replace("0..1", "0..9") + "run: {min_free_disk: 1MB}\n")
    synced = []
    monkeypatch.setattr(atomic, "_sync_folder", lambda folder: synced.append(folder.name))
    whole = os.fsync
    monkeypatch.setattr(atomic.os, "fsync", lambda number: synced.append("a file") or whole(number))
    result = runner.run(
        Path("job.yaml"),
        Options(out=Path("run"), engine="local", backend=FakeBackend()),
        Silent(),
        Steering(),
    )
    assert result.rendered == 20
    assert synced.count("images") == 20
    assert "thumbs" not in synced
    folders = [path.name for path in (work / "run" / ".run" / "receipts").iterdir()]
    assert sum(synced.count(name) for name in folders) == 20
    assert synced.count("receipts") == len(folders)  # once for each new one
    assert 40 <= synced.count("a file") <= 40 + 15  # and those of the run itself


def test_a_new_folder_is_synced_with_all_that_lead_to_it(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(atomic, "_sync_folder", synced.append)
    for name in ("x", "y"):
        atomic.write(tmp_path / "a" / "b" / name, b"data")
    assert synced == [tmp_path, tmp_path / "a", *[tmp_path / "a" / "b"] * 2]
    atomic.write(tmp_path / "c" / "x", b"data", durable=False)
    assert (tmp_path / "c" / "x").read_bytes() == b"data"
    assert synced[4:] == [tmp_path]


def test_a_thumbnail_that_is_gone_or_torn_is_made_again(cli, manifest, work):
    assert cli("run", manifest(), "--out", "run", "--quiet").code == 0
    thumbs = sorted((work / "run" / "thumbs").glob("*.webp"))
    whole = {path: path.read_bytes() for path in thumbs}
    sheet_before = (work / "run" / "contact_sheet.jpg").read_bytes()
    thumbs[0].unlink()
    thumbs[1].write_bytes(b"")
    thumbs[2].write_bytes(whole[thumbs[2]][:100] + b"\0" * 500)
    assert cli("report", "run").code == 0
    assert {path: path.read_bytes() for path in thumbs} == whole
    assert (work / "run" / "contact_sheet.jpg").read_bytes() == sheet_before


def test_where_the_image_is_unreadable_too_the_sheet_says_so(cli, manifest, work):
    assert cli("run", manifest(), "--out", "run", "--quiet").code == 0
    folder = RunFolder(work / "run")
    key, receipt = next(iter(folder.scan().receipts.items()))
    folder.thumb_path(key).unlink()
    (folder.root / receipt.file.path).write_bytes(b"\0" * receipt.file.bytes)
    assert cli("report", "run").code == 0
    assert not folder.thumb_path(key).exists()


# Very many


def many(count):
    """Tasks of as many prompts, each with a seed of its own."""
    task = Task(
        model="demo", dtype="float32", prompt="", seed=0, width=512, height=512, rendered_width=512,
        rendered_height=512, steps=1, guidance=1.0,
    )  # fmt: skip
    return [replace(task, id=f"{number:016x}", prompt=f"thing {number}", seed=number) for number in range(count)]


def test_laying_out_a_sheet_grows_with_its_pictures_alone():
    def seconds(tasks):
        start = time.process_time()
        assert sum(len(block.cells) for block in blocks.blocks_of(tasks, axes.choose(axes.axes_of(tasks)))) == len(
            tasks
        )
        return time.process_time() - start

    few, lots = many(1_000), many(8_000)
    ratio = min(seconds(lots) for _ in range(3)) / min(seconds(few) for _ in range(3))
    assert ratio < 25  # 8 is linear, 64 quadratic


def test_no_page_of_a_sheet_looks_at_every_task(tmp_path, monkeypatch):
    looks = []
    whole = axes.axes_of
    monkeypatch.setattr(axes, "axes_of", lambda tasks: looks.append(len(tasks)) or whole(tasks))
    monkeypatch.setattr(growing, "PAPER", layout.Paper(height=1_000))
    tasks = [replace(task, seed=0) for task in many(60)]
    folder = RunFolder(tmp_path)
    folder.begin("many", "render", Origin(), tasks, Pins())
    assert len(Sheets(folder, tasks).write(Scan(skipped={task.id: "too large" for task in tasks}))) > 3
    assert len(looks) == 1


A_REPORT_MIB = 50
"""What the first report brings into memory: on a busy machine it falls into the time that is measured."""


def test_the_benchmark_and_that_nothing_grows_over_a_run(tmp_path):
    row = scale.measure(160, tmp_path, edge=40)
    assert (row.tasks, row.rendered) == (160, 160)
    assert row.syncs_ms > 0
    assert row.first_image_s > 0
    assert row.cpu_ms < 40  # about 5 on an idle machine
    assert row.parent_end_mib - row.parent_start_mib < 15 + A_REPORT_MIB
    assert row.worker_end_mib - row.worker_start_mib < 15
    scale.write_csv([row], tmp_path / "scale.csv")
    assert (tmp_path / "scale.csv").read_text().splitlines()[0].startswith("tasks,rendered,plan_s,scan_s")


def test_the_filled_form_renders_the_ends_only(tmp_path):
    row = scale.measure(400, tmp_path, edge=40, filled=True)
    assert (row.tasks, row.rendered) == (400, 80)
