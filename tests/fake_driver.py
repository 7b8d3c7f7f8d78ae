"""A driver that answers through NVML, and the cards that torch would see of it."""

from dataclasses import dataclass, field
from types import SimpleNamespace

from tests.helpers import GIB


class NVMLError(Exception):
    pass


def refuse(*_arguments):
    raise NVMLError("Not Supported")


@dataclass(eq=False)
class FakeCard:
    """A card, or an instance of one; it is its own handle."""

    uuid: str
    name: str = "RTX 4090"
    gib: int = 24
    clock: int = 2000
    instances: list["FakeCard"] | None = None
    """In MIG mode."""
    running: dict[int, int] = field(default_factory=dict)
    """Bytes by process."""
    part: bool = False

    @property
    def full(self):
        return ("MIG-" if self.part else "GPU-") + self.uuid


def part(uuid, gib=10, **more):
    return FakeCard(uuid, name="A100 MIG 1g.10gb", gib=gib, part=True, **more)


def _by_uuid(cards):
    every = [*cards, *(item for card in cards for item in card.instances or ())]

    def found(uuid):
        return {card.full: card for card in every}[uuid]

    return found


def _clock(card, _which):
    return refuse() if card.part else card.clock


def driver(*cards, **calls):
    """In place of the package: the cards in the order of the bus."""
    known = {
        "nvmlInit": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: "590.48",
        "nvmlDeviceGetCount": lambda: len(cards),
        "nvmlDeviceGetHandleByIndex": lambda index: cards[index],
        "nvmlDeviceGetHandleByUUID": _by_uuid(cards),
        "nvmlDeviceGetName": lambda card: card.name,
        "nvmlDeviceGetUUID": lambda card: card.full,
        "nvmlDeviceGetMemoryInfo": lambda card: SimpleNamespace(
            total=card.gib * GIB, used=sum(card.running.values()), free=card.gib * GIB - sum(card.running.values())
        ),
        "nvmlDeviceGetNumGpuCores": lambda _card: 1000,
        "nvmlDeviceGetMaxClockInfo": _clock,
        "nvmlDeviceGetClockInfo": _clock,
        "nvmlDeviceGetMigMode": lambda card: refuse() if card.part else (int(card.instances is not None),) * 2,
        "nvmlDeviceGetMaxMigDeviceCount": lambda card: 7 if card.instances is not None else 0,
        "nvmlDeviceGetMigDeviceHandleByIndex": lambda card, index: card.instances[index],
        "nvmlDeviceGetComputeRunningProcesses": lambda card: [
            SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in card.running.items()
        ],
        "nvmlDeviceGetTotalEnergyConsumption": lambda card: refuse() if card.part else 5000,
    }
    return SimpleNamespace(NVMLError=NVMLError, **{**known, **calls})
