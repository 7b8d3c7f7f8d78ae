"""A worker that goes on from run to run of a queue: what stays loaded, and what is the new run's own."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from batch.base import orphans
from batch.engines.handle import Handle
from batch.engines.keep import Keep
from batch.engines.places import KeptCrew
from batch.records.events import Beat, Began, Closed, Seat
from batch.render.diffusers_backend import Diffusers
from batch.run.options import Options
from batch.run.queue import Queue
from batch.run.steering import Steering
from batch.store import workers
from tests.engines.nights import FAKE_RUN, process_engine, until_an_image, worker_processes
from tests.fake_session import FakeBackend, Fault
from tests.helpers import Seen, hashes, receipts_of

JOB = """\
name: {name}
grid: {{model: {model}, prompt: [a, b], seed: {seeds}, steps: 2, size: {size}}}
run: {{min_free_disk: 1MB}}
"""


@pytest.fixture
def queue(manifest, own_cache, tmp_path):
    """Run manifests as a queue, with a worker process; text by name."""
    (tmp_path / "memo").mkdir()

    def run(backend=None, seen=None, **texts):
        paths = [manifest(text, f"{name}.yaml") for name, text in texts.items()]
        options = Options(engine="process", backend=backend or FakeBackend())
        made = Queue(
            manifests=paths,
            options=options,
            listeners=lambda _: Seen() if seen is None else seen,
            stop=Steering(),
        )
        entries = list(made.run())
        assert [entry.error for entry in entries] == [None] * len(paths)
        return [entry.result for entry in entries]

    return run


def job(name, seeds="0..1", model="demo", size="512x512", **more):
    text = JOB.format(name=name, seeds=seeds, model=model, size=size)
    return text + "".join(f"{key}: {value}\n" for key, value in more.items())


def loads(name):
    """How often the model was loaded while a run of the queue rendered."""
    return sum(item.measurement.load_s is not None for item in receipts_of(f"outputs/{name}"))


class Pids(dict):
    """Which worker processes rendered, by the run."""

    def on(self, event):
        if isinstance(event, Began):
            self.now = self.setdefault(event.name, set())
        elif isinstance(event, Beat):
            self.now.update(child.pid for child in psutil.Process().children() if _is_worker(child))


def _is_worker(child):
    try:
        return "spawn_main" in " ".join(child.cmdline())
    except psutil.Error:  # it has just died
        return False


def test_a_model_that_neighbours_share_stays_loaded(queue):
    pids = Pids()
    queue(seen=pids, a=job("a"), b=job("b", "2..3"))
    assert (loads("a"), loads("b")) == (1, 0)
    assert pids["a"] == pids["b"]


def test_another_model_is_loaded_in_the_same_worker(queue):
    pids = Pids()
    queue(seen=pids, a=job("a"), b=job("b", model="demo-1k", size="1024x1024"), c=job("c", "4..5"))
    assert (loads("a"), loads("b"), loads("c")) == (1, 1, 1)
    assert pids["a"] == pids["b"] == pids["c"]


def test_what_belongs_to_a_run_folder_is_the_new_ones(queue, once):
    queue(FakeBackend((once("oom-torch", "decode", times=1),)), a=job("a"), b=job("b", "2..3"))
    assert Path("outputs/a/.run/rungs.json").exists()
    assert not Path("outputs/b/.run/rungs.json").exists()  # it has met no want of memory itself
    assert [item.degraded_from for item in receipts_of("outputs/b")] == [""] * 4
    for name in "ab":
        assert Path(f"outputs/{name}/.run/worker.log").exists()
        assert not Path(f"outputs/{name}/.run/workers.json").exists()
        assert len(list(Path(f"outputs/{name}/images").iterdir())) == 4


def test_a_worker_that_dies_is_no_loss_to_the_next_run(queue, once):
    pids = Pids()
    first, second = queue(FakeBackend((once("exit"),)), pids, a=job("a"), b=job("b", "2..3"))
    assert (first.done, second.done, second.failed) == (4, 4, 0)
    assert len(pids["a"] | pids["b"]) == 2
    assert loads("b") == 0  # of the worker that took the dead one's place


def test_a_measurement_gets_fresh_processes(queue):
    pids = Pids()
    measured = job("m", "0", kind="measure")
    queue(seen=pids, a=job("a"), m=measured, b=job("b", "2..3"))
    assert pids["m"].isdisjoint(pids["a"] | pids["b"])
    assert loads("b") == 1


def test_where_workers_are_replaced_none_is_kept(queue):
    recycling = job("a").replace("{min_free", "{recycle_after: 50, min_free")
    pids = Pids()
    queue(seen=pids, a=recycling, b=job("b", "2..3"))
    assert pids["a"].isdisjoint(pids["b"])


def test_no_process_is_left_when_the_queue_is_over(queue):
    before = {child.pid for child in psutil.Process().children()}
    queue(a=job("a"), b=job("b", "2..3"))
    assert [child for child in psutil.Process().children() if child.pid not in before and _is_worker(child)] == []


SANA = "name: {name}\ngrid: {{model: ./sana, prompt: [a fox, a hen], seed: {seeds}, steps: 2, size: 512x512}}\n"


def test_pictures_of_a_kept_pipeline_are_those_of_a_fresh_one(queue, tiny, work):
    Path("sana").symlink_to(tiny("sana"))
    texts = {name: SANA.format(name=name, seeds=seeds) for name, seeds in (("a", "0..1"), ("b", "0..3"))}
    queue(Diffusers(), **texts)
    assert (loads("a"), loads("b")) == (1, 0)
    together = hashes("outputs/b")
    Path("outputs/b").rename("outputs/before")
    queue(Diffusers(), b=texts["b"])
    assert loads("b") == 1
    assert together == hashes("outputs/b")
    assert len(together) == 8


def test_a_changed_model_folder_is_loaded_anew(queue, tiny, work):
    shutil.copytree(tiny("sana"), "sana")
    first, later = SANA.format(name="a", seeds="0"), SANA.format(name="b", seeds="0")

    class Changes:
        def on(self, event):
            if isinstance(event, Closed) and not Path("outputs/b").exists():
                with Path("sana/model_index.json").open("a") as file:
                    file.write("\n")

    queue(Diffusers(), Changes(), a=first, b=later)
    assert loads("b") == 1


def crew(*handles):
    workers = ((Seat(number=number, device="cpu"), handle) for number, handle in enumerate(handles))
    return KeptCrew(None, ("cpu",) * len(handles), tuple(workers))


def test_a_kept_worker_serves_only_what_it_was_started_for(work):
    folders = [work / name for name in "abc"]
    keep = Keep(folders[:2])
    assert keep.after(folders[0]) == (folders[1],)
    assert keep.after(folders[1]) == keep.after(folders[2]) == ()
    backend = FakeBackend()
    handle = Handle(folders[0] / ".run", None, backend, keep.after(folders[0]))
    try:
        process = psutil.Process(handle.pid)
        while orphans.VARIABLE not in process.environ():  # it may not have begun
            time.sleep(0.01)
        assert process.environ()[orphans.VARIABLE] == f"{os.getpid()}:{folders[0]}\n{folders[1]}"
        keep.put(crew(handle), backend)
        assert not (folders[0] / ".run" / workers.FILE).exists()
        taken = keep.take(folders[1] / ".run", None, backend)
        assert taken == crew(handle)
        assert str(handle.pid) in (folders[1] / ".run" / workers.FILE).read_text()
        keep.put(crew(handle), backend)
        assert keep.take(folders[2] / ".run", None, backend) is None
        assert not psutil.pid_exists(handle.pid)
    finally:
        keep.close()
        handle.close()


@pytest.mark.parametrize(("devices", "backend"), [("cpu", FakeBackend()), (None, FakeBackend((Fault("nan"),)))])
def test_another_device_or_backend_needs_a_fresh_worker(work, devices, backend):
    keep = Keep([work / "a", work / "b"])
    handle = Handle(work / "a" / ".run", None, FakeBackend(), keep.after(work / "a"))
    keep.put(crew(handle), FakeBackend())
    assert keep.take(work / "b" / ".run", devices, backend) is None
    assert not psutil.pid_exists(handle.pid)


def test_one_that_died_while_it_waited_is_not_taken(work):
    keep = Keep([work / "a", work / "b"])
    handle = Handle(work / "a" / ".run", None, FakeBackend(), keep.after(work / "a"))
    keep.put(crew(handle), FakeBackend())
    process = psutil.Process(handle.pid)
    process.kill()
    while process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert keep.take(work / "b" / ".run", None, FakeBackend()) is None


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for a single process")
def test_ctrl_c_ends_a_queue_and_leaves_no_process(manifest, own_cache, work):
    manifest(job("a", "0"), "a.yaml")
    manifest(job("b", "0..99"), "b.yaml")
    manifest(job("c"), "c.yaml")
    command = [*FAKE_RUN[:3], "run", "a.yaml", "b.yaml", "c.yaml"]
    run = subprocess.Popen(
        command, env=process_engine(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    until_an_image(run, work / "outputs" / "b")
    (worker,) = worker_processes(run)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert "c.yaml" not in err
    assert "c.yaml: not begun: interrupted" in out
    assert not Path("outputs/c").exists()
    assert not psutil.pid_exists(worker.pid)
    assert len(receipts_of("outputs/a")) == 2
    assert subprocess.run([*command[:-2], "--quiet"], env=process_engine(), check=False).returncode == 0
