"""The quickstart through every engine: the same bytes, and the same table but for times and memory."""

import csv
from pathlib import Path

import pytest

from batch.run.options import Options
from batch.run.runner import run as run_job
from batch.run.steering import Steering
from tests.conftest import ROOT
from tests.engines.ray.conftest import Everything
from tests.helpers import hashes

ENGINES = {
    "local": {"engine": "local", "devices": "cpu"},
    "process": {"engine": "process", "devices": "cpu"},
    "two": {"engine": "process", "devices": "cpu,cpu"},
    "ray": {"engine": "ray", "devices": "cpu"},
}


def table(folder):
    """What results.csv holds of every image, without what took how long and how much memory."""
    with Path(folder, "results.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    leaves_out = ("_s", "_mib", "started_at", "warmup")
    return [[item for item in row.items() if not item[0].endswith(leaves_out)] for row in rows]


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray", "one_thread")
def test_the_quickstart_is_the_same_through_every_engine(manifest, work, monkeypatch):
    monkeypatch.setenv("RUN_BATCH_SHIPPED", str(ROOT / "batch" / "models"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # their number moves low bits
    quickstart = (ROOT / "jobs" / "quickstart.yaml").read_text(encoding="utf-8")
    fewer = "".join(line for line in quickstart.splitlines(keepends=True) if "at night" not in line)
    path = manifest(fewer.replace("seed: 0..2", "seed: 0").replace("[512x512, 672x384]", "512x512\n  steps: 4"))
    made = {}
    for name, options in ENGINES.items():
        monkeypatch.setenv("RUN_BATCH_CACHE", str(work / f"cache-{name}"))  # each encodes its own texts
        done = run_job(path, Options(out=Path(name), **options), Everything(), Steering())
        done.telling.close()
        assert done.exit_code == 0
        made[name] = (hashes(name), table(name))
        assert len(made[name][1]) == 3
    for name in ENGINES:
        assert made[name][0] == made["local"][0], name
        for row, of_local in zip(made[name][1], made["local"][1], strict=True):
            assert row == of_local, name
