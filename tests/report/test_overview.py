"""The head, the failures, what happened and the charts of report.html, as a reader finds them."""

import json
from dataclasses import replace

import pytest

from batch.base.errors import FailedInARow
from batch.cli.main import main
from batch.cli.progress import Silent
from batch.records.kinds import HappeningKind
from batch.records.reading import to_json
from batch.records.receipts import Machine, Receipt, StagePeak
from batch.report.write import write_report
from batch.run import runner
from batch.run.limits import Limits
from batch.store import events
from batch.store.events import EventLog, LogEntry
from batch.store.folder import RunFolder
from tests.fake_session import Fault
from tests.helpers import fake_run, happen
from tests.report.pages import BROWSER, until
from tests.report.test_sessions import iso

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

HOSTILE = "</script><script>alert(1)</script> & <b>bold</b>\u202e"

JOB = f"""\
name: night
grid: {{model: demo, prompt: [a fox, {json.dumps(HOSTILE)}], seed: 1..6, steps: 2, size: 512x512}}
run: {{min_free_disk: 1MB, retries: 1}}
"""

GIB = 2**30
BEGAN = 1_790_000_000


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Twelve images of a card of 12 GiB, one a minute in two runs with a pause; three failed."""
    root = tmp_path_factory.mktemp("it's night")
    (root / "job.yaml").write_text(JOB, encoding="utf-8")
    faults = (Fault("oom-torch", stage="denoise", seed=2), Fault("error", stage="decode", seed=6, prompt="a fox"))
    fake_run(root / "job.yaml", *faults, seen=Silent(), out=root / "run", engine="local", fallback=False)
    folder = RunFolder(root / "run", "me-1")
    scan, at = folder.scan(), BEGAN
    log = [event("started", at)]
    for index, task in enumerate(folder.tasks()):
        at += 60
        if index == 6:
            log += [event("paused", at), event("resumed", at + 600), event("stopped", at + 660)]
            at += 30_000
            log += [event("started", at), event("worker-died", at + 5, task.id)]
        write(folder, scan.receipts.get(task.id) or scan.failures[task.id], at + 10, index)
    log.append(event("end", at + 60))
    lines = "".join(json.dumps(to_json(entry)) + "\n" for entry in log)
    (folder.state / events.FILE).write_text(lines, encoding="utf-8")
    runner.report(folder.root)
    return folder


def event(kind, at, task=""):
    return LogEntry(time=iso(at), runner="me-1", kind=kind, text=f"{kind}: {HOSTILE}", task=task)


def write(folder, record, at, index):
    """The record as of a card, with an image that took 40 s where the others took 20; the first one loaded."""
    stage = StagePeak(seconds=40.0 if index == 3 else 20.0, device=(6 + index % 2) * GIB)
    cost = replace(record.measurement, denoise=stage, load_s=300.0 if index == 0 else None, warmup=index == 0)
    machine = Machine(device="RTX 4070", device_memory=12 * GIB, vram_limit=8 * GIB)
    (path,) = folder.state.rglob(f"{record.task.id}.json")
    changed = replace(record, measurement=cost, machine=machine, started_at=iso(at))
    if not isinstance(changed, Receipt):
        error = replace(changed.error, message=f"{changed.error.message} Of it {at} bytes.")
        changed = replace(changed, error=error)
    path.write_text(json.dumps(to_json(changed)), encoding="utf-8")


@pytest.fixture
def costs(night, page):
    page.goto((night.root / "report.html").as_uri() + "#part=costs")
    return page


def test_the_head_says_how_the_night_was(night, page):
    page.goto((night.root / "report.html").as_uri())
    said = page.inner_text("#verdict")
    assert "9 of 12 done" in said
    assert page.inner_text("#facts").split("\n")[-1] != ""
    assert "RTX 4070 (12.0 GiB, held to 8.0 GiB)" in page.inner_text("#common")
    assert page.locator(".card").first.bounding_box()["y"] < 400
    page.click("#verdict a.bad")
    assert page.is_visible("#failures")
    assert page.said == []


def test_what_an_image_takes_is_that_of_one_device(page, tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text(JOB, encoding="utf-8")
    fake_run(job, seen=Silent(), out=tmp_path / "run", engine="local", limits=Limits(max_images=3))
    folder = RunFolder(tmp_path / "run")
    for title in ("AN IMAGE (MEDIAN)", "AN IMAGE ON ONE DEVICE (MEDIAN)"):
        write_report(folder)
        page.goto((folder.root / "report.html").as_uri())
        assert title in page.inner_text("#facts").upper().split("\n")
        EventLog(folder).begin(9)
        EventLog(folder).write(happen("two", HappeningKind.DEVICES, data={"devices": 2}))


def test_failures_are_grouped_and_say_what_tries_them_again(night, page):
    page.goto((night.root / "report.html").as_uri() + "#part=failures")
    titles = page.locator(".failure h3").all_inner_texts()
    assert [title.split(" · ")[:2] for title in titles] == [["Denoise", "2 images"], ["Decode", "1 image"]]
    assert "Of it" in page.inner_text(".failure.unfit .why")
    commands = page.locator(".command code").all_inner_texts()
    assert commands[0].endswith(" --retry-failed")
    assert "'\"'\"'" in commands[0]  # the folder's name holds a quote
    assert "memory: 8gb, 6gb or 4gb" in page.inner_text("#failures")
    page.click(".command button >> nth=0")
    until(page, "document.querySelector('.command button').textContent === 'Copied'")
    assert page.said == []


def test_each_bar_is_an_image_that_can_be_reached_by_keys(costs):
    costs.locator("#plot").focus()
    assert costs.evaluate("[bars.length, bars.map(bar => bar.images.length).every(count => count === 1)]") == [
        12,
        True,
    ]
    assert "loading 5m 00s" in costs.inner_text("#readout")
    assert costs.locator("#plot .cut-off").count() == 1  # what loads does not flatten the others
    assert 40 < costs.evaluate("axisTop") < 60
    for _ in range(3):
        costs.keyboard.press("ArrowRight")
    assert "denoising 40.0s" in costs.inner_text("#readout")
    assert costs.get_attribute("#plot", "aria-valuenow") == "4"
    assert "denoising 40.0s" in costs.get_attribute("#plot", "aria-valuetext")
    assert costs.locator("#plot .c-bad").count() == 3
    costs.keyboard.press("End")
    name = costs.inner_text("#readout a")
    costs.keyboard.press("Enter")
    assert costs.evaluate("[$('viewer').open, shown[0].name]") == [True, name]
    assert costs.said == []


def test_the_chart_by_the_clock_leaves_out_the_day(costs):
    costs.click("#by-clock")
    assert "by=clock" in costs.url
    assert costs.evaluate("bars.length") == 12
    gaps = costs.evaluate("bars.slice(1).map((bar, index) => bar.x - bars[index].x)")
    assert max(gaps) < 20 * min(gaps)  # the pause is there, the eight hours between are not
    assert "worker died" in costs.inner_text("#chart-marks")
    assert HOSTILE in costs.inner_text("#chart-marks")
    costs.mouse.move(*(costs.locator("#plot").bounding_box()[side] + 60 for side in ("x", "y")))
    assert costs.inner_text("#readout a")
    assert costs.said == []


def test_work_and_memory(costs):
    said = costs.inner_text("#sessions")
    assert "in 2 runs" in said
    assert "without pauses of 10m 00s" in said
    assert "the card worked 31\u00a0%" in said  # eleven images of 20 s and one of 40, in 14 minutes
    assert costs.locator(".strips svg").count() == 2
    assert costs.locator(".strips .c-rest").count() == 1
    peaks = costs.inner_text("#peaks")
    assert "7.0 GiB" in peaks
    assert "2 images out of memory" in peaks
    assert "RTX 4070 has 12.0 GiB" in peaks
    assert "held to 8.0 GiB" in peaks
    costs.click("#times summary")
    until(costs, "document.querySelectorAll('#times tbody tr').length === 12")
    assert costs.said == []


def test_many_images_are_binned_and_said_to_be(costs):
    costs.evaluate("""() => {
      const one = data.images.find(image => image.file);
      const other = index => ({...one, index, id: 'x' + index, at: one.at + 20 * index});
      data.images = Array.from({length: 3000}, (_, index) => other(index));
      costs();
    }""")
    assert costs.evaluate("bars.length") <= 400
    assert "A bar is the mean of 9 images" in costs.inner_text("#binned")
    costs.click("#by-clock")
    assert "the images begun within its width" in costs.inner_text("#binned")
    assert costs.said == []


def test_what_happened_is_folded_and_leads_to_its_pictures(night, page, work):
    log = EventLog(RunFolder(night.root, "me-1"))
    before = (night.state / events.FILE).read_bytes()
    for number in range(30):
        log.write(happen(f"out of memory, number {number}", "out-of-memory", task=night.tasks()[0].id))
    runner.report(night.root)
    (night.state / events.FILE).write_bytes(before)
    page.goto((night.root / "report.html").as_uri() + "#part=happened")
    assert page.locator("#events > li").count() == 10
    assert "out of memory, number 29" in page.inner_text("#events > li >> nth=0")
    page.click("#older button")
    assert page.locator("#events > li").count() == 37
    assert page.evaluate("document.activeElement.tagName") == "LI"
    assert page.locator("#events h3").count() >= 2  # each day once
    assert page.locator("b", has_text="bold").count() == 0
    page.click("#events a >> nth=0")
    assert page.evaluate("$('viewer').open")
    assert page.said == []


def test_a_run_that_was_broken_off_says_by_what_and_what_goes_on_past_it(page, tmp_path, capsys):
    job = tmp_path / "job.yaml"
    job.write_text(JOB.replace("retries: 1", "max_consecutive_failures: 2"), encoding="utf-8")
    result = fake_run(job, Fault("error", stage="decode"), seen=Silent(), out=tmp_path / "run", engine="local")
    assert isinstance(result.stopped, FailedInARow)
    page.goto((tmp_path / "run" / "report.html").as_uri())
    assert page.inner_text("#broken-off").startswith("The run stopped: 2 images failed one after the other")
    page.click("#verdict a.bad")
    assert "to the 10 that were not begun" in page.inner_text(".advice >> nth=0")
    past = "--set run.max_consecutive_failures=12"
    assert page.inner_text(".command code >> nth=0").endswith(past)
    assert main(["status", str(tmp_path / "run")]) == 0
    assert (
        f"go on past it: run-batch run {job} --out {tmp_path / 'run'} --engine local {past}"
        in capsys.readouterr().out
    )


def test_images_that_no_run_can_begin_stand_below_the_whole_reason(page, tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text(JOB, encoding="utf-8")
    options = {"seen": Silent(), "out": tmp_path / "run", "engine": "local"}
    fake_run(job, Fault("error", stage="load"), **options)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto((tmp_path / "run" / "report.html").as_uri() + "#part=failures")
    why = "The run stopped: the model demo cannot be loaded: a fault was asked for"
    assert page.inner_text(".failure h3") == "Not rendered yet · 12 images"
    assert page.inner_text(".failure .why").startswith(why)
    assert page.inner_text(".advice >> nth=0").startswith("The last run could not go on.")
    assert "bad" in page.get_attribute("#broken-off", "class")
    page.click(".failure a >> nth=0")
    assert why in page.inner_text(".lacking") and "Once what stopped the last run is mended" in page.inner_text(
        ".lacking"
    )
    # A long one is whole where the images are, and no line of it is hidden above them.
    page.keyboard.press("Escape")
    page.evaluate("data.stopped.said = 'word '.repeat(110) + 'end'; heading(); failures()")
    assert page.inner_text("#broken-off").endswith("word end")
    assert page.evaluate("$('broken-off').scrollHeight <= $('broken-off').clientHeight")
    page.evaluate("data.stopped.said = 'word '.repeat(500) + 'end'; heading(); failures()")
    assert page.inner_text("#broken-off").endswith("…")
    assert page.inner_text(".failure .why").endswith("word end")
    assert page.said == []


def test_a_run_that_was_ended_on_purpose_is_to_mend_in_nothing(page, tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text(JOB, encoding="utf-8")
    fake_run(job, seen=Silent(), out=tmp_path / "run", engine="local", limits=Limits(max_images=3))
    page.goto((tmp_path / "run" / "report.html").as_uri() + "#part=failures")
    assert page.locator(".advice").count() == 1
    assert page.inner_text(".advice").startswith("Go on.")
    assert "--max-images" in page.inner_text(".failure .why")
