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
AT_A_TIME = 8
"""Models of a plan, which tells so many settings and leaves out further ones."""


def main() -> None:
    """Write the table."""
    known = [name for name, model in packaged().items() if FAMILIES[model.family].staged]
    names = [name for name in known if name in architectures.known()]
    rows: list[dict[str, str]] = []
    for first in range(0, len(names), AT_A_TIME):
        rows += _predicted(names[first : first + AT_A_TIME])
        print(f"{len(rows)} of {len(names)}", flush=True)
    with TABLE.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _predicted(names: list[str]) -> list[dict[str, str]]:
    """A row for each model: what the heaviest stage needs under each setting."""
    grid = {"model": [RANDOM + name for name in names], "prompt": "a fox", "memory": list(SETTINGS)}
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder, "predict.yaml")
        manifest.write_text(json.dumps({"kind": "measure", "grid": grid}), encoding="utf-8")
        command = [sys.executable, str(ROOT / "run_batch.py"), "plan", str(manifest), "--json"]
        said = json.loads(subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout)
    rows = {name: {"model": name} for name in names}
    for row in said["memory"]["settings"]:
        needed = max(stage["needed"] for stage in row["stages"].values()) / 2**30
        rows[row["model"].removeprefix(RANDOM)] |= {"size": row["size"], row["memory"]: f"{needed:.2f}"}
    return list(rows.values())


if __name__ == "__main__":
    main()
