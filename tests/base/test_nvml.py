"""Whatever NVIDIA's driver does, it is asked without an exception."""

import sys
from types import SimpleNamespace

import pytest

from batch.base import hardware, nvml
from batch.render.meter import Meter
from tests.helpers import GIB


class NVMLError(Exception):
    pass


def lost(*_arguments):
    raise NVMLError("GPU is lost")


def memory(handle):
    return lost() if handle == "lost" else SimpleNamespace(total=24 * GIB, used=GIB, free=23 * GIB)


@pytest.fixture
def driver(monkeypatch):
    """A module in place of the driver's; without a call it raises what an old package would."""

    def put(handles=(), **calls):
        known = {
            "nvmlInit": lambda: None,
            "nvmlSystemGetDriverVersion": lambda: "590.48",
            "nvmlDeviceGetCount": lambda: len(handles),
            "nvmlDeviceGetHandleByIndex": lambda index: handles[index],
            "nvmlDeviceGetHandleByUUID": lambda uuid: {f"GPU-{name}": name for name in handles}[uuid],
            "nvmlDeviceGetName": lambda handle: f"card {handle}",
            "nvmlDeviceGetMemoryInfo": memory,
        }
        monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(NVMLError=NVMLError, **{**known, **calls}))

    return put


def nothing_is_known():
    assert nvml.cards() == ()
    assert nvml.driver() == ""
    assert nvml.by_uuid("GPU-a") is None
    assert not hardware.look(None).card


def test_without_the_package_there_is_no_card(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    nothing_is_known()


def test_without_a_driver_there_is_no_card(driver):
    driver(
        nvmlInit=lost,
        nvmlSystemGetDriverVersion=lost,
        nvmlDeviceGetCount=lost,
        nvmlDeviceGetHandleByUUID=lost,
    )
    nothing_is_known()


def test_a_card_off_the_bus_does_not_hide_the_others(driver):
    driver(handles=("a", "lost", "b"))
    assert [card.name for card in nvml.cards()] == ["card a", "card b"]
    assert nvml.driver() == "590.48"
    assert hardware.look("1").memory == 24 * GIB
    assert hardware.look("cpu").memory is None


def test_what_a_lost_card_does_not_say_is_not_known(driver):
    driver(handles=("lost",), nvmlDeviceGetComputeRunningProcesses=lost, nvmlDeviceGetTemperature=lost)
    assert nvml.by_uuid("GPU-lost") == "lost"
    assert nvml.used("lost") is None
    assert nvml.processes("lost") == {}
    asked = (nvml.celsius, nvml.megahertz, nvml.watts, nvml.joules)
    assert [ask("lost") for ask in asked] == [None] * 4
    assert nvml.throttled("lost") == ""


def test_what_a_process_holds_of_all_cards(driver):
    def running(handle):
        return (
            lost() if handle == "lost" else [SimpleNamespace(pid=7, usedGpuMemory=GIB if handle == "a" else None)]
        )

    driver(handles=("a", "lost", "b"), nvmlDeviceGetComputeRunningProcesses=running)
    assert (nvml.held_by(7), nvml.held_by(8)) == (GIB, 0)


def test_a_meter_tells_processes_apart(driver):
    running = [SimpleNamespace(pid=pid, usedGpuMemory=GIB) for pid in (1, 2, 2)]
    driver(handles=("a",), nvmlDeviceGetComputeRunningProcesses=lambda _handle: running)
    meter = Meter("cpu")
    meter._handle = nvml.by_uuid("GPU-a")
    assert nvml.processes("a") == {1: GIB, 2: GIB}
    with meter.stage():
        pass
    state = meter.card()
    assert state is not None
    assert state.foreign == 1  # a container shows this process by another number
