"""`kind: measure`: real processes, with the stand-in session where something has to go wrong."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from batch.base.errors import EXIT_FOLDER, EXIT_OK, EXIT_USER, ForeignFolder
from batch.records.events import Loading
from batch.report import table
from batch.run.limits import Limits
from batch.store.folder import RunFolder
from benchmarks import predict
from tests.conftest import ROOT
from tests.fake_session import Fault
from tests.helpers import GIB, Seen, fake_run
from tests.measurements import JOB, ONE, TILED


@dataclass
class Loads(Seen):
    """What was told, and how often a model was loaded."""

    loads: int = 0

    def on(self, event):
        if isinstance(event, Loading):
            assert event.texts >= 2  # every process encodes its own: the cache of other runs is not asked
            self.loads += 1
        super().on(event)


@pytest.fixture
def measured(manifest):
    """Measure through the stand-in session, with faults; the result and what was told."""

    def run(*faults, text=JOB, out="run", **options):
        seen = Loads()
        return fake_run(manifest(text), *faults, seen=seen, out=Path(out), **options), seen

    return run


def rows(folder="run"):
    return table.read(Path(folder) / "results.csv")


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
    assert ("  OUT OF MEMORY 2 images: decode: " in said, said.count("FAILED")) == (True, 0)
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
        "import sys\n"
        "from pathlib import Path\n"
        "from batch.cli import progress\n"
        "from batch.run import runner\n"
        "from batch.run.options import Options\n"
        "from batch.run.steering import Steering\n"
        "from tests.fake_session import FakeBackend, Fault\n"
        "if __name__ == '__main__':\n"
        "    slow = Fault('slow', 'denoise', seconds=0.15)\n"
        "    options = Options(out=Path(sys.argv[2]), backend=FakeBackend((slow,)))\n"
        "    runner.run(Path(sys.argv[1]), options, progress.Silent(), Steering())\n"
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
