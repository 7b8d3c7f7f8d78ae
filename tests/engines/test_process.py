"""A night that nobody watches: every fault, through the supervised worker and the stand-in session."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from batch.base import atomic
from batch.records.events import Happening
from batch.report import table
from batch.run import limits, runner
from batch.run.options import Options, Result
from batch.store.folder import RunFolder
from tests.conftest import ROOT
from tests.fake_session import FakeBackend, Fault

JOB = """\
name: night
grid: {model: demo-1k, prompt: [a, b], seed: 0..2, steps: 2, size: 1344x768}
run: {min_free_disk: 1MB}
output: {format: webp}
"""


@dataclass
class Seen:
    """What a run told."""

    happenings: list[Happening] = field(default_factory=list)

    def on(self, event):
        if isinstance(event, Happening):
            self.happenings.append(event)

    def kinds(self):
        return [item.kind for item in self.happenings]


@dataclass
class Night:
    result: Result
    seen: Seen
    seconds: float
    folder: RunFolder = field(init=False)

    def __post_init__(self):
        self.folder = RunFolder(self.result.folder)

    def receipts(self):
        return list(self.folder.scan().receipts.values())

    def hashes(self):
        return {key: item.file.sha256 for key, item in self.folder.scan().receipts.items()}

    def failures(self):
        return self.folder.scan().failures

    def parts(self):
        return list(self.folder.root.rglob(f"*{atomic.TEMP_SUFFIX}"))


@pytest.fixture
def night(manifest, work, tmp_path):
    """Run the job with faults; each fault that is counted remembers its strikes in a folder."""
    (tmp_path / "memo").mkdir()

    def run(*faults: Fault, text=JOB, out="run", engine="local", stop=None, **options) -> Night:
        seen, start = Seen(), time.monotonic()
        chosen = Options(out=Path(out), engine=engine, backend=FakeBackend(faults), **options)
        result = runner.run(manifest(text), chosen, seen, stop or threading.Event())
        return Night(result, seen, time.monotonic() - start)

    return run


@pytest.fixture
def once(tmp_path):
    """A fault that strikes so often in all."""

    def fault(kind, stage="denoise", times=1, **more) -> Fault:
        return Fault(kind, stage, times=times, memo=str(tmp_path / "memo"), **more)

    return fault


def undisturbed(night):
    return night(out="undisturbed").hashes()


# 1. A supervised worker


@pytest.mark.parametrize("kind", ["exit", "sigkill", "sticky"])
@pytest.mark.parametrize("stage", ["encode", "denoise", "decode"])
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


def _workers(run):
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(run.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "spawn_main" in " ".join(child.cmdline()):
                    yield child


def test_a_worker_that_dies_before_it_is_ready_is_replaced(manifest, work):
    manifest(REAL)
    run = subprocess.Popen(RUN, env=_process_engine(), stderr=subprocess.PIPE, text=True)
    while not (workers := list(_workers(run))):
        assert run.poll() is None
        time.sleep(0.005)
    workers[0].kill()
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert len(RunFolder(work / "run").scan().receipts) == 9


# 2. Stall watchdog


def test_a_hang_is_noticed_and_the_image_is_rendered_again(night, once):
    ended = night(once("hang", seed=1, prompt="b"), engine="process", task_timeout=1.5)
    assert ended.result.rendered == 6
    assert ended.seen.kinds() == ["stalled"]
    assert "no sign of life" in ended.seen.happenings[0].text
    stacks = ended.seen.happenings[0].data["log"]
    assert "fake_session.py" in stacks  # where it hung
    assert ended.seconds < 20


@pytest.mark.skipif(os.name == "nt", reason="no SIGSTOP")
def test_a_run_that_was_stopped_and_continued_is_no_hang(manifest, work):
    """Ctrl-Z, and a laptop that slept: the time nobody listened is no silence of the worker."""
    manifest(REAL)
    run = subprocess.Popen(
        [*RUN, "--task-timeout", "3s"], env=_process_engine(), stderr=subprocess.PIPE, text=True
    )
    while not list((work / "run" / ".run").glob("receipts/*/*.json")):
        assert run.poll() is None
        time.sleep(0.02)
    family = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    for process in family:
        process.suspend()
    time.sleep(5)
    for process in reversed(family):
        process.resume()
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert "stalled" not in err


@pytest.mark.skipif(os.name == "nt", reason="no SIGSTOP")
def test_a_worker_that_is_stopped_alone_is_a_hang(manifest, work):
    manifest(REAL)
    run = subprocess.Popen(
        [*RUN, "--task-timeout", "2s"], env=_process_engine(), stderr=subprocess.PIPE, text=True
    )
    while not list((work / "run" / ".run").glob("receipts/*/*.json")):
        assert run.poll() is None
        time.sleep(0.02)
    for process in psutil.Process(run.pid).children():
        if "resource_tracker" not in " ".join(process.cmdline()):
            process.suspend()
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert "stalled" in err
    assert len(RunFolder(work / "run").scan().receipts) == 9
    assert not list((work / "run").rglob(f"*{atomic.TEMP_SUFFIX}"))


def test_how_long_is_too_long_is_learned():
    from batch.engines.patience import FIRST_S, LEAST_S, Patience

    patience = Patience()
    assert patience.limit("decode") == FIRST_S
    patience.heard("decode", 0.5)
    assert patience.limit("decode") == LEAST_S
    patience.heard("decode", 40.0)
    patience.heard("decode", 1.0)
    assert patience.limit("decode") == 400.0
    assert patience.limit("denoise") == FIRST_S
    by_hand = Patience(by_hand=7.0)
    by_hand.heard("decode", 100.0)
    assert by_hand.limit("decode") == 7.0
    assert by_hand.limit("load", loading=True) == FIRST_S


# 3. Out of memory


FORMS = ["oom-torch", "oom-cublas", "oom-cudnn", "oom-unbound"]


@pytest.mark.parametrize("form", FORMS)
def test_decoding_goes_down_the_ladder_and_stays_there(night, form):
    ended = night(Fault(form, "decode", unless="vae_cpu"))
    assert ended.result.rendered == 6
    # The first image only: the others begin where it ended.
    assert [item.data["rung"] for item in ended.seen.happenings] == [
        "model_cpu_offload", "vae_tiling(1024, 896)", "vae_tiling(512, 448)", "vae_cpu"
    ]  # fmt: skip
    used = "vae_tiling(512, 448) + model_cpu_offload + vae_cpu"
    assert {(item.degraded_from, item.memory_used) for item in ended.receipts()} == {("auto", used)}
    frame = table.read(ended.folder.root / "results.csv")
    assert set(frame.degraded_from) == {"auto"}
    assert set(frame.memory) == {used}


@pytest.mark.parametrize("form", FORMS)
def test_denoising_goes_down_its_own_ladder(night, form):
    ended = night(Fault(form, "denoise", unless="sequential_cpu_offload"))
    assert ended.result.rendered == 6
    assert [item.data["rung"] for item in ended.seen.happenings] == [
        "split_guidance", "chunked_ff", "model_cpu_offload", "group_offload(block, 1)", "sequential_cpu_offload"
    ]  # fmt: skip
    assert all(item.measurement.denoise is not None for item in ended.receipts())


def test_only_the_stage_that_failed_is_repeated(night, once, tmp_path):
    """A decode that fails does not cost the denoising again: a denoising of its own would strike twice."""
    ended = night(
        Fault("oom-torch", "decode", unless="vae_tiling(stride_height=448"),
        once("error", "denoise", times=6),
        text=JOB.replace("{min_free_disk", "{max_consecutive_failures: 9, min_free_disk"),
    )
    assert ended.result.failed == 6
    assert len(list((tmp_path / "memo").iterdir())) == 6
    ended = night(Fault("oom-torch", "decode", unless="vae_tiling(stride_height=448"), retry_failed=True)
    assert ended.result.rendered == 6


def test_rungs_survive_the_process_and_are_redone_on_request(night):
    faults = (Fault("oom-torch", "decode", unless="model_cpu_offload"),)
    first = night(*faults, text=JOB.replace("0..2", "0"), engine="process")
    assert first.seen.kinds() == ["out-of-memory"]
    rungs = json.loads((first.folder.state / "rungs.json").read_text())["rungs"]
    assert list(rungs.values()) == [{"decode": ["model_cpu_offload"]}]
    second = night(*faults, engine="process")
    assert second.seen.kinds() == []
    assert all(item.degraded_from == "auto" for item in second.receipts())
    before = second.hashes()
    redone = night(engine="process", redo_degraded=True)
    assert redone.result.rendered == 6
    assert all(item.degraded_from == "" for item in redone.receipts())
    assert set(redone.hashes()) == set(before)
    assert night(engine="process", redo_degraded=True).result.rendered == 0


def test_an_image_to_be_redone_is_kept_when_that_fails(night):
    night(Fault("oom-torch", "decode", unless="model_cpu_offload"))
    ended = night(Fault("error", "decode"), redo_degraded=True)
    assert ended.result.failed == 5  # as many as are allowed one after the other
    assert len(ended.receipts()) == 6
    assert all((ended.folder.root / item.file.path).is_file() for item in ended.receipts())


def test_without_fallback_out_of_memory_is_a_failed_row(night):
    ended = night(Fault("oom-torch", "decode", seed=1), fallback=False)
    assert (ended.result.rendered, ended.result.failed) == (4, 2)
    assert ended.seen.kinds() == []
    rows = table.read(ended.folder.root / "results.csv")
    failed = rows[rows.status == "failed"]
    assert set(failed.failed_stage) == {"decode"}
    assert set(failed.requested_mib) == {2304.0}
    again = night(Fault("oom-torch", "decode", seed=1), out="other",
                  text=JOB.replace("{min_free_disk", "{on_oom: fail, min_free_disk"))  # fmt: skip
    assert (again.result.failed, again.seen.kinds()) == (2, [])


def test_a_ladder_that_ends_is_a_failure(night):
    ended = night(Fault("oom-host", "denoise", seed=1, prompt="a"))
    assert (ended.result.rendered, ended.result.failed) == (5, 1)
    (failure,) = ended.failures().values()
    assert failure.error.kind == "OutOfMemoryError"
    # No smaller setting gives a host more memory, and none is taken for the images to come.
    assert failure.error.message.startswith("the host's memory ran out")
    assert "out-of-memory" not in ended.seen.kinds()
    assert {item.degraded_from for item in ended.receipts()} == {""}


def test_an_unsuited_card_ends_the_run_at_the_first_image(night):
    ended = night(Fault("unsuited"))
    assert (ended.result.rendered, ended.result.stopped.exit_code) == (0, 1)
    assert "no kernel image is available" in str(ended.result.stopped)
    assert "`doctor` says what is here" in str(ended.result.stopped)
    assert not ended.failures()  # of no image's making


def test_texts_that_do_not_fit_are_encoded_on_the_cpu(night):
    text = JOB.replace("[a, b]", "[texts that do not fit, another that does not]")
    ended = night(Fault("oom-torch", "encode", unless="text_encoder_cpu"), text=text)
    assert ended.result.rendered == 6
    assert [item.data["rung"] for item in ended.seen.happenings] == ["text_encoder_offload", "text_encoder_cpu"]
    assert all("text_encoder_cpu" in item.memory_used for item in ended.receipts())
    again = night(Fault("error", "encode"), text=text, redo_degraded=False)
    assert again.result.rendered == 0


def test_encoding_layer_by_layer_changes_nothing(night):
    text = JOB.replace("[a, b]", "[a text that does not fit, one more that does not]")
    ended = night(Fault("oom-torch", "encode", unless="text_encoder"), text=text)
    assert ended.result.rendered == 6
    assert [item.data["rung"] for item in ended.seen.happenings] == ["text_encoder_offload"]
    assert all(item.memory_used == "full + text_encoder_offload" for item in ended.receipts())


def test_a_worker_taken_by_the_kernel_goes_a_rung_down(night, once, monkeypatch):
    """The kernel's own count of processes ended for want of memory tells it from a kill by hand."""
    from batch.engines import handle

    kills = iter(range(100))
    monkeypatch.setattr(handle, "_kernel_kills", lambda: next(kills))
    ended = night(once("sigkill", "decode", seed=1, prompt="a"), engine="process")
    assert ended.result.rendered == 6
    assert ended.seen.kinds() == ["worker-died", "out-of-memory"]
    assert "ran out of memory" in ended.seen.happenings[0].text
    assert ended.seen.happenings[1].data["rung"] == "model_cpu_offload"


# 4. Bad pictures


def test_a_bad_picture_is_decoded_once_more_in_float32(night):
    ended = night(Fault("nan", "decode", seed=0), Fault("flat", "decode", seed=1), Fault("size", "decode", seed=2))
    assert ended.result.rendered == 6
    assert ended.seen.kinds() == ["invalid"] * 6
    repaired = {item.task.seed: item.repaired for item in ended.receipts()}
    assert "not finite" in repaired[0]
    assert "one colour" in repaired[1]
    assert "1344x767 pixels instead of 1344x768" in repaired[2]
    assert all(item.degraded_from == "" for item in ended.receipts())


def test_a_picture_that_stays_bad_is_invalid_and_never_done(night):
    ended = night(Fault("nan", "denoise", seed=1, prompt="a"))
    assert (ended.result.rendered, ended.result.failed) == (5, 1)
    rows = table.read(ended.folder.root / "results.csv")
    assert rows.status.value_counts().to_dict() == {"done": 5, "invalid": 1}
    assert len(list((ended.folder.root / "images").iterdir())) == 5


def test_picture_after_picture_invalid_stops_the_run(night):
    text = JOB.replace("0..2", "0..19")
    ended = night(Fault("nan", "denoise"), text=text)
    assert (ended.result.rendered, ended.result.failed) == (0, 5)
    assert ended.result.stopped.exit_code == 1
    assert "5 images failed one after the other" in str(ended.result.stopped)
    ended = night(Fault("nan", "denoise"), out="two",
                  text=text.replace("{min_free_disk", "{max_consecutive_failures: 2, min_free_disk"))  # fmt: skip
    assert ended.result.failed == 2


# 5. Disk


def test_an_unwritten_image_is_rendered_again_in_the_same_run(night, once):
    ended = night(once("eio", "save", seed=1, prompt="a"), engine="process")
    assert (ended.result.rendered, ended.result.failed) == (6, 0)
    assert ended.seen.kinds() == ["not-written"]
    assert ended.parts() == []
    assert ended.hashes() == undisturbed(night)


def test_a_disk_that_stays_broken_ends_the_run_after_five(night):
    ended = night(Fault("eio", "save", seed=1, prompt="a"))
    assert (ended.result.rendered, ended.result.failed) == (5, 1)
    ended = night(Fault("eio", "save"), out="all", text=JOB.replace("0..2", "0..9"))
    assert ended.result.stopped.exit_code == 1
    assert ended.result.rendered == 0


def test_a_full_disk_stops_resumable_and_counts_no_attempt(night):
    ended = night(Fault("enospc", "save", seed=1, prompt="a"), engine="process")
    assert ended.result.stopped.exit_code == 75
    assert ended.failures() == {}
    assert ended.parts() == []
    rest = night(engine="process")
    assert rest.result.failed == 0
    assert len(rest.receipts()) == 6
    assert rest.hashes() == undisturbed(night)


# 6. Stopping


def test_stopping_saves_what_is_rendered_and_drops_the_rest(night, once):
    stop = threading.Event()

    def after_the_first() -> None:
        while not any(Path("run/.run/receipts").rglob("*.json")):
            time.sleep(0.05)
        stop.set()

    threading.Thread(target=after_the_first, daemon=True).start()
    ended = night(Fault("slow", "denoise", seconds=0.8), engine="process", stop=stop)
    assert ended.result.stopped.exit_code == 130
    assert 0 < ended.result.rendered < 6
    assert ended.parts() == []
    assert len(list((ended.folder.root / "images").iterdir())) == len(ended.receipts())
    assert len(night(engine="process").receipts()) == 6


def test_a_worker_that_does_not_stop_is_ended(night, monkeypatch):
    from batch.engines import patience

    monkeypatch.setattr(patience, "STOP_S", 1.0)
    stop = threading.Event()
    threading.Timer(2.5, stop.set).start()
    ended = night(Fault("hang", "decode", seed=1), engine="process", stop=stop)
    assert ended.result.stopped.exit_code == 130
    assert ended.seconds < 20
    assert ended.failures() == {}


def test_a_worker_is_replaced_after_so_many_images(night):
    text = JOB.replace("{min_free_disk", "{recycle_after: 2, min_free_disk")
    ended = night(text=text, engine="process")
    assert ended.result.rendered == 6
    assert ended.seen.kinds() == ["recycled", "recycled"]
    assert sum(item.measurement.load_s is not None for item in ended.receipts()) == 3


@pytest.mark.skipif(os.name == "nt", reason="no process groups")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGINT)])
def test_a_signal_to_the_group_while_the_worker_starts(manifest, work, number):
    manifest(REAL)
    before = signal.signal(number, signal.SIG_DFL)  # the tests may have been started with nohup
    run = subprocess.Popen(RUN, env=_process_engine(), stderr=subprocess.PIPE, text=True, start_new_session=True)
    signal.signal(number, before)
    while not (workers := list(_workers(run))):
        assert run.poll() is None
        time.sleep(0.005)
    os.killpg(run.pid, number)
    _, err = run.communicate(timeout=30)
    assert run.returncode == 130, err
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []


# The real thing


RUN = [sys.executable, str(ROOT / "run_batch.py"), "run", "job.yaml", "--out", "run"]
REAL = "name: job\ngrid: {model: demo, prompt: [a, b, c], seed: 0..2, steps: 3, size: 512x512}\n"


def _process_engine():
    return {**os.environ, "RUN_BATCH_ENGINE": "process"}


def test_the_real_worker_is_killed_and_its_parent_goes_on(cli, manifest, work):
    manifest(REAL)
    run = subprocess.Popen(RUN, env=_process_engine(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
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
    hashes = [
        {key: item.file.sha256 for key, item in RunFolder(Path(name)).scan().receipts.items()}
        for name in ("run", "undisturbed")
    ]
    assert hashes[0] == hashes[1]


@pytest.mark.skipif(os.name == "nt", reason="no process groups")
def test_ctrl_c_ends_the_worker_with_its_parent(cli, manifest, work):
    manifest(REAL.replace("0..2", "0..30"))
    run = subprocess.Popen(
        RUN,
        env=_process_engine(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not list((work / "run" / ".run").glob("receipts/*/*.json")):
        assert run.poll() is None, run.communicate()
        time.sleep(0.02)
    workers = psutil.Process(run.pid).children(recursive=True)
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert "Traceback" not in err
    assert (work / "run" / "results.csv").is_file()
    _, alive = psutil.wait_procs(workers, timeout=15)
    assert alive == []


def test_a_worker_whose_parent_is_killed_ends(manifest, work):
    manifest(REAL.replace("0..2", "0..200"))
    run = subprocess.Popen(RUN, env=_process_engine(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not list((work / "run" / ".run").glob("receipts/*/*.json")):
        assert run.poll() is None
        time.sleep(0.02)
    workers = psutil.Process(run.pid).children(recursive=True)
    assert workers
    run.kill()
    run.wait()
    _, alive = psutil.wait_procs(workers, timeout=15)
    assert alive == []


def test_two_runners_at_once(manifest, work):
    manifest(REAL)
    runs = [
        subprocess.Popen(RUN, env=_process_engine(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [run.communicate(timeout=120)[1] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 3], said
    assert any("is in use by another runner" in text for text in said)
    folder = RunFolder(work / "run")
    assert len(folder.scan().receipts) == len(list(folder.image_files())) == 9


def test_a_reader_that_leaves_ends_no_run(manifest, work):
    """`run | head` and a terminal that is closed: what cannot be shown is not worth a night."""
    manifest(REAL)
    for out, options in (("lines", ()), ("events", ("--json",))):
        command = [*RUN[:-1], out, *options]
        run = subprocess.Popen(command, env=_process_engine(), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        while not list((work / out / ".run").glob("receipts/*/*.json")):
            assert run.poll() is None
            time.sleep(0.02)
        run.stdout.close()
        run.stderr.close()
        assert run.wait(timeout=120) == 0
        assert len(RunFolder(work / out).scan().receipts) == 9


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell")
@pytest.mark.parametrize("streams", ["2>&-", ">&-", "<&- >&- 2>&-", "> /dev/full 2> /dev/full"])
@pytest.mark.parametrize("option", ["", "--json", "--quiet"])
def test_streams_that_are_closed_from_the_start(manifest, work, streams, option):
    manifest(REAL.replace("0..2", "0").replace("[a, b, c]", "a"))
    all_closed = (option, streams) == ("", "<&- >&- 2>&-")
    run = (
        RUN if all_closed else [sys.executable, "-m", "tests.fake_main", *RUN[2:]]
    )  # else torch is loaded 12 times
    environment = {**_process_engine(), "PYTHONPATH": str(ROOT)}
    command = f"{shlex.join(run)} {option} {streams}"
    assert subprocess.run(command, shell=True, env=environment, check=False).returncode == 0
    folder = RunFolder(work / "run")
    assert len(folder.scan().receipts) == 1
    assert "Traceback" not in (folder.state / "worker.log").read_text()


def test_the_log_and_the_report_say_what_happened(night, once, cli):
    ended = night(
        once("exit", seed=1, prompt="a"),
        Fault("oom-torch", "decode", unless="vae_tiling"),
        Fault("nan", "denoise", seed=2, prompt="b"),
        engine="process",
    )
    status = cli("status", "run", "--json").json()
    assert status["happened"] == {"out-of-memory": 2, "worker-died": 1, "invalid": 1}
    assert (status["done"], status["failed"], status["degraded"]) == (5, 1, 5)
    assert "worker-died" in cli("status", "run").out
    page = (ended.folder.root / "report.html").read_text(encoding="utf-8")
    assert "the worker died at a-1" in page
    log = (ended.folder.state / "events.jsonl").read_text(encoding="utf-8").splitlines()
    kinds = [json.loads(line)["kind"] for line in log]
    assert kinds[-1] == "end"
    assert "failed" in kinds


def test_why_the_run_stopped_stands_in_status_and_report(night, cli):
    night(limits=limits.Limits(max_images=2))
    for text in (cli("status", "run").out, Path("run/report.html").read_text(encoding="utf-8")):
        assert "the run stopped: --max-images 2 is reached" in text
    night()
    assert "stopped" not in cli("status", "run").out
    with Path("run/.run/events.jsonl").open("a") as log:  # a run that was killed says no more
        log.write(
            '{"time": "2026-11-24T03:00:00+00:00", "runner": "x-1", "kind": "started", "text": "", "data": {}}\n'
        )
    assert "began 2026-11-24T03:00:00+00:00 was killed" in cli("status", "run").out


@pytest.mark.parametrize(
    "arguments",
    [("banana",), ("error", "banana"), ("enospc", "denoise"), ("nan", "save"), ("exit", "load", None, None, 1)],
)
def test_a_fault_that_cannot_happen_is_refused(arguments):
    with pytest.raises(ValueError, match=r"there is no|does not happen|memo"):
        Fault(*arguments)


def test_a_slow_down_is_told_by_the_run(night):
    slow = tuple(Fault("slow", seed=seed, seconds=0.4) for seed in range(11, 20))
    ended = night(*slow, text=JOB.replace("[a, b]", "a").replace("0..2", "0..19"))
    assert ended.seen.kinds() == ["slower"]
    assert "instead of" in ended.seen.happenings[0].text


def test_somebody_is_told(night, once, tmp_path):
    script = tmp_path / "tell.py"
    script.write_text(
        "import json, sys\n"
        "told = json.load(sys.stdin)\n"
        f"open({str(tmp_path / 'told')!r}, 'a').write(json.dumps(told) + chr(10))\n"
    )
    target = f'"{sys.executable}" "{script}"'
    night(once("hang", seed=1, prompt="a"), engine="process", task_timeout=1.5, notify=(target,))
    night(Fault("error"), out="failing", notify=(target,))
    night(out="stopping", notify=(target,), limits=limits.Limits(max_images=2))
    night(out="full", notify=(target,), text=JOB.replace("1MB", "900TB"))
    told = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert [item["event"] for item in told] == ["stalled", "done", "failed", "stopped", "low-disk"]
    assert "make room for about" in told[4]["message"]
    assert told[1]["counts"] == {"done": 6, "failed": 0, "missing": 0}
    assert told[2]["counts"] == {"done": 0, "failed": 5, "missing": 1}
    assert told[3]["counts"] == {"done": 2, "failed": 0, "missing": 4}
    assert "5 images failed one after the other" in told[2]["message"]


@pytest.mark.parametrize(
    ("option", "setting"),
    [(("--task-timeout", "9s"), "{}"), ((), "{recycle_after: 3}")],
    ids=["timeout", "recycle"],
)
def test_what_has_no_effect_in_one_process_is_refused(cli, manifest, option, setting):
    path = manifest(JOB.replace("{min_free_disk: 1MB}", setting))
    outcome = cli("run", path, "--engine", "local", *option)
    assert outcome.code == 2
    assert "no effect with --engine local" in outcome.err


@pytest.mark.parametrize("time", ["soon", "-3", "0", "5 days"])
def test_a_time_that_is_none(cli, manifest, time):
    outcome = cli("run", manifest(), f"--task-timeout={time}")
    assert outcome.code == 2
    assert "write 90s, 10m or 1h" in outcome.err


def test_an_engine_that_is_not_there(cli, manifest, monkeypatch):
    assert cli("run", manifest(), "--engine", "ray").code == 2
    monkeypatch.setenv("RUN_BATCH_ENGINE", "ray")
    assert cli("run", "job.yaml").code == 2


def test_killed_at_random_a_few_times(tmp_path):
    """The short form of `make torture`."""
    import random

    from benchmarks import torture

    figures = torture.torture(6, tmp_path, random.Random(7))
    assert figures.problems == (), str(figures)
    assert figures.commits_when_killed > 0
