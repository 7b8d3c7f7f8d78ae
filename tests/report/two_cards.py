"""Receipts of a real run, with the names, times and memory of two cards put in."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from batch.plan.identity import identify
from batch.records.kinds import ErrorKind
from batch.records.reading import to_json
from batch.records.receipts import CardState, ErrorInfo, Failure, Machine, Measurement, StagePeak
from batch.store.folder import RunFolder
from batch.store.images.looks import hash_pixels
from tests.helpers import GIB

FULL, LARGE, SMALL, CPU = "full", "vae_tiling(384, 320)", "vae_tiling(256, 192)", "vae_cpu"

MANIFEST = """\
grid:
  model: demo
  prompt: [a fox, a whale]
  steps: 1
  size: 512x512
  memory: [full, "vae_tiling(384, 320)", "vae_tiling(256, 192)", vae_cpu]
"""

RTX = Machine(
    device="NVIDIA GeForce RTX 4070", device_memory=12 * GIB, driver="560.1", torch="2.11.0", diffusers="0.42.1"
)
A100 = Machine(device="NVIDIA A100-SXM4-40GB", device_memory=40 * GIB, driver="550.2", torch="2.13.0",
               diffusers="0.42.1")  # fmt: skip

RTX_COSTS = {FULL: (20.0, 11.0), LARGE: (21.0, 7.0), SMALL: (24.0, 5.5), CPU: (60.0, 5.6)}
A100_COSTS = {FULL: (8.0, 30.0), LARGE: (9.0, 7.5), SMALL: (10.0, 5.9), CPU: (40.0, 5.8)}
"""Seconds of an image and GiB on the device."""
WARM = (99.0, 11.5)


def repainted(root, task, change):
    """Other pixels in an image of a run, and a receipt for the file as it is then."""
    folder = RunFolder(Path(root))
    record = json.loads(folder.receipt_path(task.id).read_text(encoding="utf-8"))
    path = Path(root) / record["file"]["path"]
    with Image.open(path) as image:
        changed = change(np.array(image))
    Image.fromarray(changed).save(path)
    record["file"].update(
        bytes=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        pixels_sha256=hash_pixels(changed),
        mtime=path.stat().st_mtime,
    )
    folder.receipt_path(task.id).write_text(json.dumps(record), encoding="utf-8")
    assert folder.is_done(task.id)


def on_card(root, machine, found, *, known="device"):
    """Put a card's figures into the receipts of a run; the images stay as they are."""
    folder = RunFolder(Path(root))
    for number, task in enumerate(folder.tasks()):
        receipt = folder.receipt(task.id)
        cost = measurement(*found[task.memory], 1 + number % 2 / 10, known)
        folder.commit(replace(receipt, machine=machine, measurement=cost))


def measurement(seconds, gib, factor=1.0, known="device"):
    """A tenth of the time goes into each of encoding and saving, three into denoising, five into decoding."""
    kinds = {"allocated": gib - 2, "reserved": gib - 1, "device": gib}
    if known != "device":
        del kinds["device"]
    peaks = {kind: round(value * GIB) for kind, value in kinds.items()}
    encode, denoise = (2 * GIB, 3 * GIB) if known == "device" else (None, None)
    seconds *= factor
    return Measurement(
        encode=StagePeak(seconds=seconds / 10, allocated=GIB, reserved=GIB, device=encode),
        denoise=StagePeak(seconds=seconds * 3 / 10, allocated=GIB, reserved=GIB, device=denoise),
        decode=StagePeak(seconds=seconds * 5 / 10, **peaks),
        save_s=seconds / 10,
        energy_j=seconds * 200,
        memory_source="nvml-process",
        card=CardState(),
    )


def change(root, alter, setting=None):
    """Alter the receipts of a run, or those of one memory setting."""
    folder = RunFolder(Path(root))
    for task in folder.tasks():
        if setting in (None, task.memory) and folder.is_done(task.id):
            folder.commit(alter(folder.receipt(task.id)))


def ran_out(root, setting, requested=27136 * 2**20):
    """Put failures for want of memory in place of a setting's images."""
    folder = RunFolder(Path(root))
    for task in folder.tasks():
        receipt = folder.receipt(task.id)
        if task.memory == setting and receipt is not None:
            folder.receipt_path(task.id).unlink()
            error = ErrorInfo(kind=ErrorKind.OUT_OF_MEMORY, message="no", stage="decode", requested=requested)
            failed = {"measurement": Measurement(), "attempts": 1, "started_at": receipt.started_at}
            folder.fail(Failure(task=task, error=error, machine=receipt.machine, **failed))


def moved(root, change):
    """Other tasks in a run's plan and receipts, under their ids."""
    folder = RunFolder(Path(root))
    tasks = [identify(change(task)) for task in folder.tasks()]
    for before, task in zip(folder.tasks(), tasks, strict=True):
        receipt = folder.receipt(before.id)
        folder.receipt_path(before.id).unlink()
        folder.commit(replace(receipt, task=task))
    lines = [json.dumps(to_json(task)) + "\n" for task in tasks]
    (folder.state / "tasks.jsonl").write_text("".join(lines), encoding="utf-8")


def by_setting(result, run):
    return {row["memory"]: row for row in result["rows"] if row["run"] == run}
