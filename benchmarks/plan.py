"""How long planning takes and how much memory: a million tasks, and prompts from a table.

    python benchmarks/plan.py [TASKS]

Each plan is made in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GRID = """\
grid:
  model: demo
  prompt: {{file: prompts.tsv, column: caption}}
  seed: 0..{last_seed}
  size: [512x512, 672x384]
  guidance: [4, 5]
"""


def main(tasks: int) -> None:
    print(f"{'tasks':>9}  {'seconds':>7}  {'peak MiB':>8}")
    for count in (12_800, tasks):
        with tempfile.TemporaryDirectory() as folder:
            prompts = min(10_000, count // 16)
            seeds = count // 4 // prompts
            write(Path(folder), prompts, seeds)
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, __file__, "--child", str(Path(folder) / "job.yaml")],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            made, peak = done.stdout.split()
            print(f"{int(made):>9,}  {time.perf_counter() - start:>7.2f}  {float(peak):>8.0f}", flush=True)


def write(folder: Path, prompts: int, seeds: int) -> None:
    lines = ["id\tcaption"]
    lines += [f'{n}\ta photo of thing number {n} on a "table", soft light, 35mm' for n in range(prompts)]
    (folder / "prompts.tsv").write_text("\n".join(lines), encoding="utf-8")
    (folder / "job.yaml").write_text(GRID.format(last_seed=seeds - 1), encoding="utf-8")


def child(path: Path) -> None:
    import psutil

    from batch.run import remaining
    from batch.run.options import Options
    from batch.run.prepare import prepare

    job = prepare(path, Options())
    plan, folder = job.plan, job.folder
    where = remaining.remaining(plan, folder, 2, job.earlier)
    assert len(where.to_render) == len(plan.tasks)
    memory = psutil.Process().memory_info()
    try:
        import resource

        scale = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    except ImportError:  # Windows
        peak = memory.peak_wset  # type: ignore[attr-defined]
    print(len(plan.tasks), peak / 2**20)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    # `demo` is that of the tests, next to nothing: what is measured is the program around it.
    os.environ.setdefault("RUN_BATCH_SHIPPED", str(Path(__file__).parent.parent / "tests" / "models"))
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
