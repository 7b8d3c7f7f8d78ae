"""Kills a run with SIGKILL, the whole process tree, at random times, and looks at what is left in the end.

    python benchmarks/torture.py                 200 kills: a quarter of an hour
    python benchmarks/torture.py --kills 10

The runs are the program's own, with its supervised worker; the worker draws its pictures instead of rendering
them (``tests.fake_session``), so that most of the time is spent where it hurts: between the first byte of an
image and its receipt. Between the kills, and while runs go on, somebody edits, renames, moves, tears and deletes
finished pictures. Prints one line and exits with 1 when anything is lost, torn, doubled or different.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests import edits

# `demo` is that of the tests, next to nothing: what is measured is the program around it.
os.environ.setdefault("RUN_BATCH_SHIPPED", str(Path(__file__).parent.parent / "tests" / "models"))

JOB = """\
name: torture
grid: {{model: demo, prompt: [a fox, a whale], seed: 0..{last}, steps: 3, size: 512x512}}
run: {{min_free_disk: 1MB, retries: 100}}
"""


@dataclass(frozen=True)
class Figures:
    """What came of it."""

    kills: int
    tasks: int
    commits_when_killed: int
    touched: int
    torn: int
    seconds: float
    problems: tuple[str, ...]

    def __str__(self) -> str:
        end = "; ".join(self.problems) or (
            "one verified file per task, touched ones as they were left, the others' bytes as undisturbed, "
            "torn ones in the trash, no temp file, no receipt without its image"
        )
        return (
            f"{self.kills} kills, {self.tasks} tasks, {self.commits_when_killed} of them committed in killed "
            f"runs, {self.touched} pictures touched and {self.torn} torn or deleted, {self.seconds:.0f} s: {end}"
        )


class User:
    """Somebody who sorts and edits finished pictures, and a disk that spoils some."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self._folder, self._rng = folder, rng
        self.kept: dict[str, tuple[Path, str, int]] = {}
        """By task: where its picture was left, its hash, and when its receipt was written."""
        self.torn: list[str] = []
        """Hashes of what was left of torn pictures."""
        self._spoiled: dict[str, int] = {}
        self.deleted = 0

    def act(self) -> None:
        """Do something to a finished picture, if there is one left alone so far."""
        receipts = {path.stem: path for path in _receipts(self._folder) if path.stem not in self.kept}
        free = [key for key, path in receipts.items() if self._spoiled.get(key) != path.stat().st_mtime_ns]
        if not free:
            return
        key = self._rng.choice(sorted(free))
        written = receipts[key].stat().st_mtime_ns
        path = self._folder / json.loads(receipts[key].read_bytes())["file"]["path"]
        what = self._rng.random()
        if what < 0.7:
            left = self._rng.choice(edits.HARMLESS)(path)
            self.kept[key] = left, _hash(left), written
            return
        self._spoiled[key] = written
        if what < 0.9:
            os.truncate(path, self._rng.randrange(path.stat().st_size - 100))
            self.torn.append(_hash(path))
        else:
            path.unlink()
            self.deleted += 1

    def problems(self) -> Iterator[str]:
        """What became of it that should not have."""
        trash = {_hash(path) for path in (self._folder / "trash").rglob("*.png")}
        receipts = {path.stem: path.stat().st_mtime_ns for path in _receipts(self._folder)}
        for key, (path, digest, written) in self.kept.items():
            if not path.is_file() or _hash(path) != digest:
                yield f"{path} is not as it was left"
            if receipts[key] != written:
                yield f"{path} was rendered again"
        for digest in self.torn:
            if digest not in trash:
                yield f"a torn file is not in the trash ({digest[:8]})"


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def torture(kills: int, place: Path, rng: random.Random) -> Figures:
    """Kill a run so many times, let it finish, and compare it with an undisturbed one."""
    start = time.monotonic()
    last = 2 * kills + 9  # four images a kill, so that there is work to the end
    (place / "torture.yaml").write_text(JOB.format(last=last), encoding="utf-8")
    user = User(place / "killed", rng)
    for _ in range(kills):
        run = _start(place, "killed")
        if rng.random() < 0.3:
            user.act()
        _wait(run, place / "killed", rng)
        _kill_tree(run)
        if rng.random() < 0.7:
            user.act()
    committed = len(_receipts(place / "killed"))
    problems: tuple[str, ...] = ()
    for folder in ("killed", "undisturbed"):
        if code := _start(place, folder).wait():
            problems = (f"exit code {code}",)
    problems = problems or (*_problems(place, 2 * (last + 1), user.kept.keys()), *user.problems())
    return Figures(
        kills=kills,
        tasks=2 * (last + 1),
        commits_when_killed=committed,
        touched=len(user.kept),
        torn=len(user.torn) + user.deleted,
        seconds=time.monotonic() - start,
        problems=problems,
    )


def _start(place: Path, folder: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), "--render", folder],
        cwd=place,
        env={**os.environ, "RUN_BATCH_CACHE": str(place / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait(run: subprocess.Popen[bytes], folder: Path, rng: random.Random) -> None:
    """Until a random moment: while it starts up, or some milliseconds after one of the next commits."""
    if rng.random() < 0.25:
        time.sleep(rng.uniform(0, 2.0))
        return
    enough = len(_receipts(folder)) + rng.randint(1, 3)
    while len(_receipts(folder)) < enough and run.poll() is None:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.1))


def _kill_tree(run: subprocess.Popen[bytes]) -> None:
    with suppress(psutil.NoSuchProcess):
        tree = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
        for process in tree:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(tree, timeout=10)
    run.wait()


def _receipts(folder: Path) -> list[Path]:
    return list((folder / ".run" / "receipts").glob("*/[0-9a-f]*.json"))


def _problems(place: Path, tasks: int, touched: Collection[str]) -> list[str]:
    from batch.store.folder import RunFolder
    from batch.upkeep.verify import State, verify

    killed, undisturbed = RunFolder(place / "killed"), RunFolder(place / "undisturbed")
    found = verify(killed.root, lambda _done, _total: None)
    untouched = found.counts.get(State.DONE, 0)
    known = {item.task_id for item in found.findings if item.state in {"changed", "moved"}}
    hashes = [
        {key: item.file.sha256 for key, item in run.scan().receipts.items()} for run in (killed, undisturbed)
    ]
    images = list(killed.image_files())
    checks = {
        f"{untouched} untouched of {tasks - len(touched)}": untouched == tasks - len(touched),
        f"{len(known)} known as touched of {len(touched)}": known == {*touched},
        f"{len(images)} image files for {tasks} tasks": len(images) == tasks,
        f"{len(_receipts(killed.root))} receipts for {tasks} tasks": len(_receipts(killed.root)) == tasks,
        f"verify finds {found.counts}": found.ok,
        "bytes differ from an undisturbed run": hashes[0] == hashes[1],
        "temp files are left": not list(killed.root.rglob("*.part")),
        "thumbnails are missing": len(list(killed.thumbs.glob("*.webp"))) == tasks,
        "failures are recorded": not killed.failures(),
    }
    return [text for text, holds in checks.items() if not holds]


def render(folder: str) -> int:
    """One run, as the command line starts it."""
    from batch.cli.progress import Silent
    from batch.run import runner
    from batch.run.options import Options
    from batch.run.steering import Steering
    from tests.fake_session import FakeBackend, Fault

    options = Options(out=Path(folder), engine="process", backend=FakeBackend((Fault("slow", seconds=0.02),)))
    result = runner.run(Path("torture.yaml"), options, Silent(), Steering())
    return 0 if result.stopped is None and not result.failed else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--render", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.render:
        return render(arguments.render)
    with tempfile.TemporaryDirectory(prefix="torture-") as place:
        figures = torture(arguments.kills, Path(place), random.Random(arguments.seed))
    print(figures)
    return 1 if figures.problems else 0


if __name__ == "__main__":
    sys.exit(main())
