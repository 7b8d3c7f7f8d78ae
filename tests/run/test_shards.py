"""Shards: each renders its fixed part, all in one folder, at once or one after the other."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from batch.base import atomic
from batch.base.errors import FolderLocked, FolderLost, UserError
from batch.cli.progress import Silent
from batch.records.live import LiveStatus, RunState
from batch.records.shard import Shard
from batch.report import table
from batch.run import together as all_of
from batch.run.together import Parts, merged, together
from batch.store import derived, job, joining, live, shards
from batch.store.folder import RunFolder
from tests.conftest import ROOT, SMALL
from tests.fake_session import Fault
from tests.helpers import fake_run, hashes, receipts_of

MANIFEST = SMALL.replace("0..1", "0..4")
"""Ten images."""
RANDOM = SMALL.replace("0..1", "{random: 5}")
RUN = Path("outputs/job")


def shard(path, number, of=3, *faults, **options):
    return fake_run(path, *faults, seen=Silent(), engine="local", shard=Shard(number, of), **options)


def held(root, number, of=3):
    """A shard that is at work there."""
    return RunFolder(Path(root), shard=Shard(number, of)).hold()


def elsewhere(state):
    """A run on another host, which the kernel here knows nothing of."""
    state.mkdir(parents=True, exist_ok=True)
    who = {"host": "node7", "pid": 1, "since": "then", "command": "run x", "token": "t", "boot": "other"}
    (state / "lock.json").write_text(json.dumps(who))


def test_shards_make_the_same_pictures_as_one_run(manifest):
    path = manifest(MANIFEST)
    results = [shard(path, number) for number in (2, 3, 1)]
    assert [(item.rendered, item.total, item.exit_code) for item in results] == [(3, 3, 0), (3, 3, 0), (4, 4, 0)]
    assert [item.elsewhere for item in results] == [7, 4, 0]
    fake_run(path, seen=Silent(), engine="local", out=Path("whole"))
    assert hashes(RUN) == hashes("whole")
    assert set(table.read(RUN / "results.csv").status) == {"done"}
    assert fake_run(path, seen=Silent(), engine="local").rendered == 0


def test_the_part_is_that_of_the_whole_plan_whatever_is_done(manifest):
    path = manifest(MANIFEST)
    shard(path, 1)
    part = [task.id for task in RunFolder(RUN).tasks()][1::3]
    assert shard(path, 2).rendered == 3
    assert set(part) <= hashes(RUN).keys()
    receipt = RunFolder(RUN).receipt(part[0])
    (RUN / receipt.file.path).unlink()
    assert (shard(path, 1).rendered, shard(path, 2).rendered) == (0, 1)


def test_what_is_left_of_other_shards_is_told(cli, manifest):
    path = manifest(MANIFEST)
    first = cli("run", path, "--shard", "1/3", "--max-images", "1")
    assert first.code == 75
    assert "shard 1/3 lacks 3 images; of all 10 images other shards lack 6:" in first.out
    with held(RUN, 3):
        second = cli("run", path, "--shard", "2/3")
    assert (second.code, "shard 2/3 is done; of all 10 images other shards lack 6:\n" in second.out) == (0, True)
    assert "  shard 1/3 lacks 3: the same command with --shard 1/3 renders them\n" in second.out
    assert "  shard 3/3 lacks 3 and is at work\n" in second.out
    end = cli("run", path, "--shard", "2/3", "--json").events()[-1]
    assert (end["shard"], end["total"], end["whole"], end["elsewhere"]) == ("2/3", 3, 10, 6)


def test_of_many_shards_the_first_are_told(cli, manifest):
    path = manifest(MANIFEST)
    said = cli("run", path, "--shard", "1/8").out
    assert said.count("renders them\n") == 1 and said.count("renders it\n") == 3  # of ten images two have two
    assert "  3 more shards lack 3; `status` names them\n" in said
    for number in range(2, 9):
        shard(path, number, 8)
    assert "shard 1/8 is done; all images of the other shards are there" in cli("run", path, "--shard", "1/8").out


def test_plan_shows_the_part(cli, manifest):
    path = manifest(MANIFEST)
    shard(path, 2)
    said = cli("plan", path, "--shard", "2/3").out
    assert "shard 2/3: 3 of these 10 images" in said and "done 3, to render 0" in said
    told = cli("plan", path, "--shard", "1/3", "--json").json()
    assert (told["images"], told["whole"], told["shard"], told["done"], told["extra"]) == (4, 10, "1/3", 0, 0)


def test_more_shards_than_images(manifest):
    assert shard(manifest(MANIFEST), 12, 12).exit_code == 0


@pytest.mark.parametrize("random", [False, True])
def test_all_at_once_in_real_processes(manifest, work, random):
    """Started in the same second, they agree on seeds drawn, and each image is rendered once."""
    path = manifest(RANDOM if random else MANIFEST)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RUN_BATCH_ENGINE": "local"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.fake_main", "run", str(path), "--shard", f"{number}/4", "--json"],
            cwd=work, env=environment, stdout=subprocess.PIPE, text=True,
        )
        for number in (1, 2, 3, 4)
    ]  # fmt: skip
    ends = [json.loads(run.communicate()[0].splitlines()[-1]) for run in started]
    assert [run.returncode for run in started] == [0, 0, 0, 0]
    assert sum(end["rendered"] for end in ends) == 10
    assert len(receipts_of(RUN)) == 10
    frame = table.read(RUN / "results.csv")
    assert (len(frame), set(frame.status), frame.seed.nunique()) == (10, {"done"}, 5)
    status = live.read(RUN / ".run")
    assert (status.state, status.done, status.total) == (RunState.ENDED, 10, 10)
    assert not [*RUN.rglob("*.part")]


def test_seeds_drawn_by_another_since_they_were_read_count(manifest, monkeypatch):
    """Another shard begins between this one's look at the folder and its lock."""
    path = manifest(RANDOM)
    begun = joining.join

    def join(*of):
        monkeypatch.setattr(joining, "join", begun)
        shard(path, 2)
        return begun(*of)

    monkeypatch.setattr(joining, "join", join)
    shard(path, 1)
    assert {receipt.task.id for receipt in receipts_of(RUN)} <= {task.id for task in RunFolder(RUN).tasks()}
    assert len(receipts_of(RUN)) == 7


def test_where_no_lock_reaches_the_other_host_one_draws_the_seeds(manifest, monkeypatch):
    """Another host pins its own between this one's look and its file, although this one is in the gate."""
    path = manifest(RANDOM)
    first = joining._pinned

    def pinned(folder, before, plan):
        monkeypatch.setattr(joining, "_pinned", first)
        state = RUN / ".run"
        job.write_owner(state, plan.name, plan.kind, "elsewhere")
        job.write_pins(state, replace(plan.pins, seeds={"seed.0": (1, 2, 3, 4, 5)}), "elsewhere")
        return first(folder, before, plan)

    monkeypatch.setattr(joining, "_pinned", pinned)
    shard(path, 1)
    assert {task.seed for task in RunFolder(RUN).tasks()} == {1, 2, 3, 4, 5}


def test_a_file_is_made_by_one_alone(tmp_path, monkeypatch):
    path = tmp_path / "plan.json"
    assert (atomic.create(path, b"first", "a"), atomic.create(path, b"second", "b")) == (True, False)
    monkeypatch.setattr(os, "link", refused)
    assert not atomic.create(path, b"third", "c")
    path.rename(tmp_path / "before")
    assert atomic.create(path, b"fourth", "d")  # a file system without hard links
    assert ((tmp_path / "before").read_bytes(), path.read_bytes()) == (b"first", b"fourth")
    assert not [*tmp_path.glob(".*")]


def refused(*_):
    raise PermissionError(1, "Operation not permitted")


def test_who_may_run_beside_a_shard(cli, manifest):
    path = manifest(MANIFEST)
    shard(path, 1)
    with held(RUN, 2):
        again = cli("run", path, "--shard", "2/3")
        assert (again.code, f"shard 2/3 of {RUN} is in use by another runner: process" in again.err) == (
            3,
            True,
        )
        whole = cli("run", path)
        assert (whole.code, "is in use by shard 2/3 on" in whole.err) == (3, True)
        assert cli("prune", RUN).code == 3
        assert cli("prune", RUN, "--dry-run").code == 0
        assert cli("verify", RUN).code == 1  # images are missing
        assert cli("report", RUN).code == 0
        other = cli("run", path, "--shard", "1/4")
        assert (other.code, "divided otherwise just now, by shard 2/3" in other.err) == (3, True)
        changed = cli("run", path, "--shard", "1/3", "--set", "steps=2")
        assert (changed.code, "at work on another plan, by shard 2/3" in changed.err) == (3, True)
        assert cli("run", path, "--shard", "3/3").code == 0
    assert cli("run", path).code == 0


def test_no_shard_runs_beside_the_whole(cli, manifest):
    path = manifest(MANIFEST)
    shard(path, 1)
    with RunFolder(RUN).hold():
        refused = cli("run", path, "--shard", "2/3")
        assert (refused.code, "is in use as a whole" in refused.err) == (3, True)
    assert cli("run", path, "--shard", "2/3").code == 0


def test_runs_on_other_hosts_count(cli, manifest):
    """Where the kernel's locks do not reach them."""
    path = manifest(MANIFEST)
    shard(path, 1)
    elsewhere(RUN / ".run" / "shards" / "2-of-3")
    assert "shard 2/3 on node7" in cli("run", path).err
    assert "shard 2/3 on node7 (process 1)" in cli("status", RUN).out
    assert cli("run", path, "--shard", "2/3").code == 3
    assert cli("run", path, "--shard", "3/3").code == 0
    shutil.rmtree(RUN / ".run" / "shards" / "2-of-3")
    elsewhere(RUN / ".run")
    assert "on node7" in cli("run", path, "--shard", "2/3").err


def test_a_division_that_was_left_in_the_middle(cli, manifest):
    path = manifest(MANIFEST)
    shard(path, 1)
    refused = cli("run", path, "--shard", "1/2")
    assert (refused.code, "was begun as 3 shards" in refused.err, "division.json" in refused.err) == (
        3,
        True,
        True,
    )
    (RUN / ".run" / "division.json").unlink()  # the remedy
    assert cli("run", path, "--shard", "1/2").code == 0
    assert cli("run", path).code == 0  # the other one
    assert cli("run", path, "--shard", "1/5").code == 0  # nothing is left, so nothing can go wrong


def test_temp_files_of_those_at_work_stay(manifest):
    """Swept is by who is there alone."""
    path = manifest(MANIFEST)
    shard(path, 1)
    part = RUN / "images" / ".0123456789ab.another-shard.part"
    part.write_bytes(b"half a picture")
    with held(RUN, 2):
        shard(path, 1)
        assert part.exists()
    shard(path, 1)
    assert not part.exists()


def test_failures_of_others_are_theirs(manifest):
    path = manifest(MANIFEST)
    for number in (1, 2):
        shard(path, number, 3, Fault("error"))
    assert len(RunFolder(RUN).scan().failures) == 7
    assert shard(path, 1, retry_failed=True).done == 4
    assert len(RunFolder(RUN).scan().failures) == 3


@pytest.mark.parametrize(
    "text, options, said",
    [
        (MANIFEST.replace("grid:", "kind: measure\ngrid:"), {}, "a measurement is alone on one card"),
        (MANIFEST, {"engine": "ray"}, "Ray divides the job by itself"),
    ],
)
def test_what_is_not_divided(manifest, text, options, said):
    with pytest.raises(UserError, match=said):
        fake_run(manifest(text), seen=Silent(), shard=Shard(1, 2), **options)


def test_what_divides_itself_by_the_environment_is_not_divided(cli, manifest, monkeypatch):
    monkeypatch.setenv("RUN_BATCH_ENGINE", "ray")
    done = cli("run", manifest(MANIFEST), "--shard", "1/2")
    assert done.code == 2
    assert "--shard 1/2 with RUN_BATCH_ENGINE=ray: Ray divides the job by itself" in done.err


def test_each_manifest_of_a_queue_is_divided(cli, manifest):
    paths = [manifest(MANIFEST, name) for name in ("a.yaml", "b.yaml")]
    done = cli("run", *paths, "--shard", "2/3")
    assert (done.code, len(receipts_of("outputs/a")), len(receipts_of("outputs/b"))) == (0, 3, 3)


def test_all_running_shards_are_stopped_and_told_of(cli, manifest):
    path = manifest(MANIFEST)
    shard(path, 3)
    with ExitStack() as stack:
        for number in (1, 2):
            stack.enter_context(held(RUN, number))
        said = cli("status", RUN)
        assert said.out.count("  shard ") == 2
        assert len(cli("status", RUN, "--json").json()["shards"]) == 2
        assert cli("stop", RUN, "--no-wait").out.count("was asked to stop") == 2
        for number in (1, 2):
            orders = RUN / ".run" / "shards" / f"{number}-of-3" / "orders"
            assert len([*orders.iterdir()]) == 1


def test_one_shard_is_stopped_alone(cli, manifest):
    path = manifest(MANIFEST)
    shard(path, 3)
    with held(RUN, 1), held(RUN, 2):
        refused = cli("run", path, "--shard", "2/3")
        assert f"or `stop {RUN} --shard 2/3`" in refused.err
        assert re.search(r", started \d{4}-\d\d-\d\d \d\d:\d\d:\d\d; ", refused.err)
        for order in ("stop", "pause", "resume"):
            said = cli(order, RUN, "--shard", "2/3", "--no-wait")
            assert said.out.count(f"was asked to {order}") == 1 and "(shard 2/3)" in said.out
        orders = [RUN / ".run" / "shards" / f"{number}-of-3" / "orders" for number in (1, 2)]
        assert [path.exists() for path in orders] == [False, True]
        absent = cli("stop", RUN, "--shard", "3/3", "--no-wait")
        assert (absent.code, "shard 3/3 is not at work" in absent.err, "at work are: 1/3, 2/3" in absent.err) == (
            2,
            True,
            True,
        )
        assert cli("pause", RUN, "--shard", "auto").code == 2
    with RunFolder(RUN).hold():
        assert "leave --shard out" in cli("stop", RUN, "--shard", "1/3", "--no-wait").err


def test_what_is_newer_is_not_replaced_by_something_older(manifest):
    """A report waits for another one, and looks at the receipts only then."""
    path = manifest(MANIFEST)
    shard(path, 1)
    (RUN / "results.csv").unlink()
    results = []
    with derived.writing(RUN / ".run"):
        other = threading.Thread(target=lambda: results.append(shard(path, 2)))
        other.start()
        while len(receipts_of(RUN)) < 7:
            other.join(0.05)
        assert not (RUN / "results.csv").exists()
    other.join()
    assert list(table.read(RUN / "results.csv").status).count("done") == 7


def test_one_keeps_the_reports_and_another_when_it_has_ended(tmp_path):
    (tmp_path / "shards").mkdir()
    first, second = (derived.Reporter(tmp_path, alone=False) for _ in range(2))
    assert (first.is_me(), second.is_me(), first.is_me()) == (True, False, True)
    first.leave()
    assert (second.is_me(), first.is_me()) == (True, False)


def test_one_status_of_all():
    mine = LiveStatus(
        state=RunState.PAUSED, name="job", pid=1, host="a", began=5.0, updated=100.0, done=3, to_render=2,
        rest_s=20.0, per_hour=60.0, image="x", generation=4,
    )  # fmt: skip
    slow = LiveStatus(
        state=RunState.RENDERING, name="job", pid=2, host="b", began=1.0, updated=95.0, done=2, to_render=4,
        rest_s=90.0, per_hour=30.0, failed=1,
    )  # fmt: skip
    over = LiveStatus(state=RunState.ENDED, name="job", pid=3, host="c", began=1.0, updated=9.0, done=5)
    found = merged(mine, [slow, over], whole=20)
    assert (found.state, found.done, found.failed, found.to_render) == (RunState.RENDERING, 10, 1, 6)
    assert (found.rest_s, found.per_hour, found.total, found.began) == (90.0, 90.0, 20, 5.0)
    assert (found.generation, found.image, found.said) == (4, "", "1 shard rendering, 1 paused, 1 over")


def test_who_is_at_work_is_told_by_the_lock_and_never_by_another_hosts_clock(work, monkeypatch):
    there = RunFolder(work / "run", shard=Shard(2, 2))
    status = LiveStatus(
        state=RunState.RENDERING, name="job", pid=1, host="a", began=5.0, updated=100_000.0, ends_at=100_060.0
    )
    mine, parts = replace(status, updated=5.0, ends_at=15.0), Parts(Shard(1, 2), whole=9, done={}, failed={})

    def said():
        return together(RunFolder(work / "run"), mine, parts)

    with there.hold():
        live.write(there.own, status, "me")
        assert said().said == "2 shards rendering"
        assert 55 < said().ends_at - said().updated < 65
    assert said().said == "1 shard rendering, 1 over"  # killed
    live.write(there.own, replace(status, updated=99_000.0), "me")  # it lives, for all that its lock says here
    assert said().said == "2 shards rendering"
    monkeypatch.setattr(all_of, "SILENT_S", 0.0)
    assert said().said == "1 shard rendering, 1 over"


def test_images_of_shards_that_have_not_begun_count(manifest):
    """They were rendered by a run before, of the whole."""
    path = manifest(MANIFEST)
    whole = fake_run(path, seen=Silent(), out=RUN, engine="local")
    assert whole.done == whole.total > 3
    shard(path, 1)
    assert live.read(RUN / ".run").done == whole.total
    assert live.read(RUN / ".run" / "shards" / "1-of-3").done < whole.total


def test_a_shard_that_lost_its_lock_writes_nothing(manifest):
    path = manifest(MANIFEST)
    shard(path, 1)
    folder = RunFolder(RUN, shard=Shard(2, 3))
    with folder.hold():
        worker = RunFolder(RUN, folder.runner, folder.held)  # as one is made in another process
        worker.still_held()
        (RUN / ".run" / "lock").write_bytes(b"")  # that of the whole is another matter
        worker.still_held()
        (RUN / ".run" / "shards" / "2-of-3" / "lock").unlink()
        with pytest.raises(FolderLost, match="the lock of shard 2/3 of"):
            worker.still_held()


def test_folders_that_were_apart_are_put_together(manifest):
    """As docs/scaling.md says for buckets; the copies have other times."""
    path = manifest(MANIFEST)
    for number in (1, 2, 3):
        shard(path, number, out=Path(f"part{number}"))
        leave = shutil.ignore_patterns("shards")
        shutil.copytree(f"part{number}", "all", dirs_exist_ok=True, copy_function=shutil.copyfile, ignore=leave)
    done = fake_run(path, seen=Silent(), engine="local", out=Path("all"))
    assert (done.rendered, done.done) == (0, 10)


def test_a_gate_that_nobody_opens(manifest, monkeypatch):
    monkeypatch.setattr(shards, "GATE_S", 0.1)
    path = manifest(MANIFEST)
    shard(path, 1)
    with shards.gate(RUN / ".run"), pytest.raises(FolderLocked, match="does not go on"):
        shard(path, 2)
