"""The engines that the contract is tried on, and what each of them promises beyond what all do.

All of them: exactly one outcome for each image that was started; every picture verified against its receipt;
texts encoded once; limits, a stop and a pause obeyed; a rung taken once; a run that was killed goes on with what
it lacks.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class Promise(StrEnum):
    """What not every engine can hold."""

    OUTLIVES_WORKERS = "a worker that dies is replaced, and what it had committed counts"
    SEVERAL = "several workers share the work"


IN_ONE_PROCESS = "it renders in the process of the run: whatever ends one ends both"
ONE_DEVICE = "it has one worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """An engine as a test starts it."""

    name: str
    engine: str
    devices: str | None = None
    workers: int = 1
    tries: int = 2
    """Workers that an image may take with it, where the manifest allows fewer attempts."""
    needs: str = ""
    """A package without which it is not tried."""
    lacks: Mapping[Promise, str] = field(default_factory=lambda: MappingProxyType({}))
    """What it does not promise, and why."""

    def options(self, address: str = "") -> dict[str, object]:
        """Those of a run through it; ``address`` is that of a cluster to be joined."""
        joins = {"ray_address": address} if address else {}
        return {"engine": self.engine, "devices": self.devices, **joins}

    @property
    def absent(self) -> str:
        """Why it cannot be tried here; empty where it can."""
        here = not self.needs or importlib.util.find_spec(self.needs)
        return "" if here else f"{self.needs} is not installed"


KINDS = (
    Kind(
        name="local", engine="local",
        lacks={Promise.OUTLIVES_WORKERS: IN_ONE_PROCESS, Promise.SEVERAL: IN_ONE_PROCESS},
    ),
    Kind(name="process", engine="process", lacks={Promise.SEVERAL: ONE_DEVICE}),
    Kind(name="two", engine="process", devices="cpu,cpu", workers=2),
    Kind(name="ray", engine="ray", workers=2, tries=3, needs="ray"),
)  # fmt: skip
