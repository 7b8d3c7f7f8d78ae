"""NVIDIA's driver, asked through NVML.

Nothing here raises: without the package or the driver there are no cards, and what a card does not say is None.
One that has fallen off the bus says nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from batch.base.devices import CARD, INSTANCE

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable that tells CUDA which cards to show, and in which order."""

Handle = object
"""A card, or an instance of one, as the driver knows it."""

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
    """A GPU as the driver shows it, or an instance of one that runs in MIG mode; memory in bytes."""

    name: str
    memory: int
    free: int
    uuid: str = ""
    """``GPU-…``, of an instance ``MIG-…``."""
    instances: tuple[Card, ...] | None = None
    """Of one in MIG mode, on which only these render; None of every other."""


def cards(*, fastest_first: bool = False) -> tuple[Card, ...]:
    """The cards that answer, whatever torch was built for, in the order of their places on the bus.

    ``fastest_first``: about in CUDA's own order, whose rule is not published.
    """
    handles = sorted(_handles(), key=_speed, reverse=True) if fastest_first else _handles()
    return tuple(card for handle in handles if (card := _card(handle)) is not None)


def _handles() -> Iterator[Handle]:
    _ask("nvmlInit")
    found = (_ask("nvmlDeviceGetHandleByIndex", index) for index in range(_ask("nvmlDeviceGetCount") or 0))
    return (handle for handle in found if handle is not None)


def _card(handle: Handle) -> Card | None:
    name, memory = _ask("nvmlDeviceGetName", handle), _ask("nvmlDeviceGetMemoryInfo", handle)
    if name is None or memory is None:
        return None
    instances = None
    if _in_mig_mode(handle):
        instances = tuple(card for item in _instances(handle) if (card := _card(item)) is not None)
    return Card(
        name=str(name),
        memory=int(memory.total),
        free=int(memory.free),
        uuid=uuid_of(handle),
        instances=instances,
    )


def _in_mig_mode(handle: Handle) -> bool:
    return bool((_ask("nvmlDeviceGetMigMode", handle) or (0,))[0])


def _instances(handle: Handle) -> Iterator[Handle]:
    found = (
        _ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
        for index in range(_ask("nvmlDeviceGetMaxMigDeviceCount", handle) or 0)
    )
    return (item for item in found if item is not None)


def uuid_of(handle: Handle) -> str:
    """Of a card, or of an instance of one; "" where it is not told."""
    return str(_ask("nvmlDeviceGetUUID", handle) or "")


def _speed(handle: Handle) -> int:
    """Units that compute, times their clock; 0 where one of these is not told."""
    return (_whole("nvmlDeviceGetNumGpuCores", handle) or 0) * (
        _whole("nvmlDeviceGetMaxClockInfo", handle, _SM_CLOCK) or 0
    )


def driver() -> str:
    """The driver's version; "" without one."""
    _ask("nvmlInit")
    return str(_ask("nvmlSystemGetDriverVersion") or "")


def by_uuid(uuid: str) -> Handle | None:
    """The card of that name (``GPU-…``), or the instance of one (``MIG-…``)."""
    _ask("nvmlInit")
    found: Handle | None = _ask("nvmlDeviceGetHandleByUUID", uuid)
    return found


def of_torch(uuid: str) -> Handle | None:
    """What torch renders on in this process, by the UUID that torch tells, which has nothing before its digits.

    Of a card in MIG mode that is one of its instances, and torch may tell either's UUID.
    """
    card = by_uuid(f"{CARD}{uuid}")
    if card is None:
        return by_uuid(f"{INSTANCE}{uuid}")
    if not _in_mig_mode(card):
        return card
    visible = os.environ.get(VISIBLE, "").split(",")[0].strip()
    if not visible.startswith(INSTANCE):
        return next(_instances(card), None)
    abbreviated = (item for item in _instances(card) if uuid_of(item).startswith(visible))
    return by_uuid(visible) or next(abbreviated, None)


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
    # Of a card in MIG mode the driver tells the sum to some users only.
    return sum(
        processes(handle).get(pid) or sum(processes(item).get(pid) or 0 for item in _instances(handle))
        for handle in _handles()
    )


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
