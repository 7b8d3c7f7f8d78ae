"""A supervised worker: one that dies costs nothing but the image that kills it."""

import shutil
import subprocess
import threading
import time

import psutil
import pytest

from batch.engines.handle import Death
from batch.report import table
from batch.store.folder import RunFolder
from tests.engines.nights import JOB, REAL, RUN, process_engine, worker_processes
from tests.fake_session import Fault
from tests.helpers import hashes


# Of SIGKILL the contract of all engines has every stage.
@pytest.mark.parametrize(
    ("kind", "stage"), [("exit", "encode"), ("sticky", "denoise"), ("exit", "decode"), ("sticky", "decode")]
)
def test_a_worker_that_dies_costs_nothing(night, once, kind, stage):
    seed = None if stage == "encode" else 1
    # Texts of their own, so that they are not in the cache yet.
    text = JOB.replace("[a, b]", f"[{kind} {stage}, b]")
    ended = night(once(kind, stage, seed=seed), text=text, engine="process")
    assert (ended.result.rendered, ended.result.failed, ended.result.stopped) == (6, 0, None)
    assert ended.seen.kinds() == ["worker-died"]
    assert ended.failures() == {}
    assert ended.parts() == []
    assert ended.hashes() == night(text=text, out="undisturbed").hashes()


def test_an_image_that_kills_its_worker_is_left(night):
    ended = night(Fault("sigkill", seed=1, prompt="a"), engine="process")
    assert (ended.result.rendered, ended.result.failed) == (5, 1)
    (failure,) = ended.failures().values()
    assert (failure.error.kind, failure.error.stage, failure.attempts) == ("WorkerDied", "denoise", 2)
    assert "SIGKILL" in failure.error.message
    # A death while another image was being saved has no certain cause, and is not counted.
    assert ended.seen.kinds() in (["worker-died"] * 2, ["worker-died"] * 3)
    # It is left for good: a rerun does not try it, --retry-failed does.
    again = night(engine="process")
    assert (again.result.rendered, again.result.failed, again.result.given_up) == (0, 1, 1)
    assert night(engine="process", retry_failed=True).result.rendered == 1


def test_deaths_are_counted_over_runs(night):
    poison = Fault("exit", seed=1, prompt="a")
    first = night(poison, engine="process")
    assert [item.attempts for item in first.failures().values()] == [2]
    four = JOB.replace("{min_free_disk", "{retries: 4, min_free_disk")
    second = night(poison, text=four, engine="process")
    assert [item.attempts for item in second.failures().values()] == [4]
    assert second.seen.kinds() == ["worker-died"] * 2  # alone in hand, so every death counts


def test_a_model_that_cannot_be_loaded_is_tried_twice(night, once):
    ended = night(once("error", "load"), engine="process")
    assert (ended.result.rendered, ended.seen.kinds()) == (6, ["load-failed"])
    ended = night(Fault("error", "load"), out="never", engine="process")
    assert ended.result.rendered == 0
    assert ended.result.stopped.exit_code == 1
    assert "the model demo-1k cannot be loaded: a fault was asked for" in str(ended.result.stopped)
    ended = night(Fault("exit", "load"), out="killed", engine="process")
    assert "died 2 times while it loaded" in str(ended.result.stopped)


MODELS = "resize: true\n" + JOB.replace("model: demo-1k", "model: [demo-1k, demo-2k, demo]")


@pytest.mark.parametrize(
    ("kind", "said", "told"),
    [
        ("exit", "died 2 times while it loaded", ["worker-died"] * 2 + ["load-failed"]),
        ("user", "it lacks what only its user can add", ["load-failed"]),
    ],
)
def test_a_model_that_cannot_be_loaded_costs_its_own_images(night, kind, said, told):
    text = MODELS.replace("{min_free_disk", "{max_consecutive_failures: 2, min_free_disk")
    ended = night(Fault(kind, "load", model="demo-2k"), text=text, engine="process")
    assert (ended.result.rendered, ended.result.failed, ended.result.stopped) == (12, 6, None)
    # Another model's image may be lost while it is saved: once it is rendered again, deaths count anew.
    assert ended.seen.kinds() in (told, ["worker-died", *told])
    failures = ended.failures().values()
    assert {(item.task.model, item.error.kind, item.error.stage, item.attempts) for item in failures} == {
        ("demo-2k", "NotLoaded", "load", 1)
    }
    assert all(said in item.error.message for item in failures)
    rows = table.read(ended.folder.root / "results.csv")
    assert sorted(rows.status) == ["done"] * 12 + ["failed"] * 6
    again = night(text=text, engine="process")
    assert (again.result.rendered, again.result.failed) == (6, 0)


def test_where_no_other_model_is_left_the_run_ends(night):
    ended = night(Fault("user", "load", model="demo"), text=MODELS, engine="process")
    assert (ended.result.rendered, ended.result.failed, ended.failures()) == (12, 0, {})
    assert ended.result.stopped.exit_code == 2  # what a user can put right
    assert "only its user can add" in str(ended.result.stopped)
    assert (ended.folder.root / "report.html").is_file()


def test_models_that_cannot_be_loaded_are_failures_in_a_row(night):
    text = MODELS.replace("{min_free_disk", "{max_consecutive_failures: 2, min_free_disk")
    ended = night(
        Fault("user", "load", model="demo-1k"), Fault("error", "load", model="demo-2k"), text=text,
        engine="process",
    )  # fmt: skip
    assert "2 images failed one after the other" in str(ended.result.stopped)


def test_the_last_words_of_a_crash_are_kept(night):
    ended = night(Fault("exit", seed=0, prompt="a"), engine="process")
    assert "exit code 3" in ended.seen.happenings[0].text
    assert ended.seen.happenings[0].task in ended.failures()


def test_a_text_that_kills_its_worker_costs_its_own_images_only(night):
    text = JOB.replace("[a, b]", "[a text that kills, another one]")
    ended = night(Fault("exit", "encode", prompt="a text that kills"), text=text, engine="process")
    assert (ended.result.rendered, ended.result.failed) == (3, 3)
    assert {item.error.kind for item in ended.failures().values()} == {"MissingEmbeds"}
    assert ended.result.stopped is None
    again = night(text=text, engine="process", retry_failed=True)
    assert again.result.rendered == 3


@pytest.mark.parametrize("kind", ["oom-host", "error"])
def test_texts_that_can_nowhere_be_encoded_end_the_run(night, kind):
    ended = night(Fault(kind, "encode"), text=JOB.replace("[a, b]", f"[{kind} everywhere]"))
    assert ended.result.stopped.exit_code == 1
    assert ended.result.rendered == 0
    assert len(ended.seen.happenings) == (2 if kind == "oom-host" else 0)
    reason = "out of memory while encoding texts" if kind == "oom-host" else "the text cannot be encoded"
    assert reason in str(ended.result.stopped)


def test_embeddings_that_are_deleted_meanwhile_are_made_again(night, tmp_path, monkeypatch):
    monkeypatch.setenv("RUN_BATCH_CACHE", str(tmp_path / "own cache"))
    gone = threading.Timer(2.5, lambda: shutil.rmtree(tmp_path / "own cache"))
    gone.start()
    ended = night(Fault("slow", seconds=0.5), engine="process", text=JOB.replace("0..2", "0..4"))
    gone.join()
    assert (ended.result.rendered, ended.result.failed) == (10, 0)
    assert "no-embeds" in ended.seen.kinds()


def test_a_worker_that_dies_before_it_is_ready_is_replaced(manifest, work):
    manifest(REAL)
    run = subprocess.Popen(RUN, env=process_engine(), stderr=subprocess.PIPE, text=True)
    while not (workers := list(worker_processes(run))):
        assert run.poll() is None
        time.sleep(0.005)
    workers[0].kill()
    _, err = run.communicate(timeout=240)
    assert run.returncode == 0, err
    assert len(RunFolder(work / "run").scan().receipts) == 9


def test_a_worker_is_replaced_after_so_many_images(night):
    text = JOB.replace("{min_free_disk", "{recycle_after: 2, min_free_disk")
    ended = night(text=text, engine="process")
    assert ended.result.rendered == 6
    assert ended.seen.kinds() == ["recycled", "recycled"]
    assert sum(item.measurement.load_s is not None for item in ended.receipts()) == 3


def test_the_real_worker_is_killed_and_its_parent_goes_on(cli, manifest, work):
    manifest(REAL)
    run = subprocess.Popen(RUN, env=process_engine(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    killed = 0
    while run.poll() is None and killed < 2:
        done = len(list((work / "run" / ".run").glob("receipts/*/*.json")))
        if done > 3 * killed:
            for worker in psutil.Process(run.pid).children():
                if "resource_tracker" not in " ".join(worker.cmdline()):
                    worker.kill()
                    killed += 1
                    time.sleep(0.5)
        time.sleep(0.02)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    assert killed == 2
    assert "leaked" not in err
    assert "9 images rendered" in out
    assert err.count("the worker died") == 2
    assert cli("run", "job.yaml", "--out", "undisturbed", "--quiet").code == 0
    assert hashes("run") == hashes("undisturbed")


def test_killed_at_random_a_few_times(tmp_path):
    """The short form of `make torture`."""
    import random

    from benchmarks import torture

    figures = torture.torture(4, tmp_path, random.Random(7))
    assert figures.problems == (), str(figures)
    assert figures.commits_when_killed > 0


def test_a_warning_is_not_the_cause_of_a_death():
    warned = "W1129 14:40:01.4 11718 torch/x.py:630] this will be an error one day\nx: FutureWarning: an error"
    assert Death("signal 9", warned).why == "signal 9"
    assert Death("exit code 1", f"CUDA error: lost\n{warned}").why == "exit code 1: CUDA error: lost"
