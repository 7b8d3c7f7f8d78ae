"""What people read of a run in which things happened: table, page, sheet and status."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from batch.cli.progress import Silent
from batch.report import table
from batch.report.images import reported
from batch.report.page.overview import overview
from batch.run import runner
from batch.run.options import Options
from batch.run.steering import Steering
from batch.store import events
from batch.store.events import EventLog
from batch.store.folder import RunFolder
from tests.fake_session import FakeBackend, Fault
from tests.helpers import happen
from tests.report.pages import embedded

HOSTILE = "</script><script>alert(1)</script><b>bold</b>"


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Six images: two repaired or degraded, one that stays bad, one that fails; and what happened."""
    root = tmp_path_factory.mktemp("night")
    job = root / "night.yaml"
    job.write_text(
        "grid: {model: demo-1k, prompt: [a fox, a whale], seed: 0..2, steps: 2, size: 1344x768}\n"
        "run: {min_free_disk: 1MB}\noutput: {format: webp}\n"
    )
    faults = (
        Fault("nan", "decode", seed=0, prompt="a fox"),
        Fault("nan", "denoise", seed=1, prompt="a fox"),
        Fault("error", "decode", seed=1, prompt="a whale"),
        Fault("oom-torch", "decode", seed=2, unless="vae_tiling"),
    )
    options = Options(out=root / "run", engine="local", backend=FakeBackend(faults))
    runner.run(job, options, Silent(), Steering())
    folder = RunFolder(root / "run", "me-1")
    (folder.state / events.FILE).unlink(missing_ok=True)
    task = next(task for task in folder.tasks() if task.prompt == "a fox" and task.seed == 2)
    log = EventLog(folder)
    log.begin(3)
    log.begin(6)
    for number in range(4):
        log.write(happen(f"out of memory, number {number}", "out-of-memory", task=task.id))
    log.write(happen(HOSTILE, "worker-died", data={"log": f"first\n{HOSTILE}\nlast"}))
    runner.report(folder.root)
    return folder


def test_the_table_has_the_setting_used_and_what_was_invalid(night):
    rows = table.read(night.root / "results.csv").set_index(["prompt", "seed"])
    assert rows.loc[("a fox", 2), "degraded_from"] == "auto"
    assert "vae_tiling" in rows.loc[("a fox", 2), "memory"]
    assert rows.loc[("a fox", 0), ["status", "memory", "degraded_from", "error"]].tolist() == [
        "done",
        "auto",
        "",
        "",
    ]
    assert rows.loc[("a fox", 1), "status"] == "invalid"
    assert "not finite" in rows.loc[("a fox", 1), "error"]
    assert rows.loc[("a whale", 1), "status"] == "failed"
    assert rows.status.value_counts()["done"] == 4


def test_times_are_told_apart_by_the_setting_used(night):
    images = reported(night.tasks(), night.scan())
    data = overview(images, night.scan(), [], {}, {image.task.id for image in images})
    rows = [dict(zip(data["timing"]["columns"], row, strict=True)) for row in data["timing"]["rows"]]
    found = {row["memory"]: {"images": row["images"], "failed": row["failed"]} for row in rows}
    (degraded,) = [name for name in found if "degraded" in name]
    assert degraded.startswith("vae_tiling")
    assert degraded.endswith("(degraded from auto)")
    assert found["auto"] == {"images": 2, "failed": 2}
    assert found[degraded] == {"images": 2, "failed": 0}


def test_comparing_says_that_memory_ran_out_in_the_first_run(night, tmp_path, cli):
    other = tmp_path / "other"
    shutil.copytree(night.root, other)
    said = cli("compare", night.root, other).out
    assert "memory ran out in" in said
    assert "were rendered with vae_tiling" in said


def page_data(folder):
    return embedded((folder.root / "report.html").read_text(encoding="utf-8"))[1]


def test_the_report_says_what_happened(night):
    data = page_data(night)
    assert (data["summary"]["failed"], data["summary"]["done"], data["summary"]["degraded"]) == (2, 4, 2)
    assert [item["kind"] for item in data["happened"]] == ["started", *["out-of-memory"] * 4, "worker-died"]
    fox = next(image for image in data["images"] if image["id"] == data["happened"][1]["image"])
    assert fox["name"].startswith("a-fox-2-")
    images = {(image["prompt"], image["seed"]): image for image in data["images"]}
    assert "float32" in images["a fox", "0"]["repaired"]
    assert images["a fox", "1"]["status"] == "invalid"
    assert "vae_tiling" in images["a fox", "2"]["memory"]


def test_what_happened_in_a_browser(night, page, tmp_path):
    page.goto((night.root / "report.html").as_uri() + "#part=happened")
    assert page.locator("#events > li").count() == 6
    said = page.text_content("#happened")
    assert "out of memory, number 3" in said
    assert page.text_content("#happened details pre") == f"first\n{HOSTILE}\nlast"
    assert page.locator("b", has_text="bold").count() == 0
    cards = page.text_content("#gallery")
    assert "repaired: decoded in float32" in cards
    assert "degraded from auto" in cards
    assert page.locator(".card.invalid").count() == page.locator(".card.failed").count() == 1
    shutil.copytree(night.root, tmp_path / "quiet")
    quiet = RunFolder(tmp_path / "quiet")
    (quiet.state / events.FILE).unlink()
    EventLog(quiet).begin(6)
    runner.report(quiet.root)
    page.goto((quiet.root / "report.html").as_uri())
    assert page.is_hidden("#tab-happened")


def test_status_says_what_happened_in_the_last_run(night, cli):
    said = cli("status", night.root).out
    assert "happened in the last run: out-of-memory 4, worker-died 1" in said
    lines = re.findall(r"^ +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  (.*)$", said, re.MULTILINE)
    assert lines == ["out of memory, number 2", "out of memory, number 3", HOSTILE]
    data = cli("status", night.root, "--json").json()
    assert data["happened"] == {"out-of-memory": 4, "worker-died": 1}
    assert [item["text"] for item in data["last_happenings"]] == lines


def test_the_contact_sheet_marks_degraded_and_repaired_pictures(night, tmp_path):
    shutil.copytree(night.root, tmp_path / "plain")
    plain = RunFolder(tmp_path / "plain")
    for path in (plain.state / "receipts").rglob("*.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "degraded_from": "", "repaired": ""}))
    runner.report(plain.root)
    marked, unmarked = (Image.open(item.root / "contact_sheet.jpg").convert("L") for item in (night, plain))
    apart = np.abs(np.asarray(marked, int) - np.asarray(unmarked, int)) > 60
    # A fox with seed 0 and with 2, a whale with seed 2.
    assert [len(runs(apart[rows].any(axis=0))) for rows in runs(apart.any(axis=1))] == [2, 1]


def runs(flags):
    """Places of set flags, in runs; gaps of less than 60 pixels are none."""
    (places,) = np.nonzero(flags)
    return np.split(places, np.nonzero(np.diff(places) > 60)[0] + 1)
