"""NVIDIA's driver, asked through NVML.

Nothing here raises: without the package or the driver there are no cards, and what a card does not say is None.
One that has fallen off the bus says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Handle = object
"""A card, as the driver knows it."""

_SM_CLOCK, _GPU_TEMPERATURE = 1, 0
"""NVML's ``NVML_CLOCK_SM`` and ``NVML_TEMPERATURE_GPU``."""

_NO_THROTTLING = 0x1 | 0x2
"""Bits of NVML's clock event reasons: idle, and clocks that the user has set for applications."""

_THROTTLING = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal slowdown (software)",
    0x40: "thermal slowdown (hardware)",
    0x80: "power brake",
    0x100: "display clock setting",
    0x200: "board limit",
    0x400: "reliability limit",
}
"""The other bits (``nvmlClocksEventReason*`` in nvml.h)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A GPU as the driver shows it; memory in bytes."""

    name: str
    memory: int
    free: int


def cards() -> tuple[Card, ...]:
    """The cards that answer, whatever torch was built for."""
    _ask("nvmlInit")
    found = []
    for index in range(_ask("nvmlDeviceGetCount") or 0):
        handle = _ask("nvmlDeviceGetHandleByIndex", index)
        name, memory = _ask("nvmlDeviceGetName", handle), _ask("nvmlDeviceGetMemoryInfo", handle)
        if name is not None and memory is not None:
            found.append(Card(name=str(name), memory=int(memory.total), free=int(memory.free)))
    return tuple(found)


def driver() -> str:
    """The driver's version; "" without one."""
    _ask("nvmlInit")
    return str(_ask("nvmlSystemGetDriverVersion") or "")


def by_uuid(uuid: str) -> Handle | None:
    """The card of that name (``GPU-…``)."""
    _ask("nvmlInit")
    found: Handle | None = _ask("nvmlDeviceGetHandleByUUID", uuid)
    return found


def used(card: Handle) -> int | None:
    """Bytes of its memory that are in use, by whomever."""
    memory = _ask("nvmlDeviceGetMemoryInfo", card)
    return None if memory is None else int(memory.used)


def processes(card: Handle) -> dict[int, int | None]:
    """The processes that compute on it, as far as the driver shows them, with the bytes that each one has."""
    running = _ask("nvmlDeviceGetComputeRunningProcesses", card) or ()
    return {item.pid: item.usedGpuMemory for item in running}


def held_by(pid: int) -> int:
    """Bytes of all cards that a process has; 0 too where the driver does not say."""
    _ask("nvmlInit")
    handles = (_ask("nvmlDeviceGetHandleByIndex", index) for index in range(_ask("nvmlDeviceGetCount") or 0))
    return sum(processes(handle).get(pid) or 0 for handle in handles if handle is not None)


def joules(card: Handle) -> float | None:
    """The energy it has used since the driver was loaded."""
    millijoules = _whole("nvmlDeviceGetTotalEnergyConsumption", card)
    return None if millijoules is None else millijoules / 1000


def celsius(card: Handle) -> int | None:
    """Its temperature now."""
    return _whole("nvmlDeviceGetTemperature", card, _GPU_TEMPERATURE)


def megahertz(card: Handle) -> int | None:
    """The clock of its multiprocessors now."""
    return _whole("nvmlDeviceGetClockInfo", card, _SM_CLOCK)


def watts(card: Handle) -> float | None:
    """The power it takes now."""
    milliwatts = _whole("nvmlDeviceGetPowerUsage", card)
    return None if milliwatts is None else milliwatts / 1000


def throttled(card: Handle) -> str:
    """What holds its clocks down now, in words; "" where nothing does, and where it does not say."""
    # Renamed in the driver of 2023; the package has either name, or one that an older driver lacks.
    asked = (
        _whole(name, card)
        for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
    )
    reasons = next((said for said in asked if said is not None), 0) & ~_NO_THROTTLING
    words = [word for bit, word in _THROTTLING.items() if reasons & bit]
    unknown = reasons & ~sum(_THROTTLING)
    return ", ".join([*words, *([f"reason {unknown:#x}"] if unknown else [])])


def _whole(call: str, *arguments: object) -> int | None:
    said = _ask(call, *arguments)
    return None if said is None else int(said)


def _ask(call: str, *arguments: object) -> Any:
    """What the driver answers; None where it does not, whatever keeps it from that."""
    try:
        import pynvml

        return getattr(pynvml, call)(*arguments)
    except Exception:  # noqa: BLE001 - no package, no driver, a lost card, a call that one of them is too old for
        return None
