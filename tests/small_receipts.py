"""Small tasks of one model, and receipts that say how long each took."""

from batch.records.receipts import FileRef, Machine, Measurement, Receipt, StagePeak
from batch.records.tasks import Task


def a_task(number: int, **changes) -> Task:
    fields = {"model": "m", "dtype": "float32", "prompt": "p", "seed": number, "width": 1000, "height": 1000}
    fields |= {
        "rendered_width": 1000,
        "rendered_height": 1000,
        "steps": 10,
        "guidance": 4.5,
        "memory": "full",
        "id": f"{number:016x}",
    }
    return Task(**(fields | changes))


TASKS = [a_task(number) for number in range(12)]


def a_receipt(
    task: Task, seconds: float = 100.0, size: int = 2_000_000, *, setting: str = "", **measured
) -> Receipt:
    """``setting``: the memory setting that took the place of the one asked for."""
    return Receipt(
        task=task,
        file=FileRef(path="x.png", bytes=size, sha256="", width=task.width, height=task.height),
        measurement=Measurement(**({"denoise": StagePeak(seconds=seconds)} | measured)),
        machine=Machine(host="here", device="card"),
        attempts=1,
        started_at="",
        memory_used=setting,
        degraded_from=task.memory if setting else "",
    )
