"""The engine as a process of its own, and the command line around it: two runners, streams, options."""

import os
import re
import shlex
import subprocess

import pytest

from batch.store import events
from batch.store.folder import RunFolder
from batch.upkeep.verify import verify
from tests.engines.nights import FAKE_RUN, JOB, REAL, RUN, process_engine, until_an_image


def test_two_runners_at_once(manifest, work):
    manifest(REAL.replace("0..2", "0..9"))  # long enough that the second comes while the first goes on
    runs = [_started() for _ in range(2)]
    said = [run.communicate(timeout=120)[1] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 3], said
    assert any("is in use by another runner" in text for text in said)
    folder = RunFolder(work / "run")
    assert len(folder.scan().receipts) == len(list(folder.image_files())) == 30


def test_a_runner_whose_lock_is_removed_gives_way(manifest, work):
    """Someone has deleted the lock file: the next runner takes over, and the first one writes no more."""
    manifest(REAL.replace("0..2", "0..19"))
    runs = [_started()]
    until_an_image(runs[0], work / "run")
    (work / "run" / ".run" / "lock").unlink()
    runs.append(_started())
    said = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [3, 0], said
    assert "the lock of run was " in said[0][1] and "run the same command again to go on" in said[0][1]
    folder = RunFolder(work / "run")
    rendered = [int(re.search(r"(\d+) images? rendered", out)[1]) for out, _ in said]
    assert len(folder.scan().receipts) == len(list(folder.image_files())) == sum(rendered) == 60
    assert {entry.kind for entry in events.last_run(events.read(folder))} == set()
    assert verify(folder.root, lambda _done, _total: None).ok


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_lock_holds_for_every_name_of_the_folder(manifest, work):
    manifest(REAL.replace("0..2", "0..99"))  # more than there is time for
    first = _started()
    try:
        until_an_image(first, work / "run")
        (work / "other").symlink_to("run")
        others = [_started("--out", name) for name in ("other", work / "run", "./other/../run/")]
        said = [other.communicate(timeout=60)[1] for other in others]
    finally:
        first.kill()
        first.communicate()
    assert all("is in use by another runner: process" in text for text in said), said
    assert [other.returncode for other in others] == [3, 3, 3]


def _started(*options):
    command = [*FAKE_RUN, *map(str, options)]
    return subprocess.Popen(
        command, env=process_engine(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_reader_that_leaves_ends_no_run(manifest, work):
    """`run | head` and a terminal that is closed: what cannot be shown is not worth a night."""
    manifest(REAL)
    for out, options in (("lines", ()), ("events", ("--json",))):
        command = [*FAKE_RUN[:-1], out, *options]
        run = subprocess.Popen(command, env=process_engine(), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        until_an_image(run, work / out)
        run.stdout.close()
        run.stderr.close()
        assert run.wait(timeout=120) == 0
        assert len(RunFolder(work / out).scan().receipts) == 9


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell")
@pytest.mark.parametrize("streams", ["2>&-", ">&-", "<&- >&- 2>&-", "> /dev/full 2> /dev/full"])
@pytest.mark.parametrize("option", ["", "--json", "--quiet"])
def test_streams_that_are_closed_from_the_start(manifest, work, streams, option):
    manifest(REAL.replace("0..2", "0").replace("[a, b, c]", "a"))
    real = option == "" and streams in ("<&- >&- 2>&-", "> /dev/full 2> /dev/full")
    run = RUN if real else FAKE_RUN  # else torch is loaded 12 times
    command = f"{shlex.join(run)} {option} {streams}"
    assert subprocess.run(command, shell=True, env=process_engine(), check=False).returncode == 0
    folder = RunFolder(work / "run")
    assert len(folder.scan().receipts) == 1
    assert "Traceback" not in (folder.state / "worker.log").read_text()


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


def test_an_engine_that_is_not_there(cli, manifest, monkeypatch):
    assert cli("run", manifest(), "--engine", "dask").code == 2
    monkeypatch.setenv("RUN_BATCH_ENGINE", "dask")
    assert cli("run", "job.yaml").code == 2
