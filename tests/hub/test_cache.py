"""Where models lie, and what of them may be removed."""

from pathlib import Path

import pytest
from filelock import FileLock

from batch.hub import cache
from batch.hub.cache import cache_folder, decided_by, hub_cache, used
from tests.conftest import DEMO
from tests.hub.user import KNOWN, REPO, VAE, apart, snapshot
from tests.small_hub import COMMIT, Repo, folder_files


def test_remains_are_removed_unless_a_download_lives(work, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(work / "hub"))
    blobs = cache_folder("a/b") / "blobs"
    blobs.mkdir(parents=True)
    part, whole = blobs / "abc.01234567.incomplete", blobs / "abc"
    part.write_bytes(b"12345")
    whole.write_bytes(b"1234567890")
    lock = work / "hub" / ".locks" / blobs.parent.name / "abc.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        assert cache.sweep("a/b") == 0
        assert part.exists()
    assert cache.sweep("a/b") == 5
    assert list(blobs.iterdir()) == [whole]


def test_a_snapshot_that_nobody_listed_is_used_as_it_is(near, hub, manifest, place):
    """As an older client, or a copy from another machine, leaves it."""
    twice = {name.replace(".safetensors", ".bf16.safetensors"): data for name, data in folder_files(DEMO).items()}
    hub.repos[REPO] = Repo({**folder_files(DEMO), **twice})
    here = snapshot()
    for name, data in folder_files(DEMO).items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(data)
    reference = here.parent.parent / "refs" / "main"
    reference.parent.mkdir()
    reference.write_text(COMMIT)
    path = manifest(KNOWN)
    run = near("run", path, "--out", "run")
    assert (run.code, hub.requests) == (0, []), run.err
    assert near("fetch", path).code == 0  # asks which files there are, and has them in another precision
    assert hub.downloads() == []
    (here / VAE).unlink()
    assert near("fetch", path).code == 0
    assert VAE.replace(".safetensors", ".bf16.safetensors") in hub.downloads()


def test_the_cache_folder_and_what_decides_it(monkeypatch, work):
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(work))
    monkeypatch.setenv("USERPROFILE", str(work))
    assert (hub_cache(), decided_by()) == (work / ".cache" / "huggingface" / "hub", "")
    monkeypatch.setenv("LARGE", str(work / "large"))
    monkeypatch.setenv("HF_HOME", "~/hf")
    assert (hub_cache(), decided_by()) == (work / "hf" / "hub", "HF_HOME")
    monkeypatch.setenv("HF_HUB_CACHE", "$LARGE/models")
    assert (hub_cache(), decided_by()) == (work / "large" / "models", "HF_HUB_CACHE")
    with used(Path("here")):
        assert (hub_cache(), decided_by()) == (work / "here", "--cache-dir")
    assert decided_by() == "HF_HUB_CACHE"


@pytest.mark.parametrize("named", ["", " "])
def test_places_that_are_named_by_nothing(near, hub, manifest, work, monkeypatch, named):
    hub.repos[REPO] = Repo(folder_files(DEMO))
    path = manifest(KNOWN)
    for command in ("plan", "fetch", "run"):
        outcome = near(command, path, "--cache-dir", named)
        assert outcome.code == 2
        assert "'--cache-dir': it is empty; name a folder" in outcome.err
    # An empty variable is none, for the client of the Hub too, to which it is the current folder.
    for name in ("HF_HOME", "HUGGINGFACE_HUB_CACHE", "HF_XET_CACHE", "RUN_BATCH_CACHE", "RUN_BATCH_MODELS"):
        monkeypatch.setenv(name, named)
    before = set(work.iterdir())
    done = apart("fetch", path, HOME=str(work / "hub"), USERPROFILE=str(work / "hub"))
    assert done.returncode == 0, done.stderr
    assert set(work.iterdir()) - before == {work / "hub"}
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(work))
    monkeypatch.setenv("USERPROFILE", str(work))
    assert (hub_cache(), decided_by()) == (work / ".cache" / "huggingface" / "hub", "")


def test_a_cache_that_cannot_be_written(near, hub, manifest, small_disk):
    small, mounted = small_disk
    assert mounted("ro")
    hub.repos[REPO] = Repo(folder_files(DEMO))
    outcome = apart("fetch", manifest(KNOWN), "--cache-dir", small)
    assert outcome.returncode == 2
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(f"error: the folder for models, {small}, cannot be written: Read-only file system.")
    assert "--cache-dir" in line
