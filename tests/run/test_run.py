"""Runs as a user sees them: resume, failures, locks, damage, reports."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from PIL import Image
from sd_parsers import ParserManager

from batch.base import atomic
from batch.report import table
from batch.report.sheet.growing import PAPER, Sheets
from batch.store import lock
from batch.store.folder import RunFolder
from tests.conftest import ROOT, SMALL
from tests.helpers import RUN_BATCH, hashes, times


def test_a_run_and_a_rerun(cli, manifest, work):
    path = manifest()
    first = cli("run", path)
    assert first.code == 0, first.err
    assert "4 images rendered" in first.out
    assert "[4/4]" in first.err
    assert (work / "outputs" / "job" / "contact_sheet.jpg").is_file()
    before = times("outputs/job")
    again = cli(path)  # the word 'run' may be left out
    assert again.code == 0
    assert "0 images rendered" in again.out
    assert "4 were done before" in again.out
    assert times("outputs/job") == before


def test_the_table_has_a_row_per_image_with_the_right_types(cli, manifest):
    cli("run", manifest(SMALL.replace("a fox", "'=1+1 \"quoted\", ümlaut'")), "--out", "run", "--quiet")
    frame = table.read(Path("run/results.csv"))
    assert list(frame.columns) == list(table.COLUMNS)
    assert len(frame) == 4
    assert set(frame.status) == {"done"}
    assert frame.seed.tolist() == [0, 0, 1, 1]
    assert (frame.total_s > 0).all()
    assert (frame.peak_rss_mib > 50).all()
    assert frame.encode_s.gt(0).sum() in range(5)
    assert frame.peak_device_mib.isna().all()
    assert frame.warmup.tolist() == [True, False, False, False]
    assert frame.load_s.notna().tolist() == [True, False, False, False]
    assert frame.prompt[0] == '\'=1+1 "quoted", ümlaut'
    assert frame.task_id.str.fullmatch("[0-9a-f]{16}").all()


def test_galleries_read_the_metadata(cli, manifest, work):
    prompt = "a fox, ünïcødé (red:1.2)"
    cli("run", manifest(), "--out", "run", "--quiet", "--set", f"prompt={prompt}", "--set", "negative_prompt=fog")
    image = next((work / "run" / "images").iterdir())
    info = ParserManager().parse(image)
    (sampler,) = info.samplers
    assert info.prompts[0].value == prompt
    assert info.negative_prompts[0].value == "fog"
    assert sampler.parameters["seed"] in {"0", "1"}
    assert sampler.parameters["steps"] == "1"
    assert sampler.parameters["cfg_scale"] == "2"
    assert sampler.model.name == "demo"
    assert info.metadata["Size"] == "512x512"
    with Image.open(image) as opened:
        assert json.loads(opened.text["run_batch"])["task"]["prompt"] == prompt


def test_a_new_prompt_on_top_renders_its_images_only(cli, manifest):
    cli("run", manifest(), "--quiet")
    before = times("outputs/job")
    outcome = cli("run", manifest(SMALL.replace("[a fox", "[a new one, a fox")), "--quiet")
    assert "2 images rendered" in outcome.out
    assert len(times("outputs/job")) == 6
    assert before.items() < times("outputs/job").items()


def test_a_new_name_template_renders_nothing(cli, manifest):
    cli("run", manifest(), "--quiet")
    outcome = cli("run", manifest(SMALL + "output: {name: '{seed}/{prompt}'}\n"), "--quiet")
    assert "0 images rendered" in outcome.out


def test_a_removed_prompt_is_extra(cli, manifest):
    cli("run", manifest(), "--quiet")
    path = manifest(SMALL.replace("[a fox, a whale]", "a fox"))
    assert "2 images in the folder that this manifest does not name" in cli("plan", path).out
    assert cli("run", path, "--quiet").code == 0
    status = cli("status", "outputs/job", "--json").json()
    assert (status["done"], status["missing"], status["extra"], status["total"]) == (2, 0, 2, 2)


def test_embeddings_are_cached(cli, manifest):
    arguments = ["--json", "--set", "prompt=cached once"]
    first = cli("run", manifest(), "--out", "a", *arguments).events()
    second = cli("run", manifest(), "--out", "b", *arguments).events()
    assert next(event["texts"] for event in first if event["event"] == "loading") in {1, 2}
    assert next(event["texts"] for event in second if event["event"] == "loading") == 0
    assert hashes("a") == hashes("b")


def test_events(cli, manifest):
    told = cli("run", manifest(), "--json").events()
    assert told[0] == {"event": "preparing", "text": "reading the manifest and looking for its models"}
    events = [event for event in told if event["event"] not in ("preparing", "encoded", "expected")]
    assert [event["event"] for event in events] == ["start", "loading", *["image"] * 4, "end"]
    assert events[-1]["exit_code"] == 0
    assert Path("outputs/job", events[2]["file"]).is_file()


@pytest.mark.parametrize("damage", ["missing", "truncated", "no receipt", "zeroed receipt", "foreign receipt"])
def test_what_is_damaged_is_rendered_again(cli, manifest, damage):
    cli("run", manifest(), "--out", "run", "--quiet")
    whole = hashes("run")
    receipts = sorted(Path("run/.run/receipts").rglob("*.json"))
    image = Path("run") / json.loads(receipts[0].read_text())["file"]["path"]
    if damage == "missing":
        image.unlink()
    elif damage == "truncated":
        os.truncate(image, 100)
    elif damage == "no receipt":
        receipts[0].unlink()
    elif damage == "zeroed receipt":
        receipts[0].write_bytes(bytes(100))
    else:
        receipts[0].write_bytes(receipts[1].read_bytes())
    outcome = cli("run", "job.yaml", "--out", "run", "--quiet")
    assert "1 image rendered" in outcome.out
    assert hashes("run") == whole


def test_a_failed_task_is_a_row_and_the_others_go_on(cli, manifest, work):
    # Sigmas that only the scheduler can refuse: the run goes on without that image.
    path = manifest(SMALL + "  extra.sigmas: [null, [1.0, 0.5]]\n")
    outcome = cli("run", path, "--out", "run")
    assert outcome.code == 1
    assert "4 FAILED" in outcome.out
    frame = table.read(work / "run" / "results.csv")
    assert sorted(frame.status) == ["done"] * 4 + ["failed"] * 4
    failed = frame[frame.status == "failed"]
    assert failed.error.str.contains("custom sigmas").all()
    assert (failed.failed_stage == "denoise").all()
    assert "FAILED" in cli("status", "run").out
    assert (work / "run" / "contact_sheet.jpg").is_file()
    for attempt in (2, 2):  # twice by default, then it is left
        assert cli("run", path, "--out", "run", "--quiet").code == 1
        assert table.read(work / "run" / "results.csv").attempts.max() == attempt
    assert "given up 4" in cli("plan", path, "--out", "run").out
    cli("run", path, "--out", "run", "--quiet", "--retry-failed")
    assert table.read(work / "run" / "results.csv").attempts.max() == 1


def test_a_folder_of_another_job_is_refused(cli, manifest, work):
    cli("run", manifest(), "--out", "run", "--quiet")
    other = cli("run", manifest(name="other.yaml"), "--out", "run", "--quiet")
    assert other.code == 3
    assert "belongs to the render job 'job'" in other.err
    (work / "mine").mkdir()
    (work / "mine" / "thesis.doc").write_text("x")
    assert cli("run", manifest(), "--out", "mine").code == 3


def test_a_second_runner_is_told_who_is_first(cli, manifest):
    cli("run", manifest(), "--out", "run", "--quiet")
    with lock.hold(Path("run/.run")):
        outcome = cli("run", manifest(), "--out", "run", "--quiet")
        assert outcome.code == 3
        assert f"process {os.getpid()}" in outcome.err
        assert "running: process" in cli("status", "run").out
    assert "not running" in cli("status", "run").out


def test_a_disk_floor_stops_before_anything_is_written(cli, manifest, work):
    outcome = cli("run", manifest(), "--out", "run", "--set", "run.min_free_disk=900TB")
    assert outcome.code == 75
    assert "min_free_disk" in outcome.err
    assert not (work / "run" / "images").exists()
    assert cli("run", manifest(), "--out", "run", "--quiet").code == 0


def test_report_rebuilds_what_is_lost(cli, manifest, work):
    cli("run", manifest(), "--out", "run", "--quiet")
    (work / "run" / "results.csv").unlink()
    (work / "run" / "contact_sheet.jpg").unlink()
    assert cli("report", "run").code == 0
    assert len(table.read(work / "run" / "results.csv")) == 4
    assert cli("report", "elsewhere").code == 2
    assert cli("status", "elsewhere").code == 2


def test_a_large_sheet_is_paged(cli, manifest, work):
    outcome = cli("run", manifest(), "--out", "run", "--quiet")
    assert outcome.code == 0
    folder = RunFolder(work / "run")
    task = folder.tasks()[0]
    from dataclasses import replace

    tasks = [
        replace(task, prompt=f"prompt {number}", seed=seed, source=f"x:{number}")
        for number in range(12)
        for seed in range(80)
    ]
    pages = Sheets(folder, tasks).write(folder.scan())
    assert len(pages) > 1
    for page in pages:
        with Image.open(page) as image:
            assert max(image.size) <= PAPER.width
            assert image.width * image.height < 89_000_000
    assert len(Sheets(folder, folder.tasks()).write(folder.scan())) == 1
    assert not list((work / "run").glob("contact_sheet-*"))


def run_in_background(path, folder):
    return subprocess.Popen(
        [*RUN_BATCH, "run", str(path), "--out", str(folder)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


TWELVE = "name: twelve\ngrid: {model: demo, prompt: [a, b, c], seed: 0..3, steps: 4, size: 512x512}\n"


def wait_for(process, folder, count):
    deadline = time.monotonic() + 120
    while len(list(Path(folder, ".run", "receipts").rglob("*.json"))) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_after_five_images_and_started_again(cli, manifest, work):
    path = manifest(TWELVE)
    process = run_in_background(path, work / "run")
    wait_for(process, work / "run", 5)
    process.kill()
    process.communicate()
    before = times("run")
    done = hashes("run")
    assert 5 <= len(done) < 12
    # A temp file of the dead runner is swept away by the next one.
    (work / "run" / "images" / f".0123456789ab.dead-1{atomic.TEMP_SUFFIX}").write_bytes(b"torn")
    again = cli("run", path, "--out", "run", "--quiet")
    assert again.code == 0
    assert f"{12 - len(done)} images rendered" in again.out
    after = times("run")
    committed = {Path(RunFolder(Path("run")).scan().receipts[key].file.path).name for key in done}
    assert {name: before[name] for name in committed} == {name: after[name] for name in committed}
    assert len(after) == 12
    assert not list((work / "run").rglob(f"*{atomic.TEMP_SUFFIX}"))
    assert cli("run", path, "--out", "undisturbed", "--quiet").code == 0
    assert hashes("run") == hashes("undisturbed")


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for a single process")
def test_interrupted_and_resumed(cli, manifest, work):
    path = manifest(TWELVE)
    process = run_in_background(path, work / "run")
    wait_for(process, work / "run", 2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "run the same command again" in err
    assert (work / "run" / "results.csv").is_file()
    assert cli("run", path, "--out", "run", "--quiet").code == 0
    assert len(hashes("run")) == 12


def test_atomic_write_leaves_the_old_file_on_failure(tmp_path):
    path = tmp_path / "a"
    atomic.write(path, b"old")

    with pytest.raises(TypeError):
        atomic.write(path, 3)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


JOBS = {
    "compare_memory.yaml": 150,
    "compare_pixels.yaml": 54,
    "gallery.yaml": 40,
    "quickstart.yaml": 24,
    "sana_4k_overnight.yaml": 400,
    "shots.csv": 10,
    "styles.yaml": 30,
}


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "jobs").glob("*.*")))
def test_every_job_is_planned(name, capsys, monkeypatch):
    from batch.cli.main import main

    monkeypatch.chdir(ROOT)
    assert main(["plan", f"jobs/{name}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == JOBS[name]


def test_help_and_wrong_options(cli):
    assert "resume" in cli("--help").out
    assert cli("run", "--help").code == 0
    assert cli("run", "x.yaml", "--nonsense").code == 2
    assert cli("nonsense").code == 2


def test_a_run_folder_that_cannot_be_one(cli, manifest, work):
    (work / "file").write_text("x")
    outcome = cli("run", manifest(), "--out", "file")
    assert (outcome.code, "is a file" in outcome.err) == (2, True)
    assert cli("report", "file").code == 2
    (work / "empty").mkdir()
    for name, said in (("empty", "is not a run folder"), ("nowhere", "nothing has been run there yet")):
        outcome = cli("status", name)
        assert (outcome.code, said in outcome.err) == (2, True)


@pytest.mark.parametrize("name", ["format.json", "plan.json", "tasks.jsonl"])
def test_damaged_state_is_said_and_nothing_is_lost(cli, manifest, work, name):
    cli("run", manifest(), "--out", "run", "--quiet")
    before = times("run")
    (work / "run" / ".run" / name).write_bytes(b"\0\xff[")
    for command in (["run", "job.yaml", "--out", "run"], ["status", "run"], ["report", "run"]):
        outcome = cli(*command)
        assert outcome.code in {0, 2, 3}
        assert "Traceback" not in outcome.err
    assert times("run") == before


NESTED = "[" * 100_000


@pytest.mark.parametrize(
    ("name", "text", "codes"),
    [
        ("rungs.json", NESTED, {0}),
        ("rungs.json", '{"rungs": {"x": {"decode": ["no such rung"], "nonsense": 3}}}', {0}),
        ("lock.json", '{"host": "%s", "pid": 1e999}', {0}),
        ("lock.json", '{"host": "%s", "pid": 100000000000000000000000000000}', {0}),
        ("lock.json", NESTED, {0}),
        ("plan.json", '{"seeds": {"a": [1e999]}, "revisions": {}}', {0, 3}),
        ("plan.json", NESTED, {0, 3}),
        ("events.jsonl", NESTED, {0}),
    ],
)
def test_nonsense_in_the_state_is_no_traceback(cli, manifest, work, name, text, codes):
    import platform

    cli("run", manifest(), "--out", "run", "--quiet")
    (work / "run" / ".run" / name).write_text(text.replace("%s", platform.node()))
    for command in (["run", "job.yaml", "--out", "run", "--quiet"], ["status", "run"], ["report", "run"]):
        outcome = cli(*command)
        assert outcome.code in codes, outcome.err


def test_set_problems_name_the_option(cli, manifest):
    assert "--set a.b: unknown key 'a'" in cli("plan", manifest(), "--set", "a.b=3").err
    assert "--set grid: grid: 3 is not a mapping" in cli("plan", manifest(), "--set", "grid=3").err
    assert cli(".").code == 2


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("file", "bytes"), None),
        (("measurement", "denoise", "seconds"), "x"),
        (("measurement", "denoise", "rss"), "x"),
        (("attempts",), 1e308),
        (("task", "seed"), ""),
        (("machine", "device"), []),
    ],
)
def test_a_receipt_of_wrong_types_is_damaged(cli, manifest, path, value):
    cli("run", manifest(), "--out", "run", "--quiet")
    receipt = sorted(Path("run/.run/receipts").rglob("*.json"))[0]
    data = json.loads(receipt.read_text())
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    receipt.write_text(json.dumps(data))
    assert cli("verify", "run").code == 1
    for command in ("status", "report"):
        assert cli(command, "run").code == 0
    assert "1 image rendered" in cli("run", "job.yaml", "--out", "run", "--quiet").out
