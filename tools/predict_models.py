"""Predict what every model of the catalogue takes on a card at its native size, for the tables of docs/models.md.

    python tools/predict_models.py

Asks ``plan`` about the models with random weights, so nothing is downloaded and no card is needed; some minutes.
Writes docs/predicted.csv: GiB that a card must have free under four memory settings, with the allowances for CUDA,
cuDNN and fragmentation.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from batch.catalogue import architectures
from batch.catalogue.families import FAMILIES
from batch.catalogue.models import packaged

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "predicted.csv"
SETTINGS = ("tiled", "model-offload", "group-offload", "sequential-offload")
COLUMNS = ("model", "size", *SETTINGS)
RANDOM = "random:"


def main() -> None:
    """Write the table."""
    known = [name for name, model in packaged().items() if FAMILIES[model.family].staged]
    names = [name for name in known if name in architectures.known()]
    grid = {"model": [RANDOM + name for name in names], "prompt": "a fox", "memory": list(SETTINGS)}
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder, "predict.yaml")
        manifest.write_text(json.dumps({"kind": "measure", "grid": grid}), encoding="utf-8")
        command = [sys.executable, str(ROOT / "run_batch.py"), "plan", str(manifest), "--json"]
        said = json.loads(subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout)
    rows: dict[str, dict[str, str]] = {}
    for row in said["memory"]["settings"]:
        name = row["model"].removeprefix(RANDOM)
        needed = max(stage["needed"] for stage in row["stages"].values()) / 2**30
        rows.setdefault(name, {"model": name, "size": row["size"]})[row["memory"]] = f"{needed:.2f}"
    with TABLE.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in names if name in rows)


if __name__ == "__main__":
    main()
