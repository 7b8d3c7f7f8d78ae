"""Kills a run with SIGKILL, the whole process tree, at random times, and looks at what is left in the end.

    python benchmarks/torture.py                 200 kills: a quarter of an hour
    python benchmarks/torture.py --kills 10

The runs are the program's own, with its supervised worker; the worker draws its pictures instead of rendering
them (``tests.fake_session``), so that most of the time is spent where it hurts: between the first byte of an
image and its receipt. Prints one line and exits with 1 when anything is lost, torn, doubled or different.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))
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
    seconds: float
    problems: tuple[str, ...]

    def __str__(self) -> str:
        end = "; ".join(self.problems) or (
            "one verified file per task, bytes as undisturbed, no temp file, no receipt without its image"
        )
        return (
            f"{self.kills} kills, {self.tasks} tasks, {self.commits_when_killed} of them committed in killed "
            f"runs, {self.seconds:.0f} s: {end}"
        )


def torture(kills: int, place: Path, rng: random.Random) -> Figures:
    """Kill a run so many times, let it finish, and compare it with an undisturbed one."""
    start = time.monotonic()
    last = 2 * kills + 9  # four images a kill, so that there is work to the end
    (place / "torture.yaml").write_text(JOB.format(last=last), encoding="utf-8")
    for _ in range(kills):
        run = _start(place, "killed")
        _wait(run, place / "killed", rng)
        _kill_tree(run)
    committed = len(_receipts(place / "killed"))
    for folder in ("killed", "undisturbed"):
        code = _start(place, folder).wait()
        if code:
            return Figures(kills, 2 * (last + 1), committed, time.monotonic() - start, (f"exit code {code}",))
    problems = tuple(_problems(place, 2 * (last + 1)))
    return Figures(kills, 2 * (last + 1), committed, time.monotonic() - start, problems)


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


def _problems(place: Path, tasks: int) -> list[str]:
    from batch.store.folder import RunFolder
    from batch.upkeep.verify import verify

    killed, undisturbed = RunFolder(place / "killed"), RunFolder(place / "undisturbed")
    found = verify(killed.root, lambda _done, _total: None)
    hashes = [
        {key: item.file.sha256 for key, item in run.scan().receipts.items()} for run in (killed, undisturbed)
    ]
    images = list(killed.image_files())
    checks = {
        f"{len(found.done)} verified of {tasks}": len(found.done) == tasks,
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
    from tests.fake_session import FakeBackend, Fault

    options = Options(out=Path(folder), engine="process", backend=FakeBackend((Fault("slow", seconds=0.02),)))
    result = runner.run(Path("torture.yaml"), options, Silent(), Event())
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
