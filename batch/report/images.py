"""The images of a run as every report reads them: what became of each, with which setting, and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.records.receipts import Failure, Receipt
from batch.records.tasks import Lora, Task
from batch.report.status import ImageStatus, status_of
from batch.report.timing import ImageCosts
from batch.store.losses import PictureLoss

if TYPE_CHECKING:
    from batch.store.losses import Lost
    from batch.store.receipts import Scan
    from batch.store.touched import Touched


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSetting:
    """What an image was made with, prompt and seed left out: images of one setting cost the same."""

    model: str
    revision: str
    size: str
    steps: int
    guidance: float
    scheduler: str
    dtype: str
    memory_used: str
    degraded_from: str
    """The memory setting asked for, where memory ran out and ``memory_used`` took its place."""
    lora: str
    extra: str
    vae: str = "default"

    @property
    def memory(self) -> str:
        """The memory setting used, told apart where another was asked for.

        A degraded image says nothing about the cost of the setting asked for, and is no fair sample of the one
        used: memory was short.
        """
        asked = f" (degraded from {self.degraded_from})" if self.degraded_from else ""
        return self.memory_used + asked


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedImage:
    """One task of a run and what became of it."""

    task: Task
    status: ImageStatus
    setting: ShownSetting
    receipt: Receipt | None = None
    failure: Failure | None = None
    touched: Touched | None = None
    """What somebody did to the finished picture."""
    skipped: str = ""
    """Why it was not tried."""
    lost: str = ""
    """Why its picture is not there any more, where it was rendered before."""
    costs: ImageCosts | None = None
    """None where nothing was tried."""

    @property
    def record(self) -> Receipt | Failure | None:
        """Of the image or of its failure."""
        return self.receipt or self.failure


def reported(tasks: Sequence[Task], scan: Scan, loras: Callable[[Task], str] | None = None) -> list[ReportedImage]:
    """The images of some tasks, in the order given. ``loras`` names a task's: :func:`loras_of` the tasks."""
    named = loras or loras_of(tasks)
    found = []
    for task in tasks:
        status, receipt = status_of(task, scan), scan.receipts.get(task.id)
        failure = None if receipt else scan.failures.get(task.id)
        record = receipt or failure
        setting = ShownSetting(
            model=task.model,
            revision=task.revision,
            size=task.size,
            steps=task.steps,
            guidance=float(task.guidance),
            scheduler=str(task.scheduler or "default"),
            dtype=task.dtype,
            memory_used=memory_used(receipt) if receipt else task.memory,
            degraded_from=receipt.degraded_from if receipt else "",
            vae=str(task.vae or "default"),
            lora=named(task),
            extra=", ".join(f"{name}={value}" for name, value in task.extra),
        )
        costs = ImageCosts.of(record.measurement, warmup=bool(task.warmup)) if record else None
        why = scan.skipped[task.id] if status is ImageStatus.SKIPPED else ""
        image = ReportedImage(
            task=task, status=status, setting=setting, receipt=receipt, failure=failure,
            touched=scan.touched.get(task.id), skipped=why, costs=costs,
            lost="" if record else _lost(scan.lost.get(task.id)),
        )  # fmt: skip
        found.append(image)
    return found


def _lost(lost: Lost | None) -> str:
    return "" if lost is None else f"torn: {lost.why}" if lost.how is PictureLoss.TORN else lost.why


def costs_of_done(images: Iterable[ReportedImage]) -> list[ImageCosts]:
    """What the images that are done cost."""
    return [image.costs for image in images if image.receipt and image.costs]


def memory_used(receipt: Receipt) -> str:
    """The memory setting that an image was rendered with."""
    return receipt.memory_used or receipt.task.memory


def loras_of(tasks: Iterable[Task]) -> Callable[[Task], str]:
    """What a task's LoRAs are called: files and strengths, and hashes where two files have one name."""
    contents: dict[str, set[str]] = {}
    for loras in {task.loras for task in tasks}:
        for lora in loras:
            contents.setdefault(str(lora), set()).add(lora.sha256 or "")

    def one(lora: Lora) -> str:
        return f"{lora} #{(lora.sha256 or '')[:6]}" if len(contents.get(str(lora), ())) > 1 else str(lora)

    return lambda task: " + ".join(map(one, task.loras)) or "none"
