"""How long `report` takes for a large run: receipts scanned, CSV written, contact sheets drawn.

    python benchmarks/report.py [IMAGES]

Renders nothing: one real demo image is committed under as many task ids as asked.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from batch.manifest.values import Size
from batch.memory import profiles
from batch.plan.identity import identify
from batch.plan.pins import Pins
from batch.records.receipts import Machine, Measurement, Receipt, StagePeak
from batch.records.tasks import Task
from batch.report.write import write_report
from batch.store.folder import RunFolder
from batch.store.job import Origin


def main(images: int) -> None:
    first = Task(
        model="demo", revision="r", dtype="float32", prompt="", seed=0, width=5376, height=3072,
        rendered_width=5376, rendered_height=3072, steps=20, guidance=5.0,
        pixel_steps=profiles.resolve("tiled", Size(5376, 3072)),
    )  # fmt: skip
    tasks = [
        identify(replace(first, prompt=f"landscape {index // 8}", seed=index % 8, source=f"p.txt:{index // 8}"))
        for index in range(images)
    ]
    tasks = [replace(task, name=task.id) for task in tasks]
    cost = Measurement(denoise=StagePeak(seconds=2.0, rss=2**30), decode=StagePeak(seconds=0.3), save_s=1.3)
    pixels = np.random.default_rng(0).integers(0, 255, (219, 384, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as root:
        folder = RunFolder(Path(root), "bench")
        folder.begin("bench", "render", Origin(), tasks, Pins())
        for task in tasks:
            file = folder.save_image(task, pixels)
            folder.commit(
                Receipt(task=task, file=file, measurement=cost, machine=Machine(), attempts=1, started_at="")
            )
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            written = write_report(folder)
            seconds.append(time.perf_counter() - start)
    middle = statistics.median(seconds)
    print(f"{images} images: report in {middle:.2f} s (median of 3), {len(written.sheets)} sheets")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
