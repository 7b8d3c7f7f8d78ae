"""Files that are cut off, damaged or swapped are found and fetched again."""

from pathlib import Path

from batch.hub import remote
from tests.conftest import DEMO
from tests.hub.user import KNOWN, REPO, VAE, offline, other_weights, snapshot
from tests.small_hub import Repo, folder_files


def test_a_file_that_is_cut_off_is_fetched_again(near, hub, manifest, place):
    hub.repos[REPO] = Repo(folder_files(DEMO))
    path = manifest(KNOWN)
    assert near("fetch", path).code == 0
    for name, command in ((VAE, ["fetch", path]), ("model_index.json", ["run", path, "--out", "run"])):
        (snapshot() / name).resolve().write_bytes(b"")
        outcome = near(*command)
        assert outcome.code == 0, outcome.err
        assert f"{name} is damaged, it has 0 bytes instead of" in outcome.out + outcome.err
        assert hub.downloads() == [name]


def test_a_file_that_is_damaged_in_its_full_length(near, hub, manifest, place):
    hub.repos[REPO] = Repo(folder_files(DEMO))
    path = manifest(KNOWN)
    assert near("fetch", path).code == 0
    blob = (snapshot() / VAE).resolve()
    whole = blob.read_bytes()
    blob.write_bytes(b"\xff" * 8 + whole[8:])
    failed = near("run", path, "--out", "run")
    assert failed.code == 1
    assert "`fetch --check` finds it" in failed.err
    assert failed.err.count(VAE) == 1
    assert "nothing to download" in near("fetch", path).out
    checked = near("fetch", path, "--check")
    assert f"{VAE} is damaged: removed, to be downloaded again" in checked.out
    assert hub.downloads() == [VAE]
    assert (snapshot() / VAE).read_bytes() == whole
    assert near("run", path, "--out", "run").code == 0


def test_weights_that_were_swapped_are_found(near, hub, manifest, place):
    whole = folder_files(DEMO)[VAE]
    hub.repos[REPO] = Repo(folder_files(DEMO))
    path = manifest(KNOWN)
    assert near("run", path, "--out", "run").code == 0
    (snapshot() / VAE).write_bytes(other_weights(whole))
    again = near("verify", "run", "--reproduce", "1")
    assert again.code == 1
    assert "DIFFERENT" in again.out
    assert "fetch MANIFEST --out RUN --check compares their content with the Hub's" in again.out
    assert "nothing to download" in near("fetch", path, "--out", "run").out
    checked = near("fetch", path, "--out", "run", "--check")
    assert f"{VAE} is damaged: removed, to be downloaded again" in checked.out
    assert (snapshot() / VAE).read_bytes() == whole


def test_weights_that_are_no_links_are_checked_too(near, hub, manifest, place, monkeypatch):
    """As on a disk without links, or where a file was moved there."""
    whole = folder_files(DEMO)[VAE]
    hub.repos[REPO] = Repo(folder_files(DEMO))
    path = manifest(KNOWN)
    assert near("fetch", path).code == 0
    (snapshot() / VAE).unlink()
    (snapshot() / VAE).write_bytes(other_weights(whole))
    offline(monkeypatch)
    remote._asked.cache_clear()
    unchecked = near("fetch", path, "--check")
    assert unchecked.code == 2
    assert "lie here without their hashes, so they cannot be checked: HF_HUB_OFFLINE" in unchecked.err
    offline(monkeypatch, on=False)
    checked = near("fetch", path, "--check")
    assert f"{VAE} is damaged: removed, to be downloaded again" in checked.out
    assert (snapshot() / VAE).read_bytes() == whole
    assert near("fetch", path, "--check").code == 0


def test_offline_nothing_is_removed(near, hub, manifest, place, monkeypatch):
    hub.repos[REPO] = Repo(folder_files(DEMO))
    path = manifest(KNOWN)
    assert near("fetch", path).code == 0
    offline(monkeypatch)
    assert near("fetch", path, "--check").code == 0
    blob = (snapshot() / VAE).resolve()
    for damage, arguments, words in (
        (b"\xff" + blob.read_bytes()[1:], ["fetch", path, "--check"], ""),
        (b"cut off", ["fetch", path], " has 7 of 83,780 bytes"),
        (b"cut off", ["run", path, "--out", "run"], " has 7 of 83,780 bytes"),
    ):
        blob.write_bytes(damage)
        outcome = near(*arguments)
        assert outcome.code == 2
        assert f"is damaged ({VAE}{words}), and HF_HUB_OFFLINE forbids downloading it again" in outcome.err
        assert blob.read_bytes() == damage
    assert not Path("run/contact_sheet.jpg").exists()
    offline(monkeypatch, on=False)
    assert near("fetch", path, "--check").code == 0
    assert hub.downloads() == [VAE]


def test_files_of_one_content_are_mended_together(near, hub, manifest, place):
    twins = ["tokenizer/special.json", "scheduler/special.json"]
    hub.repos[REPO] = Repo({**folder_files(DEMO), **dict.fromkeys(twins, b'{"one": "blob"}')})
    path = manifest(KNOWN)
    assert near("fetch", path).code == 0
    (snapshot() / twins[0]).resolve().write_bytes(b"{")
    outcome = near("fetch", path)
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("is damaged") == 2
    assert [(snapshot() / name).read_bytes() for name in twins] == [b'{"one": "blob"}'] * 2
