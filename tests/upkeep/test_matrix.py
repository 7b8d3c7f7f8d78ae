"""Whatever lies in a run folder, whichever command meets it: words, no picture lost, and nothing outside touched.

A sample by itself; ``RUN_BATCH_MATRIX=all`` tries every command on everything (``make torture``).
"""

import hashlib
import os
import random
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from batch.base import errors
from batch.run import options
from batch.store import workers
from batch.store.images.looks import Looks
from batch.upkeep import redecode
from tests.fake_session import FakeBackend, Fault
from tests.helpers import Seen, fake_run
from tests.upkeep import damages
from tests.upkeep.damages import CANARY, JOB, LED_OUT, OTHERS, REFUSED, UNREADABLE, WRONG_KIND

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes")

COMMANDS = {
    "run": ("run", "job.yaml", "--out", "run", "--quiet"),
    "plan": ("plan", "job.yaml", "--out", "run"),
    "status": ("status", "run"),
    "report": ("report", "run"),
    "verify": ("verify", "run"),
    "compare": ("compare", "run", "--out", "compared"),
    "dry prune": ("prune", "run", "--dry-run"),
    "prune": ("prune", "run"),
    "restore": ("prune", "run", "--restore", "{trash}"),
    "redecode": ("redecode", "run", "--memory", "vae_tiling(256, 192)", "--out", "again", "--quiet"),
    "manifest from": ("manifest", "from", "run"),
    "fetch": ("fetch", "job.yaml", "--out", "run"),
}
CODES = {
    errors.EXIT_OK, errors.EXIT_FAILED, errors.EXIT_USER, errors.EXIT_FOLDER, errors.EXIT_RESUMABLE
}  # fmt: skip
LIMIT_S = 10
ALL = os.environ.get("RUN_BATCH_MATRIX") == "all"


class TooLong(BaseException):
    """A command that would wait for ever."""


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    """A run with something done, extra, failed, missing, orphaned and in the trash."""
    place = tmp_path_factory.mktemp("full")
    path, run = place / "job.yaml", place / "run"
    for seeds in ("0..1", "1..2"):
        path.write_text(JOB % seeds)
        fake_run(path, Fault("error", seed=2, prompt="a whale"), seen=Seen(), out=run, engine="local")
    (run / "trash" / "2026-01-01T000000Z" / "images").mkdir(parents=True)
    Image.new("RGB", (8, 8), "blue").save(run / "trash" / "2026-01-01T000000Z" / "images" / "thrown-away.webp")
    Image.new("RGB", (8, 8), "green").save(run / "images" / "stray.webp")
    path.write_text(JOB % "1..3")
    for name in ("events-1.jsonl", "worker.log", "stacks.txt"):
        (run / ".run" / name).write_text("")
    workers.note(run / ".run", os.getpid(), os.getppid())
    looks = Looks(run, run / ".run", "any")
    assert looks.at("images/stray.webp")
    looks.keep()
    return place


@pytest.fixture
def stand_in(monkeypatch):
    made = partial(options.Options, backend=FakeBackend())
    monkeypatch.setattr(options, "Options", made)
    monkeypatch.setattr(redecode, "Options", made)

    def too_long(*_):
        raise TooLong

    before = signal.signal(signal.SIGALRM, too_long)
    yield
    signal.signal(signal.SIGALRM, before)


def whole(run: Path) -> dict[str, str]:
    """The pictures of a run wherever they lie in it, by their bytes; links are not looked at."""
    found = (path for top in ("images", "trash") for path in (run / top).rglob("*.webp"))
    return {_hash(path): str(path) for path in found if path.is_file() and not path.is_symlink()}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def state_of(outside: Path) -> dict:
    """Listing, times and content of all that lies outside."""
    return {
        str(path.relative_to(outside)): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in (outside, *outside.rglob("*"))
    }


def canaries(place: Path) -> list[str]:
    """Files that hold the text of the one outside, links left out."""
    files = (path for name in ("run", "again", "compared") for path in (place / name).rglob("*"))
    return [
        str(path) for path in files
        if path.is_file() and not path.is_symlink() and CANARY.encode() in path.read_bytes()
    ]  # fmt: skip


def faults(cli, place: Path, target: str, damage: str, command: str, draw: random.Random) -> list[str]:
    """What goes wrong with one command on one damage."""
    run, outside = place / "run", damages.elsewhere(place)
    path = damages.targets(run)[target]
    trash = next((run / "trash").iterdir()).name
    pictures = whole(run)
    damages.damages(path)[damage](path, outside, draw)
    pictures, before = {key: path for key, path in pictures.items() if key in whole(run)}, state_of(outside)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        outcome = cli(*(word.replace("{trash}", trash) for word in COMMANDS[command]))
    except TooLong:
        return [f"it takes longer than {LIMIT_S} s"]
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a traceback
        return [f"{type(error).__name__}: {str(error)[:200]}"]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    said = outcome.out + outcome.err
    found = []
    if outcome.code not in CODES or "Traceback" in said or "[Errno" in outcome.err:
        found.append(f"exit code {outcome.code}: {outcome.err[-300:]}")
    refused = target in REFUSED and damage in LED_OUT | WRONG_KIND
    refused |= target == "format.json" and damage in UNREADABLE  # whose the folder is cannot be told
    if refused and (outcome.code, path.name in said or damage == "future") != (3, True):
        found.append(f"it is not refused, exit code {outcome.code}: {said[-300:]}")
    if state_of(outside) != before:
        changed = {name for name, value in state_of(outside).items() if before.get(name) != value}
        found.append(f"changed outside: {changed or 'something is gone'}")
    if gone := pictures.keys() - whole(run).keys():
        found.append(f"lost: {[pictures[key] for key in gone]}")
    if CANARY in said or canaries(place):
        found.append(f"read outside: {canaries(place) or 'said'}")
    return found


def chosen(target: str, names: list[str]) -> list[tuple[str, str]]:
    """Damages with commands: all of them, or each damage with some of the commands, in turn."""
    if ALL:
        return [(damage, command) for damage in names for command in COMMANDS]
    draw = random.Random(target)
    commands = list(COMMANDS)
    return [(damage, commands[(index + shift) % len(commands)])
            for shift in [draw.randrange(len(commands))] for index, damage in enumerate(names)]  # fmt: skip


@pytest.mark.parametrize("target", (*REFUSED, *OTHERS))
def test_whatever_lies_in_a_run_folder(cli, full, work, stand_in, monkeypatch, target):
    found = {}
    names = list(damages.damages(damages.targets(full / "run")[target]))
    for index, (damage, command) in enumerate(chosen(target, names)):
        place = work / str(index)
        shutil.copytree(full, place)
        monkeypatch.chdir(place)
        if wrong := faults(cli, place, target, damage, command, random.Random(f"{target} {damage}")):
            found[f"{command} on {damage} {target}"] = wrong
        monkeypatch.chdir(work)
        shutil.rmtree(place)
    assert found == {}
