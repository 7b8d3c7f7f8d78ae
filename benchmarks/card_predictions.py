"""What a visit should find, computed beside it by a process that gives way and never sees the card.

Memory is what `plan` predicts; time is what the work counted by benchmarks/roofline.py takes at the
rates that were measured.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import psutil

from batch.plan.pins import Pins
from batch.plan.plan import Plan
from batch.run import forecast
from batch.store import predictions
from benchmarks.card_bench import Bench, Rates, Scene
from benchmarks.card_rows import Prediction

STEP, FUSED_STEP, DECODE = "time of a step", "time of a fused step", "time of decoding"
"""Keys of the predictions of time."""

Said = tuple[str, Prediction]

_COUNTED = {STEP: ("denoise_step", "eager"), FUSED_STEP: ("denoise_step", "fused"), DECODE: ("decode", "eager")}
"""What benchmarks/roofline.py calls them."""


class Predictor:
    """The process, seen from the visit."""

    def __init__(self, bench: Bench, context: Any) -> None:
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_predict, args=(bench, other), daemon=True)
        self._process.start()
        other.close()
        self._open = True

    def tell(self, rates: Rates | None) -> None:
        """Say what the device can do; times are predicted then."""
        with suppress(OSError):  # it has ended
            self._connection.send(rates)

    def ready(self, wait_s: float = 0.0) -> Iterator[Said]:
        """What has come since the last time; waits so long for all there is to come."""
        ends = time.monotonic() + wait_s
        while self._open and self._connection.poll(max(0.0, ends - time.monotonic())):
            try:
                yield self._connection.recv()
            except (EOFError, OSError):
                self._open = False

    def close(self) -> None:
        """End it, done or not, with the process that it asks."""
        with suppress(psutil.Error):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                child.kill()
        self._process.kill()
        self._process.join()


def _predict(bench: Bench, connection: Connection) -> None:
    if os.environ.get(forecast.SWITCH) == "0":
        return
    if bench.on_card and hasattr(os, "nice"):  # a busy machine without one has no processor left for it
        os.nice(19)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with open(os.devnull, "w") as nowhere, tempfile.TemporaryDirectory() as folder:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 2)
        os.environ["RUN_BATCH_CACHE"] = folder  # nothing that was kept from before
        for scene in (bench.large, bench.small):
            settings = [setting for owner, setting in bench.settings() if owner == scene]
            for said in _memory(scene, settings):
                connection.send(said)
        for said in _time(bench, connection):
            connection.send(said)
    connection.close()


def _memory(scene: Scene, settings: list[str]) -> Iterator[Said]:
    """What every stage takes under every setting, in MiB."""
    tasks = tuple(scene.task(setting) for setting in settings)
    plan = Plan(name="card", kind="render", tasks=tasks, models={scene.model: scene.found()}, pins=Pins())
    asked = forecast.asked(plan)
    for row in asked.forecast(predictions.answers(asked.questions)).rows:
        for stage in ("encode", "denoise", "decode"):
            for kind in ("allocated", "needed"):
                found = None
                if row.footprint is not None:
                    found = getattr(row.footprint.stages[stage], kind) / 2**20
                yield scene.key(stage, row.memory, kind), Prediction(value=found, note=row.why)


def _time(bench: Bench, connection: Connection) -> Iterator[Said]:
    """Seconds of a step and of decoding, as soon as the rates are known."""
    try:
        from benchmarks import roofline
    except ImportError:
        yield from ((key, Prediction(note="benchmarks/roofline.py is not there")) for key in _COUNTED)
        return
    scene = bench.large
    try:
        work = roofline.count(scene.model.removeprefix("random:"), str(scene.size))
        rates = connection.recv()
        if rates is None:
            raise ValueError("the device's rates are not known")
        best = roofline.best(work, bandwidth=rates.bandwidth, matrix=rates.matrix, float32=rates.float32)
    except Exception as error:  # noqa: BLE001 - the note beside the figure that it would have been
        yield from ((key, Prediction(note=f"not predicted: {error}")) for key in _COUNTED)
        return
    for key, (stage, kind) in _COUNTED.items():
        found = best[stage]
        note = (
            f"at best {found.eager:.3g} s eager, {found.fused:.3g} s fused, {found.floor:.3g} s for the products"
        )
        yield key, Prediction(value=getattr(found, kind), note=note)
