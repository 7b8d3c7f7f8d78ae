"""prune: what no task needs any more goes to the trash, and comes back."""

import json
import sys
from pathlib import Path

import pytest

from batch.store import inside, lock
from tests.conftest import SMALL
from tests.upkeep.run_files import names, receipt, stray


@pytest.fixture
def smaller(cli, run, manifest):
    """The run after its manifest lost a prompt, with a stray image."""
    path = manifest(SMALL.replace("[a fox, a whale]", "a fox"))
    assert cli("run", path, "--out", run, "--quiet").code == 0
    stray(run)
    return run


def test_pruned_and_put_back(cli, smaller):
    before = names(smaller)
    dry = cli("prune", smaller, "--dry-run")
    assert (dry.code, names(smaller) - {".run/looks.json"}) == (0, before)
    assert "would move 3 images, 9 files in all" in dry.out
    assert "images/stray.png" in dry.out
    pruned = cli("prune", smaller, "--json").json()
    trash = Path(pruned["trash"])
    moved = {item["path"] for item in pruned["files"]}
    assert trash.parent == smaller / "trash"
    assert names(trash) == moved
    assert (pruned["images"], pruned["bytes"]) == (
        3,
        sum(path.stat().st_size for path in trash.rglob("*") if path.is_file()),
    )
    assert {item["path"]: item["why"] for item in pruned["files"]}["images/stray.png"] == "orphaned"
    now = names(smaller) - {".run/looks.json"}
    assert {path for path in now if not path.startswith("trash/")} == before - moved
    # Nothing else sees the trash, and there is nothing left to do.
    assert cli("status", smaller, "--json").json()["extra"] == 0
    assert cli("verify", smaller).code == 0
    assert "nothing to prune" in cli("prune", smaller).out
    assert "0 images rendered" in cli("run", "job.yaml", "--out", smaller, "--quiet").out
    assert cli("prune", smaller, "--restore", trash.name).code == 0
    assert names(smaller) - {".run/looks.json"} == before
    whole = SMALL.replace("grid:", "name: job\ngrid:")
    Path("whole.yaml").write_text(whole)
    assert "0 images rendered" in cli("run", "whole.yaml", "--out", smaller, "--quiet").out


def test_what_prune_says_puts_things_back(cli, smaller):
    outcome = cli("prune", smaller)
    assert "moved 3 images" in outcome.out
    command = outcome.out.split("put back with: run-batch ")[1].split()
    assert "put back 9 files" in cli(*command).out


def test_restore_never_writes_over_a_file(cli, smaller):
    trash = Path(cli("prune", smaller, "--json").json()["trash"])
    moved = names(trash)
    back = cli("prune", smaller, "--restore", trash.name, "--dry-run")
    assert (back.code, names(trash)) == (0, moved)
    assert all(f"  {path}\n" in back.out for path in moved)
    stray(smaller)
    other = next(path for path in moved if path.startswith("thumbs/"))
    (smaller / other).write_bytes(b"mine")
    for options in ([], ["--dry-run"]):
        outcome = cli("prune", smaller, "--restore", trash.name, *options)
        assert (outcome.code, names(trash)) == (2, moved)
        assert all(f"  {path}\n" in outcome.err for path in ("images/stray.png", other))
    assert "possible are" in cli("prune", smaller, "--restore", "yesterday").err
    assert cli("prune", smaller, "--restore", "../images").code == 2


def test_an_interrupted_prune_leaves_no_receipt_without_image(cli, smaller):
    from batch.base import atomic

    moves = []
    whole = atomic.move

    def breaks(source, target):
        if len(moves) == 2:
            raise OSError("the disk went away")
        moves.append(source)
        whole(source, target)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(atomic, "move", breaks)
        assert cli("prune", smaller).code == 1
    for path in (smaller / ".run" / "receipts").rglob("*.json"):
        assert (smaller / json.loads(path.read_text())["file"]["path"]).is_file()
    assert cli("prune", smaller).code == 0
    assert cli("verify", smaller).code == 0


def test_prune_needs_the_lock_and_the_list_of_tasks(cli, smaller):
    with lock.hold(smaller / ".run"):
        assert cli("prune", smaller).code == 3
        assert cli("prune", smaller, "--dry-run").code == 0
    (smaller / ".run" / "tasks.jsonl").unlink()
    outcome = cli("prune", smaller)
    assert (outcome.code, "run the manifest again first" in outcome.err) == (2, True)
    assert cli("verify", smaller).code == 1


def test_a_damaged_receipt_of_a_planned_image_is_not_pruned(cli, run):
    receipt(run).write_bytes(b"{")
    assert "nothing to prune" in cli("prune", run).out
    assert "1 image rendered" in cli("run", "job.yaml", "--out", run, "--quiet").out
    assert cli("verify", run).code == 0


@pytest.mark.parametrize("name", ["..", "../trash", ".", "a/..", "", "/etc"])
def test_a_trash_of_another_name_is_none(cli, run, name):
    (run / "trash" / "a" / "images").mkdir(parents=True)
    before = names(run)
    outcome = cli("prune", run, "--restore", name)
    assert (outcome.code, "has no trash named" in outcome.err, names(run)) == (2, True, before)


def test_only_what_is_moved_to_the_trash_comes_back(cli, run, work):
    """Somebody's folder link beside images/, and a trash that names it."""
    (work / "elsewhere").mkdir()
    (run / "mine").symlink_to(work / "elsewhere")
    trash = run / "trash" / "2026-01-01T000000Z"
    for place in ("mine/evil", ".run/plan.json", "results.csv", "images/back.png"):
        (trash / place).parent.mkdir(parents=True, exist_ok=True)
        (trash / place).write_text("x")
    plan = (run / ".run" / "plan.json").read_bytes()
    assert cli("prune", run, "--restore", trash.name).code == 0
    assert list((work / "elsewhere").iterdir()) == []
    assert (run / "images" / "back.png").is_file()
    assert (run / ".run" / "plan.json").read_bytes() == plan
    assert (trash / "mine" / "evil").is_file()


@pytest.fixture
def trash(run):
    """A trash that somebody else has made."""
    folder = run / "trash" / "2026-01-01T000000Z"

    def put(*places):
        for place in places:
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_bytes(b"of somebody else")
        return folder.name

    return put


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
@pytest.mark.parametrize(
    "place", ["thumbs/x", "latents/x", ".run/receipts/x", ".run/receipts/ab/x", ".run/failures/x"]
)
def test_links_below_what_a_run_keeps_are_refused(cli, run, work, trash, place):
    (work / "elsewhere").mkdir()
    (run / place).parent.mkdir(exist_ok=True)
    (run / place).symlink_to(work / "elsewhere", target_is_directory=True)
    name = trash(f"{place}/a.webp", f"{place}/a.safetensors", f"{place}/a.json")
    for command in (["status", run], ["verify", run], ["report", run], ["prune", run, "--restore", name]):
        outcome = cli(*command)
        assert (outcome.code, f"{place} is a link" in outcome.err) == (3, True), outcome.err
    assert list((work / "elsewhere").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_nothing_comes_back_through_a_link(cli, run, work, trash, monkeypatch):
    """One that was made after the look at the folder, and before the first file is moved."""
    (work / "elsewhere").mkdir()
    name = trash("images/a.png", "latents/b.safetensors")
    (run / "latents").rename(run / "before")
    monkeypatch.setattr(inside, "check", lambda _root: None)
    (run / "latents").symlink_to(work / "elsewhere", target_is_directory=True)
    outcome = cli("prune", run, "--restore", name)
    assert (outcome.code, "leads out of" in outcome.err) == (3, True), outcome.err
    assert list((work / "elsewhere").iterdir()) == []
    assert not (run / "images" / "a.png").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_that_leads_nowhere_is_not_replaced(cli, run, trash):
    (run / "thumbs" / "x.webp").symlink_to("nothing")
    before = names(run)
    name = trash("thumbs/x.webp", "images/back.png")
    outcome = cli("prune", run, "--restore", name)
    assert (outcome.code, "thumbs/x.webp is" in outcome.err) in ((2, True), (3, True)), outcome.err
    assert before <= names(run)
    assert not (run / "images" / "back.png").exists()


def test_what_cannot_come_back_is_told_before_the_first_move(cli, run, trash):
    (run / "images" / "z").write_bytes(b"a file where a folder was")
    name = trash("images/a.png", "images/z/b.png")
    outcome = cli("prune", run, "--restore", name)
    assert (outcome.code, "  images/z\n" in outcome.err) == (2, True), outcome.err
    assert not (run / "images" / "a.png").exists()


def test_files_of_other_kinds_do_not_come_back(cli, run, trash):
    places = ["thumbs/x.py", "thumbs/in/x.webp", "latents/x.json", ".run/receipts/x.exe", "images/x.sh"]
    name = trash(*places, "thumbs/y.webp", "latents/y.safetensors", ".run/receipts/ab/y.json", "images/in/y.png")
    restored = cli("prune", run, "--restore", name, "--json").json()["restored"]
    assert sorted(restored) == [
        ".run/receipts/ab/y.json", "images/in/y.png", "latents/y.safetensors", "thumbs/y.webp"
    ]  # fmt: skip
    assert not any((run / place).exists() for place in places)
