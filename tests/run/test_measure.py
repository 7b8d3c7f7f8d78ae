"""`kind: measure`: real processes, with the stand-in session where something has to go wrong."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from batch.base.errors import EXIT_FOLDER, EXIT_OK, EXIT_USER, ForeignFolder, UserError
from batch.cli import progress
from batch.manifest.read import read_manifest
from batch.plan import measuring
from batch.plan.build import build_plan
from batch.plan.pins import Pins
from batch.records.events import Began, Happening, Loading
from batch.records.kinds import ErrorKind
from batch.records.receipts import ErrorInfo, Failure, Machine, Measurement, Outcome
from batch.render import cap, meter
from batch.report import table
from batch.run import runner
from batch.run.limits import Limits
from batch.run.lookup import lookup
from batch.run.options import Options
from batch.store.folder import RunFolder
from benchmarks import predict
from tests.conftest import ROOT
from tests.fake_session import FakeBackend, Fault

MIB, GIB = 2**20, 2**30

JOB = """\
name: costs
kind: measure
repeats: 3
grid:
  model: demo
  prompt: a fox
  steps: 1
  size: [512x512, 672x384]
  memory: [full, "vae_tiling(256, 192)", auto]
run: {min_free_disk: 1MB}
output: {format: webp}
"""

TILED = "vae_tiling(256, 192)"

ONE = JOB.replace("[512x512, 672x384]", "512x512").replace(f'[full, "{TILED}", auto]', "full")
"""One picture under one setting."""


def planned(path, *overrides):
    return build_plan(read_manifest(path, overrides), lookup(str(path.parent), Pins()))


@dataclass
class Seen:
    happenings: list[Happening] = field(default_factory=list)
    loads: int = 0

    def on(self, event):
        if isinstance(event, Loading):
            assert event.texts >= 2  # every process encodes its own: the cache of other runs is not asked
            self.loads += 1
        elif isinstance(event, Happening):
            self.happenings.append(event)

    def kinds(self):
        return [item.kind for item in self.happenings]


@pytest.fixture
def measured(manifest):
    """Measure through the stand-in session, with faults; the result and what was told."""

    def run(*faults, text=JOB, out="run", **options):
        seen = Seen()
        chosen = Options(out=Path(out), backend=FakeBackend(faults), **options)
        result = runner.run(manifest(text), chosen, seen, threading.Event())
        return result, seen

    return run


def rows(folder="run"):
    return table.read(Path(folder) / "results.csv")


# The plan


def test_the_order_of_a_measurement(manifest):
    plan = planned(manifest(JOB))
    settings = [  # small before large, and backwards in the second pass
        (size, memory) for size in ("672x384", "512x512") for memory in ("full", TILED, "auto")
    ]
    told = [
        [(task.size, task.memory, "warm-up" if task.warmup else task.repeat) for task in visit]
        for visit in measuring.visits(plan.tasks)
    ]
    assert told == [
        *([(*setting, item) for item in ("warm-up", 1, 2)] for setting in settings),
        *([(*setting, item) for item in ("warm-up", 3)] for setting in reversed(settings)),
    ]
    assert (plan.pictures, plan.settings, plan.passes, len(plan.tasks)) == (6, 6, 2, 6 * 5)


def test_every_setting_and_repeat_has_an_id_and_one_picture(manifest):
    plan = planned(manifest(JOB))
    assert len({task.id for task in plan.tasks}) == len(plan.tasks)
    assert len({task.name for task in plan.tasks}) == len(plan.tasks)
    text = JOB.replace("kind: measure\nrepeats: 3\n", "").replace(", auto]", "]")
    pictures = planned(manifest(text, "plain.yaml"))
    assert {task.picture_id for task in plan.tasks} == {task.picture_id for task in pictures.tasks}
    # To render these two would be a mistake: at this size they are one picture.
    again = planned(manifest(JOB), "memory=[full, tiled]", "size=512x512")
    assert len({task.id for task in again.tasks}) == 2 * 5
    # The order of the settings, and how many repeats there are, is no part of an id.
    more = planned(manifest(JOB), "repeats=5", "memory=[auto, full]")
    ids = {task.id for task in plan.tasks if task.memory != TILED and task.repeat in (1, 2)}
    assert ids <= {task.id for task in more.tasks}


def test_a_warm_up_is_as_large_as_a_call(manifest):
    plan = planned(manifest(ONE), "seed=0..3", "run.batch=3", "repeats=1")
    (visit,) = measuring.visits(plan.tasks)
    assert [(task.seed, bool(task.warmup)) for task in visit] == [
        *((seed, True) for seed in range(3)),
        *((seed, False) for seed in range(4)),
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("kind: measure", "kind: render"), "repeats has no effect"),
        (("repeats: 3", "repeats: 0"), "repeats"),
        (("min_free_disk: 1MB", "on_oom: fallback"), "run.on_oom: a measurement falls back to nothing"),
        (("min_free_disk: 1MB", "recycle_after: 4"), "run.recycle_after"),
        (("min_free_disk: 1MB", "batch: auto"), "run.batch: auto goes by the card"),
        (("format: webp", "keep_latents: true"), "output.keep_latents"),
    ],
)
def test_what_has_no_meaning_is_refused(cli, manifest, change, says):
    path = manifest(JOB.replace(*change))
    outcome = cli("plan", path)
    assert outcome.code == EXIT_USER
    assert outcome.err.startswith(f"{path}:")
    assert says in outcome.err


@pytest.mark.parametrize("option", [("--engine", "local"), ("--redo-degraded",), ("--keep-latents",)])
def test_options_without_effect_are_refused(cli, manifest, option):
    outcome = cli("run", manifest(JOB), *option)
    assert outcome.code == EXIT_USER
    assert f"{' '.join(option)} has no effect on a measurement" in outcome.err
    assert "no effect on a render run" in cli("run", manifest("", "render.yaml"), "--retry-oom").err


def test_what_plan_shows(cli, manifest):
    path = manifest(JOB)
    said = cli("plan", path).out
    assert "1 prompt × 2 sizes × 3 memory settings = 6 images" in said
    assert "measured 3 times each: 18 images, and 12 warm-ups that no median counts" in said
    assert "6 settings in 2 passes, the second one backwards: 12 fresh processes" in said
    assert "compiled no" in said
    data = cli("plan", path, "--json").json()
    assert data["measure"] == {"pictures": 6, "repeats": 3, "settings": 6, "passes": 2, "warmups": 12}
    assert "compiled yes" in cli("plan", path, "--set", "run.compile=on").out


# What need not be tried


def out_of_memory(task, stage="decode", batch=1):
    error = ErrorInfo(kind=ErrorKind.OUT_OF_MEMORY, message="", stage=stage)
    return Failure(
        task=task, error=error, measurement=Measurement(), machine=Machine(), attempts=1, started_at="",
        batch=batch,
    )  # fmt: skip


def test_what_dominates_what(manifest):
    plan = planned(manifest(JOB), "size=[544x448, 672x384, 384x672, 512x512]")
    chosen = {(task.size, task.memory): task for task in plan.tasks if task.repeat == 1 and not task.warmup}
    full = {size: task for (size, memory), task in chosen.items() if memory == "full"}
    larger = full["512x512"]
    walls = measuring.Walls([out_of_memory(full["672x384"])])
    assert walls.dominated(larger, 1) == "dominated by 672x384: out of memory in decode"
    assert walls.dominated(larger, 4)
    assert walls.dominated(full["672x384"], 1)  # the other repeats
    assert not walls.dominated(full["544x448"], 1)
    assert not walls.dominated(full["384x672"], 1)  # as many pixels, in another shape
    others = [{"dtype": "bfloat16"}, {"model": "other"}, {"guidance": 1.0}, {"memory": "auto"}]
    assert not any(walls.dominated(replace(larger, **other), 1) for other in others)
    warm = measuring.Walls([out_of_memory(replace(full["672x384"], warmup=True))])
    assert not warm.dominated(larger, 1)
    # One that failed in a call of four says nothing of one alone.
    four = measuring.Walls([out_of_memory(full["672x384"], batch=4)])
    assert not four.dominated(larger, 1)
    assert "in calls of 4" in four.dominated(larger, 4)
    # `auto` may offload at a larger size where it did not at this one.
    auto = measuring.Walls([out_of_memory(chosen["672x384", "auto"])])
    assert auto.dominated(chosen["672x384", "auto"], 1)
    assert not auto.dominated(chosen["512x512", "auto"], 1)


# Runs


def test_a_real_measurement_of_this_machine(cli, manifest, measured, work, monkeypatch):
    monkeypatch.setenv("RUN_BATCH_ENGINE", "local")
    text = ONE.replace("memory: full", "memory: [full, auto]").replace("repeats: 3", "repeats: 1")
    path = manifest(text)
    outcome = cli("run", path, "--out", "run")
    assert outcome.code == EXIT_OK, outcome.err
    assert "RUN_BATCH_ENGINE=local does not hold for a measurement" in outcome.err
    found = rows()
    assert found.memory.tolist() == ["full"] * 4  # what auto comes to at this size
    assert found.repeat.tolist() == [1] * 4
    assert found.warmup.tolist() == [True, False] * 2
    assert found.load_s.notna().tolist() == [True, False] * 2
    assert (found.encode_s > 0).all()
    assert found.encode_peak_mib.notna().all()
    assert found.picture_id.nunique() == 1
    assert found.groupby(found.index // 2).sha256.nunique().tolist() == [1, 1]  # warm-up and repeat alike
    assert not (work / "run" / ".run" / "embeds").exists()
    for command in (["verify", "run", "--reproduce", "1"], ["prune", "run", "--dry-run"], ["report", "run"]):
        assert cli(*command).code == EXIT_OK
    compared = cli("compare", "run", "--json").json()["rows"]
    assert [(row["memory"], row["images"], row["timed"]) for row in compared] == [("full", 2, 2)]
    ((setting, figures),) = predict.measured(Path("run")).items()
    assert setting == ("demo", "512x512", "full")
    assert figures["total_s"] == pytest.approx(found.total_s[~found.warmup].median())
    refused = cli("redecode", "run", "--memory", TILED)
    assert refused.code == EXIT_USER
    assert "is a measure run" in refused.err
    assert "4 of 4 done" in cli("run", path, "--out", "run").out
    assert cli("manifest", "from", "run").out.count("a fox") == 1
    # It is this machine's now.
    with pytest.raises(ForeignFolder, match=r"holds what was measured on .*, and this is fake") as error:
        measured(text=text.replace("a fox", "an owl"))
    assert error.value.exit_code == EXIT_FOLDER


def test_the_time_left_counts_that_every_process_loads(manifest, monkeypatch, capsys):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress, "monotonic", lambda: next(clock))
    lines, last = progress.Lines(), Outcome(key="x", status="done")
    lines.on(Began(name="job", folder=Path("run"), total=6, done=0, to_render=6, measures=True))
    for _ in range(3):  # one image a process: 10 s to start it, 10 s until its image is there
        lines.on(Loading(2))
        lines.on(last)
    assert capsys.readouterr().err.splitlines()[-1] == "[3/6] x, 1m 00s left"


def test_out_of_memory_is_a_result_and_larger_sizes_are_skipped(measured, cli, work):
    text = JOB.replace("[512x512", "[544x448, 512x512").replace(", auto]", "]")
    result, seen = measured(Fault("oom-torch", "decode", pixels=672 * 384, unless="vae_tiling"), text=text)
    assert (result.failed, result.stopped) == (0, None)
    found = rows()
    full = found[found.memory == "full"].groupby("width").status.value_counts()
    assert full[544].to_dict() == {"done": 5}
    assert full[672].to_dict() == {"failed": 2, "skipped": 3}  # the warm-up and one more; the others
    assert full[512].to_dict() == {"skipped": 5}
    assert (found[found.memory != "full"].status == "done").all()
    failed = found[found.status == "failed"]
    assert failed.warmup.tolist() == [True, False]
    assert set(failed.failed_stage) == {"decode"}
    assert (failed.requested_mib == 2.25 * 1024).all()
    skipped = found[found.status == "skipped"]
    assert set(skipped.error) == {"dominated by 672x384: out of memory in decode"}
    assert (result.out_of_memory, result.skipped, result.rendered) == (2, 8, 20)
    assert set(seen.kinds()) == {"skipped"}
    # Nothing is tried again, by this run or the next; and the folder says all of it.
    again, seen = measured(text=text, retry_failed=True)
    assert (again.rendered, again.out_of_memory, again.skipped, seen.loads) == (0, 2, 8, 0)
    status = cli("status", "run", "--json").json()
    assert (status["done"], status["failed"], status["missing"], status["out_of_memory"]) == (20, 0, 0, 2)
    assert status["skipped"] == {"dominated by 672x384: out of memory in decode": 8}
    said = cli("status", "run").out
    assert "skipped 8: dominated by 672x384" in said
    assert (said.count("  OUT OF MEMORY "), said.count("FAILED")) == (2, 0)
    verified = cli("verify", "run")
    assert verified.code == EXIT_OK
    assert "unfit 2" in verified.out
    assert '"skipped":8' in (work / "run" / "report.html").read_text()
    assert cli("plan", work / "job.yaml", "--out", "run", "--json").json()["skipped"] == 8
    assert "--retry-oom" in cli("run", work / "job.yaml", "--out", "run").out
    # On request it is tried again, and now it fits.
    all_there, _ = measured(text=text, retry_oom=True)
    assert (all_there.out_of_memory, all_there.skipped, all_there.failed) == (0, 0, 0)
    assert (rows().status == "done").all()


def test_texts_that_do_not_fit_are_a_result_too(measured):
    result, _ = measured(Fault("oom-torch", "encode"), text=ONE)
    assert (result.failed, result.stopped, result.out_of_memory, result.skipped) == (0, None, 2, 3)
    failed = rows()[rows().status == "failed"]
    assert set(failed.failed_stage) == {"encode"}


def test_nothing_else_is_tried(measured, work):
    text = ONE.replace("repeats: 3", "repeats: 1").replace("prompt: a fox", "prompt: [a fox, an owl]")
    text = text.replace("1MB", "1MB, batch: 2, retries: 1")
    result, _ = measured(Fault("oom-torch", "denoise", unless="alone"), text=text)
    assert (result.out_of_memory, result.rendered) == (4, 0)
    assert set(rows().batch) == {2}
    assert not (work / "run" / ".run" / "rungs.json").exists()
    # In calls of one image it may fit: that it did not in calls of two is no result of it.
    fault = Fault("oom-torch", "denoise", unless="alone")
    alone, _ = measured(fault, text=text.replace("batch: 2", "batch: 1"))
    assert (alone.out_of_memory, alone.failed, alone.rendered) == (0, 0, 3)
    result, _ = measured(Fault("nan", "decode"), text=text, out="bad")
    assert (result.failed, set(rows("bad").status)) == (4, {"invalid"})


def test_what_a_worker_that_died_leaves_is_no_measure(measured, tmp_path):
    text = ONE.replace("prompt: a fox", "prompt: [a fox, an owl]")
    result, seen = measured(Fault("sigkill", "decode", prompt="an owl", times=1, memo=str(tmp_path)), text=text)
    assert (result.failed, result.rendered, result.total) == (0, 8, 8)
    # What is left is measured by a visit anew, with texts and a warm-up of its own.
    assert seen.kinds() == ["worker-died"]
    assert seen.loads == 3
    assert rows().warmup.tolist() == [True] + [False] * 4 + [True] + [False] * 2
    assert (rows().encode_s > 0).all()


def test_an_image_that_kills_every_worker_is_left(measured):
    text = ONE.replace("prompt: a fox", "prompt: [a fox, an owl]").replace("repeats: 3", "repeats: 1")
    result, seen = measured(Fault("sigkill", "decode", prompt="an owl"), text=text)
    assert (result.failed, result.rendered, result.total) == (1, 2, 3)
    assert seen.kinds() == ["worker-died"] * 2


def test_a_model_that_cannot_be_loaded_ends_it(measured):
    result, _ = measured(Fault("error", "load"), text=ONE)
    assert result.stopped.exit_code == 1
    assert "cannot be loaded" in str(result.stopped)


def slowly(folder, *more):
    """The same as a program of its own, which can be killed."""
    code = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from batch.cli import progress\n"
        "from batch.run import runner\n"
        "from batch.run.options import Options\n"
        "from tests.fake_session import FakeBackend, Fault\n"
        "if __name__ == '__main__':\n"
        "    slow = Fault('slow', 'denoise', seconds=0.15)\n"
        "    options = Options(out=Path(sys.argv[2]), backend=FakeBackend((slow,)))\n"
        "    runner.run(Path(sys.argv[1]), options, progress.Silent(), threading.Event())\n"
    )
    command = [sys.executable, "-c", code, *map(str, more)]
    return subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_killed_at_any_point_it_goes_on(measured, manifest, work):
    text = JOB.replace("[512x512, 672x384]", "512x512")
    folder, known = RunFolder(work / "run"), {}
    for wanted in (2, 8):
        process = slowly(work, manifest(text), "run")
        while process.poll() is None and len(list((folder.state / "receipts").rglob("*.json"))) < wanted:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        now = {key: item for key, item in folder.scan().receipts.items() if not item.task.warmup}
        assert known == {key: now[key] for key in known}  # none was made again
        assert len(now) < 9
        known = now
    time.sleep(0.5)  # the worker ends with its parent
    result, seen = measured(text=text)
    assert result.rendered + result.done_before == result.total == 15
    assert (rows().status == "done").all()
    assert rows().groupby("repeat").warmup.sum().to_dict() == {1: 3, 2: 0, 3: 3}
    assert 1 <= seen.loads < 6  # visits that were done were not made again


def test_one_image_at_a_time_comes_to_an_end(measured):
    for done in (1, 2):
        result, _ = measured(text=ONE, limits=Limits(max_images=1))
        assert result.stopped.exit_code == 75
        assert (rows().status == "done").sum() == 1 + done  # and the warm-up


def test_a_card_held_to_a_limit_is_another_card(measured):
    measured(text=ONE)
    with pytest.raises(ForeignFolder, match="measured on fake, and this is fake held to 8 GiB"):
        measured(text=ONE.replace("a fox", "an owl"), vram_limit=8 * GIB)
    _, seen = measured(text=ONE, out="limited", vram_limit=8 * GIB)
    assert set(rows("limited").vram_limit_mib) == {8 * 1024}
    assert seen.kinds() == ["vram-limit"] * 2
    with pytest.raises(ForeignFolder, match="measured on fake held to 8 GiB, and this is fake:"):
        measured(text=ONE.replace("a fox", "an owl"), out="limited")


def test_others_on_the_card_are_flagged(measured, tmp_path, work):
    _, seen = measured(Fault("foreign", "denoise", times=1, memo=str(tmp_path)), text=ONE)
    (said,) = [item for item in seen.happenings if item.kind == "foreign-process"]
    assert said.task in set(rows().task_id)
    assert "1 other program computed on the card meanwhile" in said.text
    assert "foreign-process" in (work / "run" / "report.html").read_text()
    receipts = RunFolder(work / "run").scan().receipts
    assert receipts[said.task].measurement.card.foreign == 1


def test_who_else_is_on_the_card():
    assert meter.foreign([], 7) == 0
    assert meter.foreign([7], 7) == 0
    assert meter.foreign([7, 8, 9, 9], 7) == 2
    assert meter.foreign([1207], 7) == 0  # a container: this process by another number
    assert meter.foreign([1207, 1208], 7) == 1


# --vram-limit


def test_the_share_of_a_card():
    total, context = 80 * GIB, 512 * MIB
    share = cap.fraction(8 * GIB, context, total)
    assert round(share * total) + context == 8 * GIB
    with pytest.raises(UserError, match=r"has no effect: the card has 80\.0 GiB"):
        cap.fraction(80 * GIB, context, total)
    with pytest.raises(UserError, match=r"leaves nothing: CUDA itself takes 0\.50 GiB"):
        cap.fraction(540 * MIB, context, total)


def test_a_limit_without_a_card_is_a_mistake(cli, manifest):
    outcome = cli("run", manifest(), "--vram-limit", "8GiB", "--devices", "cpu")
    assert outcome.code == EXIT_USER
    assert "--vram-limit has no effect here" in outcome.err
    assert cli("run", manifest(), "--vram-limit", "plenty").code == EXIT_USER
    assert "write 8GiB" in cli("run", manifest(), "--vram-limit", "8").err


@pytest.mark.gpu
def test_a_real_card_is_held_to_a_limit():
    import torch

    code = (
        "import json, torch; from batch.render import cap, session; from batch.render.meter import Meter\n"
        "said = cap.cap('cuda:0', 2 * 2**30)\n"
        "meter, blocks, refused = Meter('cuda:0'), [], False\n"
        "try:\n"
        "    while True: blocks.append(torch.empty(64 * 2**20, dtype=torch.uint8, device='cuda:0'))\n"
        "except torch.OutOfMemoryError: refused = True\n"
        "print(json.dumps([said, refused, meter.on_device(), cap.room('cuda:0')]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    said, refused, on_device, room = json.loads(done.stdout)
    assert refused
    assert said.startswith("held to 2.00 GiB of ")
    assert 1.7 * GIB < on_device < 2.1 * GIB
    assert room == 2 * GIB
    assert torch.cuda.is_available()
