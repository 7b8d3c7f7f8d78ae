"""status: what a run is at, why images failed, and how it is watched."""

import json
import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from batch.base.text import roughly, timestamp
from batch.cli import watch
from batch.cli.run import run
from batch.cli.standing import moment, summary_parts
from batch.records.events import Expected
from batch.records.kinds import Stage
from batch.records.live import LiveStatus, RunState
from batch.records.receipts import ErrorInfo, Failure, Machine, Measurement
from batch.records.shard import Shard
from batch.run import summary
from batch.run.limits import Limits
from batch.run.options import Options
from batch.store import parts, status
from batch.store.folder import RunFolder
from tests.conftest import SMALL
from tests.fake_session import Fault
from tests.helpers import Seen, fake_run

NOW = LiveStatus(
    state=RunState.RENDERING, name="job", pid=1, host="here", began=0.0, updated=0.0, image="fox-s42-5376x3072",
    stage=Stage.DENOISE, part=7, parts=20, image_left_s=26.0, to_render=3, per_hour=212.0, ends_at=4e9,
    ends_from="judged by this run's images", rest_s=4e9,
)  # fmt: skip


@pytest.fixture
def failed(manifest):
    """Two images failed of one cause, two are done."""
    fake_run(manifest(SMALL), Fault("error", prompt="a fox"), seen=Seen(), out=Path("run"), engine="local")
    return Path("run")


def test_failures_are_told_by_cause_with_their_command(cli, failed):
    said = cli("status", failed).out
    (line,) = [line for line in said.splitlines() if "FAILED" in line]
    assert "FAILED 2 images: denoise: " in line and "a-fox-0" in line and "a-fox-1" in line
    assert "job.yaml' --out run --engine local --retry-failed" in said.replace('"', "'")
    (cause,) = cli("status", failed, "--json").json()["causes"]
    assert (cause["count"], cause["stage"], len(cause["images"])) == (2, "denoise", 2)


def test_a_manifest_stands_for_its_run_folder(cli, manifest, work):
    path = manifest(SMALL)
    refused = cli("status", path)
    assert (refused.code, "job.yaml has no run in outputs" in refused.err) == (2, True)
    fake_run(path, seen=Seen(), engine="local")
    assert "job: 4 of 4 done" in cli("status", path).out
    assert "nothing is running in outputs" in cli("stop", path).err
    assert "and nothing is left to render" in cli("resume", path).err


def test_who_has_not_said_who_it_is_is_at_work_and_asked_later(cli, manifest, work):
    path = manifest(SMALL)
    fake_run(path, seen=Seen(), engine="local")
    folder = RunFolder(work / "outputs" / "job")
    with folder.hold():
        (folder.state / "lock.json").unlink()
        assert "just started" in cli("status", path).out
        assert "has just started" in cli("stop", path).err
    assert "not running" in cli("status", path).out


def test_a_manifest_does_not_stand_for_anothers_run(cli, manifest, work):
    fake_run(manifest(SMALL), seen=Seen(), engine="local")
    other = manifest(f"name: job\n{SMALL}", "other.yaml")
    refused = cli("stop", other)
    assert (refused.code, "was last run from" in refused.err, "job.yaml" in refused.err) == (2, True, True)


def test_what_is_to_come_is_called_to_render(cli, manifest):
    fake_run(manifest(SMALL), seen=Seen(), out=Path("run"), engine="local", limits=Limits(max_images=1))
    assert "to render 3" in cli("status", "run").out
    data = cli("status", "run", "--json").json()
    assert (data["to_render"], data["missing"]) == (3, 3)


def test_the_image_at_work_is_named_with_its_stage():
    assert moment(NOW) == "rendering fox-s42-5376x3072, denoising 7 of 20, 26s to go"
    paused = replace(NOW, state=RunState.PAUSED, image="", stage=None, image_left_s=None, said="by me")
    assert moment(paused) == "paused, by me"
    said = replace(paused, said="paused: everything is saved")
    assert moment(said) == "paused: everything is saved"  # the word comes once
    stopping = replace(NOW, state=RunState.STOPPING, said=f"stopping: {NOW.image} is finished first")
    assert moment(stopping) == f"stopping: {NOW.image} is finished first, denoising 7 of 20, 26s to go"
    texts = replace(NOW, state=RunState.ENCODING, image="", stage=Stage.ENCODE, part=3, image_left_s=None)
    assert moment(texts) == "encoding texts, text 3 of 20"


def test_a_run_says_itself_when_it_ends(cli, failed, monkeypatch):
    monkeypatch.setattr(parts, "now", lambda state: NOW)
    with RunFolder(failed, "me-1").hold():
        said = cli("status", failed).out
        data = cli("status", failed, "--json").json()
    assert "rendering fox-s42-5376x3072, denoising 7 of 20" in said
    assert "17.0 s/image" in said and "median" not in said
    assert re.search(r"process \d+ on \S+ since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", said, re.MULTILINE)
    assert data["now"]["state"] == "rendering"
    assert data["eta_s"] > 1e9


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (  # about noon in UTC: that day in every zone
            {"ends_by": "--until 2096-10-02 11:06", "ends_with": 30, "ends_at": 4e9 + 4 * 3600},
            "stops on 2096-10-02 about",
        ),
        ({"state": RunState.PAUSED, "ends_at": None, "per_hour": None}, "about 30m 00s once resumed"),
        (
            {
                "state": RunState.PAUSED,
                "ends_at": None,
                "ends_by": "--max-images",
                "ends_with": 30,
                "resumed_s": 35.0,
            },
            "about 35s once resumed, stops with 30 of 4 done (--max-images)",
        ),
        (
            {"state": RunState.PAUSED, "ends_by": "--until 2096-10-02 07:06", "resumed_s": 5e9},
            ", paused or not (--until 2096-10-02 07:06)",
        ),
        ({"state": RunState.STOPPING, "ends_at": None}, "about 30m 00s for the rest"),
    ],
)
def test_no_end_is_told_that_will_not_be(cli, failed, monkeypatch, more, says):
    (failed / ".run" / "failures").rename("elsewhere")  # two are to be rendered
    now = replace(NOW, rest_s=1800.0, updated=time.time() + 0.9, total=4, **more)
    monkeypatch.setattr(parts, "now", lambda state: now)
    with RunFolder(failed, "me-1").hold():
        said = cli("status", failed).out
    assert says in said and "done about" not in said and "done on" not in said
    assert ("with about 30 of 4 done" in said) == bool(more.get("ends_with") and "state" not in more)


def test_a_stopped_run_says_how_to_go_on(cli, manifest):
    fake_run(manifest(SMALL), seen=Seen(), out=Path("run"), engine="local", limits=Limits(max_images=1))
    lines = cli("status", "run").out.replace('"', "'").splitlines()
    assert any(
        line.startswith("  go on: ") and line.endswith("job.yaml' --out run --engine local") for line in lines
    )
    assert f"  report: {Path('run', 'report.html')}" in lines


@pytest.mark.usefixtures("own_cache")  # what others took there is no part of it
def test_how_long_the_rest_is_has_one_answer(cli, manifest):
    """The run's own last word, its message, status and plan: with the texts that are still to be encoded."""
    path, seen = manifest(SMALL.replace("0..1", "0..9")), Heard()
    result = fake_run(
        path, Fault("slow", seconds=0.3), seen=seen, out=Path("run"), engine="local", limits=Limits(max_images=5)
    )
    told = seen.last
    assert (told.cutoff.images, result.left) == (5, 15)
    assert f"about {roughly(told.seconds)} more" in summary.lines(result)
    data = cli("status", "run", "--json").json()
    assert data["eta_s"] == pytest.approx(told.seconds, rel=0.02)
    planned = cli("plan", path, "--out", "run", "--json").json()["expected"]["seconds"]
    assert planned == pytest.approx(told.seconds, rel=0.02)


@pytest.mark.usefixtures("own_cache")
def test_a_slower_run_leaves_one_answer_too(cli, manifest):
    """Nine fast images and three slow ones: what the last run knew best is not what the folder tells."""
    path, slow = manifest(SMALL.replace("0..1", "0..9")), Fault("slow", seconds=0.5)
    fake_run(path, seen=Heard(), out=Path("run"), engine="local", limits=Limits(max_images=9))
    seen = Heard()
    result = fake_run(path, slow, seen=seen, out=Path("run"), engine="local", limits=Limits(max_images=3))
    status_s = cli("status", "run", "--json").json()["eta_s"]
    assert status_s == pytest.approx(seen.last.seconds, abs=0.1)
    planned = cli("plan", path, "--out", "run", "--json").json()["expected"]["seconds"]
    assert planned == pytest.approx(seen.last.seconds, rel=0.02)
    assert f"about {roughly(seen.last.seconds)} more" in summary.lines(result)
    assert "an image (median of 1" in cli("status", "run").out


@pytest.mark.parametrize(
    ("timed", "says"),
    [(3, "an image (median of 3, warm-up left out)"), (4, "an image (median of all 4)"), (1, "an image, ")],
)
def test_what_a_median_is_of(failed, timed, says):
    """The first image after a load is done, and none of those that tell how long one takes."""
    found = replace(status.summarize(failed), done=4, timed=timed, seconds_per_image=0.25, peak_bytes=2**30)
    assert [line for part in summary_parts(found) if says in (line := part.line)]


class Heard(Seen):
    """Keeps what was expected last."""

    def on(self, event):
        if isinstance(event, Expected):
            self.last = event
        super().on(event)


def test_watch_ends_when_no_run_is_going_on(cli, failed):
    lines = cli("status", failed, "--watch").out.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith("job: 2 of 4 done, 2 failed, not running")


def test_watch_says_each_change_once(cli, failed, monkeypatch):
    monkeypatch.setattr(watch, "EVERY_S", 0.02)
    over = threading.Event()

    def hold():
        with RunFolder(failed, "me-1").hold():
            begun.set()
            over.wait(10)

    begun = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    begun.wait(10)
    threading.Timer(0.5, over.set).start()
    lines = cli("status", failed, "--watch").out.splitlines()
    holder.join()
    assert [line.rpartition(", ")[2] for line in lines] == ["running", "not running"]


def test_watch_is_not_for_programs(cli, failed):
    outcome = cli("status", failed, "--watch", "--json")
    assert (outcome.code, "--watch" in outcome.err) == (2, True)


def test_causes_leave_figures_out(cli, failed):
    for number, path in enumerate(sorted((failed / ".run" / "failures").rglob("*.json"))):
        data = json.loads(path.read_text())
        data["error"]["message"] = f"CUDA out of memory: tried to allocate {number}.5 GiB"
        path.write_text(json.dumps(data))
    assert [cause["count"] for cause in cli("status", failed, "--json").json()["causes"]] == [2]


def died(folder, task, **more):
    """As the supervisor writes it down."""
    error = ErrorInfo(kind="WorkerDied", message="the worker died: it was killed", stage=Stage.DENOISE)
    failure = Failure(
        task=task, error=error, measurement=Measurement(), machine=Machine(), attempts=1, started_at=timestamp()
    )
    folder.fail(replace(failure, **more))


def test_an_image_that_is_tried_again_has_not_failed(cli, manifest):
    fake_run(manifest(SMALL), seen=Seen(), out=Path("run"), engine="local", limits=Limits(max_images=1))
    folder = RunFolder(Path("run"))
    left = [task for task in folder.tasks() if task.id not in folder.scan().receipts]
    given = Machine(device="cpu")
    not_loaded = ErrorInfo(kind="NotLoaded", message="no such file", stage=Stage.LOAD)
    with folder.hold():
        died(folder, left[0], started_at="2020-01-01T00:00:00+00:00", machine=given)  # in the run before
        died(folder, left[1])
        data = cli("status", "run", "--json").json()
        said = cli("status", "run").out
        assert (data["failed"], data["to_render"], data["causes"]) == (0, 3, [])
        assert "  tried again: 2 images: denoise: the worker died" in said and "FAILED" not in said
        died(folder, left[0], machine=given)
        died(folder, left[1], attempts=2)
        died(folder, left[2], error=not_loaded)
        assert cli("status", "run", "--json").json()["failed"] == 3, "each for good"
        assert "    try again when this run is over: " in cli("status", "run").out
        died(folder, left[1])
        assert cli("status", "run", "--json").json()["failed"] == 2
    assert cli("status", "run", "--json").json()["failed"] == 3, "nobody is there who would"


def test_only_the_shard_at_work_tries_again(cli, manifest):
    path = manifest(SMALL)
    for number in (1, 2):
        fake_run(path, Fault("error"), seen=Seen(), out=Path("run"), engine="local", shard=Shard(number, 2))
    folder = RunFolder(Path("run"), shard=Shard(1, 2))
    with folder.hold():
        for task in folder.tasks():
            died(folder, task)
        data = cli("status", "run", "--json").json()
    assert (data["failed"], data["to_render"]) == (2, 2)
    assert [cause["count"] for cause in data["retried_causes"]] == [2]


def test_whoever_goes_on_gives_again_what_holds_for_the_whole_run(monkeypatch):
    asked = Options(
        overrides=("seed=0, 1", "notify=https://secret", " notify =x"), devices="cpu,cpu", engine="process",
        ray_address="auto", vram_limit=2**30, task_timeout=90, stop_within=1.5, keep_latents=True, fallback=False,
        retry_failed=True, limits=Limits(max_images=3), notify=("https://secret",),
    )  # fmt: skip
    found = run.make_context("run", [*asked.lasting, "job.yaml"]).params
    named = ("overrides", "devices", "engine", "ray_address", "vram_limit", "task_timeout", "stop_within")
    assert {name: found[name] for name in named} == {name: getattr(asked, name) for name in named} | {
        "overrides": ("seed=0, 1",)
    }
    assert (found["keep_latents"], found["no_fallback"]) == (True, True)
    assert (found["retry_failed"], found["max_images"], found["notify"]) == (False, None, ())
    assert Options().lasting == ()
    monkeypatch.setenv("RUN_BATCH_ENGINE", "ray")
    monkeypatch.setenv("RAY_ADDRESS", "node1:6379")
    assert Options().lasting == ("--engine=ray", "--ray-address=node1:6379")
    assert Options(engine="process").lasting == ("--engine=process",)
