"""A disk that is really full loses nothing."""

import errno
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from batch.base import atomic, disk
from batch.run.limits import Gate
from batch.store.folder import RunFolder
from tests.conftest import SMALL
from tests.helpers import GIB, images

TWELVE = SMALL.replace("0..1", "0..5") + "run: {min_free_disk: 0}\n"


@pytest.mark.parametrize("others_write", [False, True])
def test_a_full_disk_loses_nothing(cli, manifest, small_disk, monkeypatch, others_write):
    place, resize = small_disk
    if others_write:  # the room that was free a moment ago is gone when the image is saved
        monkeypatch.setattr(
            Gate.__init__, "__kwdefaults__", Gate.__init__.__kwdefaults__ | {"free": lambda _: GIB}
        )
    run = place / "run"
    outcome = cli("run", manifest(TWELVE), "--out", run)
    assert outcome.code == 75, outcome.err
    assert ("is full: " in outcome.err) == others_write
    assert f"{run}" in outcome.err
    assert "make room for about" in outcome.err
    assert "run the same command again to go on" in outcome.err
    assert not list(place.rglob(f"*{atomic.TEMP_SUFFIX}"))
    folder = RunFolder(run)
    receipts = folder.scan().receipts
    assert 3 < len(receipts) < 12
    assert set(folder.inspect().receipts) == set(receipts)
    assert {path.name for path in images(run)} == {Path(item.file.path).name for item in receipts.values()}
    assert f"{len(receipts)} images rendered" in outcome.out
    assert folder.failures() == {}
    states = Counter(item["state"] for item in cli("verify", run, "--json").json()["findings"])
    assert states == {"missing": 12 - len(receipts)}
    again = cli("run", manifest(TWELVE), "--out", run, "--quiet")  # still full
    assert again.code == 75, again.err
    assert len(folder.scan().receipts) >= len(receipts)
    assert folder.failures() == {}
    assert resize("size=200m")
    last = cli("run", manifest(TWELVE), "--out", run, "--quiet")
    assert last.code == 0, last.err
    assert cli("verify", run).code == 0
    assert (run / "results.csv").is_file()


def test_an_image_whose_receipt_finds_no_room_leaves_nothing(cli, manifest, monkeypatch, work):
    def full(path: Path, data: bytes, runner: str = "any", **how: bool) -> None:
        if path.parent.parent.name == "receipts" and len(list(work.rglob("receipts/*/*.json"))) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, data, runner, **how)

    real = atomic.write
    monkeypatch.setattr(atomic, "write", full)
    outcome = cli("run", manifest(), "--out", "run", "--keep-latents", "--engine", "local")
    assert (outcome.code, "1 image rendered" in outcome.out) == (75, True), outcome.err
    assert [len(list((work / "run" / name).iterdir())) for name in ("images", "thumbs", "latents")] == [1, 1, 1]
    monkeypatch.undo()
    states = Counter(item["state"] for item in cli("verify", work / "run", "--json").json()["findings"])
    assert states == {"missing": 3}


def test_a_report_without_room_says_which_disk(cli, manifest, small_disk):
    place, _ = small_disk
    run = place / "run"
    assert cli("run", manifest(f"{SMALL}run: {{min_free_disk: 0}}\n"), "--out", run, "--quiet").code == 0
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    (run / "results.csv").unlink()  # what is to be written anew needs a little room
    with suppress(OSError), (place / "fill").open("wb", buffering=0) as fill:
        while True:
            fill.write(bytes(4096))
    outcome = cli("report", run)
    assert (outcome.code, outcome.out) == (75, "")
    assert f"the disk of {run} is full (No space left on device). Make room and run the same" in outcome.err
    (place / "fill").unlink()
    assert cli("report", run).code == 0
    assert {path.name for path in run.iterdir() if path.is_file()} == set(before)
    assert (run / "results.csv").read_bytes() == before["results.csv"]


def test_a_report_without_room_ends_no_run(cli, manifest, monkeypatch, work):
    def full(path: Path, data: bytes, runner: str = "any", **how: bool) -> None:
        if path.parent.name == "run" and path.suffix != ".yaml":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, data, runner, **how)

    real = atomic.write
    monkeypatch.setattr(atomic, "write", full)
    outcome = cli("run", manifest(), "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "warning: the report could not be written (No space left on device)" in outcome.err
    assert "4 images rendered" in outcome.out
    assert not (work / "run" / "results.csv").exists()
    monkeypatch.undo()
    assert cli("report", work / "run").code == 0
    assert (work / "run" / "results.csv").is_file()


def test_a_folder_that_cannot_even_be_begun(cli, manifest, small_disk):
    place, resize = small_disk
    with (place / "filler").open("wb", buffering=0) as file, pytest.raises(OSError, match="space") as error:
        while True:
            file.write(bytes(4096))
    assert disk.is_full(error.value)
    outcome = cli("run", manifest(TWELVE), "--out", place / "run")
    assert outcome.code == 75
    assert "is full (No space left on device). Make room" in outcome.err
    assert not list(place.rglob(f"*{atomic.TEMP_SUFFIX}"))
    assert resize("size=200m")
    assert cli("run", manifest(TWELVE), "--out", place / "run", "--max-images", "1").code == 75
