"""The state of a card: temperature, clocks, power and what throttles it."""

import sys
from types import SimpleNamespace

import pytest

from batch.records.receipts import CardState
from batch.render import meter
from batch.render.meter import Meter


class NVMLError(Exception):
    pass


def refuse(*_arguments):
    raise NVMLError("Not Supported")


def driver(**calls):
    """A module that stands in for the driver's: it knows these calls, and refuses the others."""
    known = {
        "nvmlDeviceGetTemperature": refuse,
        "nvmlDeviceGetClockInfo": refuse,
        "nvmlDeviceGetPowerUsage": refuse,
    }
    return SimpleNamespace(NVMLError=NVMLError, **{**known, **calls})


@pytest.fixture
def card(monkeypatch):
    def state(**calls):
        monkeypatch.setitem(sys.modules, "pynvml", driver(**calls))
        meter = Meter("cpu")
        meter._handle = "card 0"
        return meter.card()

    return state


def test_there_is_no_state_without_a_card():
    assert Meter("cpu").card() is None


def test_the_state_of_a_card(card):
    state = card(
        nvmlDeviceGetTemperature=lambda handle, sensor: {("card 0", 0): 84}[handle, sensor],
        nvmlDeviceGetClockInfo=lambda handle, clock: {("card 0", 1): 1410}[handle, clock],
        nvmlDeviceGetPowerUsage=lambda _handle: 312_500,
        nvmlDeviceGetCurrentClocksEventReasons=lambda _handle: 0x40 | 0x8 | 0x1,
    )
    assert state == CardState(
        temperature_c=84, clock_mhz=1410, power_w=312.5, throttled="hardware slowdown, thermal slowdown (hardware)"
    )


def test_what_a_card_does_not_say_is_not_known(card):
    assert card() == CardState()


@pytest.mark.parametrize(
    "calls",
    [
        {"nvmlDeviceGetCurrentClocksThrottleReasons": lambda _handle: 0x4},
        {
            "nvmlDeviceGetCurrentClocksEventReasons": refuse,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda _handle: 0x4,
        },
    ],
)
def test_both_names_of_the_reasons_are_known(card, calls):
    assert card(**calls).throttled == "power cap"


@pytest.mark.parametrize(("reasons", "words"), [(0x1, ""), (0x2, ""), (0x3, ""), (0x9000, "reason 0x9000")])
def test_idle_and_set_clocks_are_no_throttling(card, reasons, words):
    assert card(nvmlDeviceGetCurrentClocksEventReasons=lambda _handle: reasons).throttled == words


def test_who_else_is_on_the_card():
    assert meter.foreign([], 7) == 0
    assert meter.foreign([7], 7) == 0
    assert meter.foreign([7, 8, 9, 9], 7) == 2
    assert meter.foreign([1207], 7) == 0  # a container: this process by another number
    assert meter.foreign([1207, 1208], 7) == 1
