"""Predict what every model of the catalogue takes on a card at its native size, for the tables of docs/models.md.

    python tools/predict_models.py

Asks ``plan`` about the model with random weights, so nothing is downloaded and no card is needed; a few seconds a
model. Writes docs/predicted.csv: GiB that a card must have free under four memory settings, with the allowances
for CUDA, cuDNN and fragmentation.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from batch.catalogue import architectures
from batch.catalogue.families import FAMILIES
from batch.catalogue.models import packaged

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "predicted.csv"
SETTINGS = ("tiled", "model-offload", "group-offload", "sequential-offload")
COLUMNS = ("model", "size", *SETTINGS)


def main() -> None:
    """Write the table, a row as soon as it is known."""
    with TABLE.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for model in packaged().values():
            if model.name in architectures.known() and FAMILIES[model.family].staged:
                writer.writerow((model.name, str(model.native), *_needed(model.name)))
                stream.flush()
                print(model.name, flush=True)


def _needed(name: str) -> Iterator[str]:
    """GiB under each setting: what its heaviest stage needs."""
    grid = {"model": f"random:{name}", "prompt": "a fox", "memory": list(SETTINGS)}
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder, "predict.yaml")
        manifest.write_text(json.dumps({"kind": "measure", "grid": grid}), encoding="utf-8")
        command = [sys.executable, str(ROOT / "run_batch.py"), "plan", str(manifest), "--json"]
        said = json.loads(subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout)
    rows = {row["memory"]: row for row in said["memory"]["settings"]}
    for setting in SETTINGS:
        stages = rows[setting]["stages"]
        yield f"{max(stage['needed'] for stage in stages.values()) / 2**30:.2f}" if stages else ""


if __name__ == "__main__":
    main()
