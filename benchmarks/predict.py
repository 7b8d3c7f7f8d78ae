"""What SANA 1.6B takes in memory at its three native sizes under every memory setting, as `plan` predicts it.

    python benchmarks/predict.py [--measured RUN] [--csv FILE]

Needs no card, no weights and no network. Prints the table of docs/measuring.md, and how long it took; writes
docs/benchmarks/predicted_memory.csv. Nothing that was kept from before is used. RUN is the folder of a
measurement on a card (jobs/compare_memory.yaml): what it found then stands beside, else those columns are empty.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from batch.base import tables
from batch.cli import plan_memory
from batch.hub.models import find_model
from batch.manifest.values import Size
from batch.memory import profiles
from batch.plan.pins import Pins
from batch.plan.plan import Plan
from batch.records.tasks import Task
from batch.report import table
from batch.run import forecast
from batch.store import predictions

CSV = Path(__file__).parent.parent / "docs" / "benchmarks" / "predicted_memory.csv"

SIZES = {"sana-1.6b-1k": Size(1024, 1024), "sana-1.6b-2k": Size(2048, 2048), "sana-1.6b-4k": Size(5376, 3072)}

SETTINGS = (
    "full",
    "tiled",
    "vae_tiling(512, 448)",
    "tiled + split_guidance",
    "tiled + split_guidance + chunked_ff",
    "tiled + fp8_weights",
    "tiled + quantize(bnb4)",
    "vae_cpu",
    "model-offload",
    "model-offload + fp8_weights",
    "group-offload",
    "tiled + group_offload(leaf)",
    "sequential-offload",
    "tutorial",
    "tiled + text_encoder_cpu",
    "8gb",
    "6gb",
    "4gb",
)

PREDICTED = ("encode_mib", "denoise_mib", "decode_mib", "host_mib", "needed_mib")
MEASURED = {
    "encode_peak_mib": "max",
    "denoise_peak_mib": "max",
    "decode_peak_mib": "max",
    "peak_device_mib": "max",
    "total_s": "median",
}
"""Columns of results.csv, and what of several images counts."""

Key = tuple[str, str, str]
"""Model, size and memory setting."""


def planned(name: str, size: Size) -> Plan:
    """A plan of one image a setting."""
    models = {name: find_model(name, Path(), {}, online=False)}
    tasks = [
        Task(
            model=name, dtype="bfloat16", prompt="a lighthouse", seed=0, width=size.width, height=size.height,
            rendered_width=size.width, rendered_height=size.height, steps=20, guidance=4.5, memory=setting,
            memory_steps=profiles.resolve(setting, size),
        )
        for setting in SETTINGS
    ]  # fmt: skip
    return Plan(name="predict", kind="render", tasks=tuple(tasks), models=models, pins=Pins())


def measured(run: Path) -> dict[Key, Mapping[str, float]]:
    """What a run found, warm-ups left out; of models with drawn weights under the name of the real one."""
    rows = table.read(run / "results.csv")
    rows = rows[(rows["status"] == "done") & ~rows["warmup"]]
    rows["model"] = rows["model"].str.removeprefix("random:")
    rows["size"] = rows["width"].astype(str) + "x" + rows["height"].astype(str)
    found: Any = rows.groupby(["model", "size", "memory"]).agg(MEASURED)
    return {key: dict(figures.dropna().items()) for key, figures in found.iterrows()}


def main(target: Path, run: Path | None) -> None:
    beside = measured(run) if run else {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RUN_BATCH_CACHE"] = folder
        start = time.perf_counter()
        plans = [forecast.asked(planned(*item)) for item in SIZES.items()]
        answers = predictions.answers(question for asked in plans for question in asked.questions)
        rows = [row for asked in plans for row in asked.forecast(answers).rows]
        seconds = time.perf_counter() - start
    print(tables.plain(plan_memory.table(forecast.Forecast(rows=tuple(rows)))))
    print(f"{len(rows)} settings in {seconds:.0f} s, one core")
    with target.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["model", "size", "memory", *PREDICTED, *(f"measured_{name}" for name in MEASURED)])
        for row in rows:
            assert row.footprint is not None, row.why
            peaks = [peak.allocated for peak in row.footprint.stages.values()]
            figures = [round(value / 2**20) for value in (*peaks, row.footprint.host, row.footprint.needed)]
            seen = beside.get((row.model, row.size, row.memory), {})
            lines.writerow(
                [
                    row.model,
                    row.size,
                    row.memory,
                    *figures,
                    *(round(seen[name], 2) if name in seen else "" for name in MEASURED),
                ]
            )
    if run:
        print(f"{len(beside)} settings of {run} stand beside them in {target}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measured", type=Path, metavar="RUN")
    parser.add_argument("--csv", type=Path, default=CSV)
    options = parser.parse_args()
    main(options.csv, options.measured)
