"""What a run says of the Ray cluster that renders it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.base.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch.catalogue.model import Model
    from batch.records.events import Listener
    from batch.records.tasks import Task

GPU, CPU = "GPU", "CPU"
"""What Ray calls what it gives out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayChoice:
    """Which cluster, and what its nodes must have."""

    address: str = ""
    """``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``; "" starts one that is this run's own."""
    models: tuple[Model, ...] = ()
    """Every node has them before it renders."""
    tasks: Sequence[Task] = ()
    """So are the LoRAs and autoencoders of these."""
    listener: Listener | None = None
    """Told what goes on until the first worker is there."""


def resource(devices: str | None) -> str:
    """What each worker takes, one of it. Raises :class:`UserError` for devices that cannot be named here."""
    if devices in (None, "all"):
        return GPU
    if devices == "cpu":
        return CPU
    raise UserError(
        f"--devices {devices}: with --engine ray it is Ray that gives out the devices. Leave the option out for "
        "every GPU of the cluster, or write --devices cpu for its CPUs. `CUDA_VISIBLE_DEVICES=0 ray start …` "
        "limits what a node offers"
    )
