"""Downloads that break off, stall or are only slow."""

import os
import random
import re
import signal
import subprocess
import time

import pytest

from batch.base.errors import DownloadError
from batch.hub import fetch
from batch.hub.downloads import FetchOptions, RepoFiles
from tests.conftest import DEMO
from tests.helpers import RUN_BATCH
from tests.hub.user import KNOWN, REPO, VAE, Told, leftovers, snapshot
from tests.small_hub import COMMIT, SLOW, Repo, folder_files


@pytest.mark.parametrize("xet", ["", "slow"])
def test_a_slow_download_is_no_stall(place, hub, xet):
    if xet:
        pytest.importorskip("hf_xet")
    large = random.Random(0).randbytes(5 * SLOW)
    hub.repos["a/b"] = Repo({VAE: large}, xet=xet, faults={VAE: ["slow"]})
    item = RepoFiles(name="b", repo="a/b", commit=COMMIT, files={VAE: len(large)})
    told, begun = Told(), time.monotonic()
    fetch.fetch([item], FetchOptions(listener=told, stall=2.0))
    assert time.monotonic() - begun > 5
    assert len(told.lines) == 2, told.lines  # it begins, it is complete
    assert (item.folder / VAE).read_bytes() == large
    assert hub.downloads() == ([] if xet else [VAE])
    assert told.seen == sorted(told.seen)
    steps = [after - before for before, after in zip([0, *told.seen], told.seen, strict=False)]
    assert max(steps) < len(large) / 4


@pytest.mark.parametrize("answer", ["500", "hang", "stall"])
def test_the_fast_path_fails_and_the_download_goes_on_without_it(place, near, hub, manifest, answer):
    pytest.importorskip("hf_xet")
    hub.repos[REPO] = Repo(folder_files(DEMO), xet=answer)
    outcome = near("fetch", manifest(KNOWN), "--stall-timeout", "1s")
    assert outcome.code == 0, outcome.err
    assert hub.asked_of_store() >= 2
    assert any("/xorbs/" in path for _, path, _ in hub.requests) == (answer == "stall")
    assert len(re.findall(r"the download (stalled for 1 s|failed: .*); again\n", outcome.out)) == 1
    assert "; again without Xet (HF_HUB_DISABLE_XET=1)\n" in outcome.out
    assert {name for name in hub.downloads() if "safetensors" in name} == {
        name for name in folder_files(DEMO) if "safetensors" in name
    }
    assert leftovers(place) == []
    assert "xet_secret" not in outcome.out + outcome.err


def test_a_connection_that_ends_is_resumed(near, hub, manifest, place):
    hub.repos[REPO] = Repo(folder_files(DEMO), faults={VAE: ["cut"]})
    assert near("fetch", manifest(KNOWN)).code == 0
    assert (snapshot() / VAE).read_bytes() == folder_files(DEMO)[VAE]


def test_a_stalled_download_begins_anew_and_keeps_the_whole(near, hub, manifest, place):
    hub.repos[REPO] = Repo(folder_files(DEMO), faults={VAE: ["stall"]})
    outcome = near("fetch", manifest(KNOWN), "--stall-timeout", "1s")
    assert outcome.code == 0, outcome.err
    assert "the download stalled for 1 s; again\n" in outcome.out
    assert sorted(hub.downloads()) == sorted([*folder_files(DEMO), VAE])
    assert leftovers(place) == []


def test_a_download_that_stalls_for_good_says_what_is_missing(near, hub, manifest, place, monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    hub.repos[REPO] = Repo(folder_files(DEMO), faults={VAE: ["stall"] * 99})
    path = manifest(KNOWN)
    outcome = near("fetch", path, "--stall-timeout", "0.5s")
    assert outcome.code == 1
    assert "1 of 10 files are missing after 4 attempts (the last one stalled for 0.5 s)" in outcome.err
    assert "without Xet" not in outcome.out
    hub.repos[REPO].faults.clear()
    again = near("fetch", path)
    assert "downloading 1 of 10 files" in again.out
    assert hub.downloads() == [VAE]


@pytest.mark.parametrize("command", ["fetch", "run"])
def test_ctrl_c_ends_the_download_too(place, hub, manifest, command):
    hub.repos[REPO] = Repo(folder_files(DEMO), faults={VAE: ["stall"] * 9})
    command = [*RUN_BATCH, command, str(manifest(KNOWN))]
    # What is started in the background ignores Ctrl-C, and what it starts inherits that.
    heeding = None if os.name == "nt" else lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeding,  # noqa: PLW1509
    )
    deadline = time.monotonic() + 60
    while not leftovers(place) and time.monotonic() < deadline:
        time.sleep(0.05)
    if os.name == "nt":
        process.kill()
        pytest.skip("no Ctrl-C for another process here")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "stopped: interrupted while a model was downloaded. Nothing is lost" in said
    assert "run the same command again to go on" in said
    assert leftovers(place) == []
    assert not list(place.rglob("contact_sheet*"))


@pytest.mark.parametrize("fast", [True, False])
def test_attempts_are_counted_while_no_file_gets_finished(work, monkeypatch, fast):
    monkeypatch.setenv("HF_HUB_CACHE", str(work / "hub"))
    monkeypatch.setattr(fetch, "PAUSES_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(fetch, "_xet_is_on", lambda: fast)
    item = RepoFiles(name="b", repo="a/b", commit=COMMIT, files={f"{n}.json": 1 for n in range(9)})
    finished, ways = iter([2, 1, 1, 0, 1, 0, 0, 0]), []

    def attempt(request, *, xet, **_):
        ways.append(xet)
        item.folder.mkdir(parents=True, exist_ok=True)
        for name in request["files"][: next(finished)]:
            (item.folder / name).write_text("x")
        return "stalled"

    monkeypatch.setattr(fetch.watch, "attempt", attempt)
    with pytest.raises(DownloadError, match="4 of 9 files are missing after 8 attempts"):
        fetch.fetch([item], FetchOptions(listener=Told()))
    # Each attempt that finishes a file is the first of four again; two of them may use Xet.
    assert ways == ([True] * 4 + [False] * 4 if fast else [False] * 8)
