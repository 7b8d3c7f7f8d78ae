"""Files in images/ that no receipt names: copies and exports are let be, orphans are named."""

import os
import shutil

import pytest
from PIL import Image

from tests.conftest import SMALL
from tests.edits import optimise
from tests.helpers import hashes
from tests.upkeep.run_files import image, names, stray


def _export(name):
    """Save a smaller picture without texts under a name made of that of the picture."""

    def make(path):
        target = path.parent / name.format(path.stem)
        target.parent.mkdir(exist_ok=True)
        with Image.open(path) as picture:
            picture.resize((96, 64)).save(target)

    return make


def _stripped(path):
    shutil.copy(path, path.with_name("favourite.png"))
    optimise(path.with_name("favourite.png"))


COPIES = {
    "copied": lambda path: shutil.copy(path, path.with_name("one.png")),
    "copied and stripped": _stripped,
    "converted beside it": _export("{}.jpg"),
    "exported": _export("web/{}.webp"),
    "exported with a word": _export("web/{}-small.JPG"),
    "exported with a number": _export("{} (1).jpg"),
}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_and_exports_of_a_picture_are_left_alone(cli, run, kind):
    (run / "images" / "best").mkdir()
    COPIES[kind](image(run))
    before = hashes(run), names(run / "images")
    verified = cli("verify", run)
    assert (verified.code, "copy 1" in verified.out) == (0, True), verified.out
    assert f": of {image(run).relative_to(run).as_posix()}" in verified.out
    assert "orphaned" not in cli("status", run).out
    assert "nothing to prune" in cli("prune", run).out
    assert "0 images rendered" in cli("run", "job.yaml", "--out", run).out
    assert (hashes(run), names(run / "images")) == before


def test_copies_of_what_is_extra_go_with_it(cli, run, manifest):
    _export("{}.jpg")(image(run, "a-whale-0"))
    path = manifest(SMALL.replace("[a fox, a whale]", "a fox"))
    assert cli("run", path, "--out", run, "--quiet").code == 0
    verified = cli("verify", run)
    assert (verified.code, "extra 3" in verified.out) == (0, True), verified.out
    assert cli("prune", run, "--json").json()["images"] == 3
    assert cli("verify", run).code == 0


def test_orphans_are_named_with_what_to_do(cli, run):
    stray(run)
    _export("{}.jpg")(image(run))
    export = image(run).with_suffix(".jpg")
    os.truncate(export, 500)
    said = cli("status", run)
    assert "orphaned 2" in said.out
    assert "images/stray.png" in said.out
    assert "or move them out of images/ to keep them" in said.out
    orphans = cli("status", run, "--json").json()["orphaned"]
    assert sorted(orphans) == sorted(["images/stray.png", export.relative_to(run).as_posix()])
    verified = cli("verify", run)
    assert (verified.code, "it is no whole picture" in verified.out) == (1, True)
    assert "or move them out of images/ to keep them" in verified.out
    for path in (export, run / "images" / "stray.png"):
        path.rename(run / path.name)
    assert cli("verify", run).code == 0


def test_an_image_that_is_being_saved_is_no_orphan_of_status(cli, run, manifest):
    from batch.store import lock

    (path,) = (item for item in (run / ".run" / "receipts").rglob("*.json") if "a-fox-0" in item.read_text())
    path.unlink()
    with lock.hold(run / ".run"):
        assert cli("status", run, "--json").json()["orphaned"] == []
    assert len(cli("status", run, "--json").json()["orphaned"]) == 1


def test_files_that_are_not_looked_at_are_counted(cli, run):
    path = image(run)
    (run / "images" / "notes.txt").write_text("no image's name")
    assert "not looked at" not in cli("verify", run).out
    path.rename(path.with_name(f".{path.name}"))
    path.with_name(f"{path.name}.bak").write_bytes(b"x")
    verified = cli("verify", run)
    assert "2 files with the name of an image not looked at" in verified.out
    assert "MISSING" in verified.out
    assert len(cli("verify", run, "--json").json()["not_looked_at"]) == 2


def test_findings_come_in_the_order_of_the_manifest(cli, run):
    for path in (run / "images").iterdir():
        path.unlink()
    verified = cli("verify", run, "--json").json()
    found = [item["path"].removeprefix("images/")[:9] for item in verified["findings"]]
    assert [name.rstrip("-") for name in found] == ["a-fox-0-5", "a-whale-0", "a-fox-1-5", "a-whale-1"]
