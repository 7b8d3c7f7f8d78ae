"""What tests of several rooms ask of a run: its plan, its receipts, its pictures and what it told."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from batch.manifest.read import read_manifest
from batch.plan.build import build_plan
from batch.plan.pins import Pins
from batch.records.events import Happening
from batch.records.receipts import Receipt
from batch.run import runner
from batch.run.lookup import lookup
from batch.run.options import Options, Result
from batch.run.steering import Steering
from batch.store.folder import RunFolder
from tests.conftest import ROOT
from tests.fake_session import FakeBackend

MIB, GIB = 2**20, 2**30

RUN_BATCH = [sys.executable, str(ROOT / "run_batch.py")]
"""The command line as a process of its own."""


def plan(path, *overrides, pins=None):
    pins = pins or Pins()
    return build_plan(read_manifest(path, overrides), lookup(str(path.parent), pins), pins)


def grid(**axes) -> str:
    """A manifest of nothing but a grid, one axis a line."""
    return "grid:\n" + "".join(f"  {key}: {json.dumps(value)}\n" for key, value in axes.items())


def receipts_of(folder) -> list[Receipt]:
    return list(RunFolder(Path(folder)).scan().receipts.values())


def only_receipt(folder) -> Receipt:
    (receipt,) = receipts_of(folder)
    return receipt


def picture(folder, receipt: Receipt | None = None):
    """The pixels of an image of a run, or of its only one."""
    return np.asarray(Image.open(Path(folder) / (receipt or only_receipt(folder)).file.path))


def hashes(folder):
    return {key: receipt.file.sha256 for key, receipt in RunFolder(Path(folder)).scan().receipts.items()}


def images(folder) -> list[Path]:
    return sorted(Path(folder, "images").iterdir())


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in images(folder)}


def fake_run(path, *faults, seen, stop=None, **options) -> Result:
    """A run through the stand-in session, with faults."""
    chosen = Options(**{"backend": FakeBackend(faults), **options})
    result = runner.run(path, chosen, seen, stop or Steering())
    assert result.telling is not None
    return replace(result, warnings=(*result.warnings, *result.telling.close()))


def happen(text, kind="note", **more):
    return Happening(kind=kind, text=text, **more)


def nothing(*_):
    """A beat that nobody hears."""
    return


@dataclass
class Seen:
    """What a run told."""

    happenings: list[Happening] = field(default_factory=list)

    def on(self, event):
        if isinstance(event, Happening):
            self.happenings.append(event)

    def kinds(self):
        return [item.kind for item in self.happenings]
