"""Which devices torch renders on, of those that are asked for."""

import os
import sys
from types import SimpleNamespace

import pytest
import torch

from batch.base.errors import UserError
from batch.render import device
from batch.render.diffusers_backend import Diffusers
from batch.render.meter import Meter
from tests.fake_driver import FakeCard, driver, part
from tests.helpers import GIB

ONE, TWO, T4 = FakeCard("aa1"), FakeCard("ab2"), FakeCard("cc3", "T4", 15, 1000)


def properties(shown, at):
    card = shown[at if isinstance(at, int) else torch.device(at).index]
    return SimpleNamespace(name=card.name, total_memory=card.gib * GIB, uuid=card.uuid)


@pytest.fixture
def machine(monkeypatch):
    """A machine with these cards; torch sees the ones given, or all, in this order."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that it is put back: a worker sets it
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.setattr(torch.version, "cuda", "13.0")

    def put(*cards, sees=None):
        shown = cards if sees is None else sees
        monkeypatch.setitem(sys.modules, "pynvml", driver(*cards))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(shown))
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(shown))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda at: properties(shown, at))
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    put(ONE, T4, TWO)
    return put


@pytest.mark.parametrize("asked", [None, "all"])
def test_all_is_all_of_the_first_ones_kind_and_says_what_is_left_out(machine, asked):
    found = device.offer(asked)
    assert found.devices == ("cuda:0", "cuda:2")
    assert found.note == "left out: cuda:1 T4 15.0 GiB, unlike cuda:0 RTX 4090 24.0 GiB; --devices 1 renders on it"


def test_two_sizes_of_one_name_are_two_kinds(machine):
    machine(ONE, FakeCard("d1", gib=48), FakeCard("d2", gib=48))
    found = device.offer(None)
    assert found.devices == ("cuda:0",)
    assert "--devices 1,2 renders on them" in found.note


def test_alike_cards_leave_nothing_to_say(machine):
    machine(ONE, TWO)
    assert device.offer("all") == device.Offered(("cuda:0", "cuda:1"))
    assert device.offer("first") == device.Offered(("cuda:0",))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("1,0", ("cuda:1", "cuda:0")),  # unlike cards by name are fine
        ("cuda:2", ("cuda:2",)),
        ("GPU-ab,GPU-cc3", ("cuda:2", "cuda:1")),
        ("cpu,cpu", ("cpu", "cpu")),
        ("first", ("cuda:0",)),
    ],
)
def test_what_is_named(machine, asked, found):
    assert device.offer(asked) == device.Offered(found)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("0,3", "no such device; possible are 0, 1, 2, cpu"),
        ("GPU-dd", "no such device"),
        ("GPU-a", "the beginning of several UUIDs: cuda:0, cuda:2"),
        ("0,GPU-aa1", "cuda:0 is named twice"),
        ("mps", "no such device"),
        ("MIG-ee", "no such MIG instance"),
        ("MIG-ee,0", "are not mixed in one run"),
    ],
)
def test_what_is_not_there(machine, asked, why):
    with pytest.raises(UserError, match=why):
        device.offer(asked)


def test_numbers_are_those_of_what_is_visible(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1")
    machine(ONE, T4, TWO, sees=(TWO, T4))
    assert device.offer("GPU-cc3,0").devices == ("cuda:1", "cuda:0")
    with pytest.raises(UserError, match="CUDA_VISIBLE_DEVICES is '2,1', and what it shows is numbered from 0"):
        device.offer("2")


def test_a_mac_and_a_machine_without_a_card(machine, monkeypatch):
    machine()
    for asked in (None, "all", "first"):
        assert device.offer(asked).devices == ("cpu",)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for asked in (None, "all", "first", "mps"):
        assert device.offer(asked).devices == ("mps",)
    with pytest.raises(UserError, match="possible are cpu"):
        device.offer("0")


BIG, SMALL = part("f2", 40), part("e1")
A100 = FakeCard("c1", "A100", 80, instances=[SMALL, BIG])


def test_an_instance_is_all_that_its_worker_sees(machine):
    machine(A100, sees=(SMALL,))
    found = device.offer("MIG-f,MIG-e1")
    assert found.devices == ("cuda:MIG-f2", "cuda:MIG-e1")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-f2"  # the first one's worker is this process
    assert device.in_torch(found.devices[0]) == "cuda:0"


def test_another_worker_is_started_with_its_instance(machine, monkeypatch):
    machine(A100, sees=(SMALL,))
    assert device.offer("cuda:MIG-e1").devices == ("cuda:MIG-e1",)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-e1"
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(UserError, match="renders on something else already"):
        device.in_torch("cuda:MIG-f2")


def test_an_instance_that_torch_does_not_find(machine):
    machine(A100, sees=())
    with pytest.raises(UserError, match="torch finds no such MIG instance"):
        device.offer("MIG-e1")


def test_where_nothing_is_named_one_instance_renders_and_the_others_are_told(machine):
    machine(A100, sees=(SMALL,))
    found = device.offer(None)
    assert found.devices == ("cuda:0",)
    assert "one of 2 MIG instances" in found.note
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_all_is_what_a_scheduler_has_given(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-e1,MIG-e4")
    machine(FakeCard("c1", instances=[SMALL, part("e4"), BIG]), sees=(SMALL,))
    assert device.offer("all") == device.Offered(("cuda:MIG-e1", "cuda:MIG-e4"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-e1,MIG-f2")
    found = device.offer(None)
    assert found.devices == ("cuda:MIG-e1",)
    assert found.note == "left out: MIG-f2, unlike cuda:MIG-e1; --devices MIG-f2 renders there"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-e4")
    assert device.offer("first").devices == ("cuda:MIG-e4",)


def test_the_backend_calls_an_instance_what_torch_does(machine, monkeypatch):
    machine(A100, sees=(SMALL,))
    described = []
    monkeypatch.setattr(device, "describe", described.append)
    Diffusers().describe("cuda:MIG-e1")
    assert described == ["cuda:0"]


def test_of_two_alike_it_is_known_which_has_rendered(machine):
    machine(ONE, TWO)
    one, two = (device.describe(name) for name in device.offer("all").devices)
    assert (one.gpu, two.gpu) == (f"GPU-{ONE.uuid}", f"GPU-{TWO.uuid}")
    assert one != two and one.kind == two.kind
    assert device.describe("cpu").gpu == ""


def test_of_an_instance_it_is_that_ones_own(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", SMALL.full)
    machine(A100, sees=(FakeCard("c1"),))
    assert device.describe("cuda:0").gpu == SMALL.full


@pytest.mark.parametrize("told", ["c1", "e1", "f2"])
def test_an_instance_is_measured_whichever_uuid_torch_tells(machine, monkeypatch, told):
    wanted = SMALL if told == "e1" else BIG
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wanted.full[:-1] if told == "c1" else wanted.full)
    machine(A100, sees=(FakeCard(told),))
    monkeypatch.setattr(torch, "zeros", lambda *_arguments, **_named: None)
    for item in (A100, SMALL, BIG):
        monkeypatch.setattr(item, "running", {os.getpid(): item.gib})
    meter = Meter("cuda:0")
    assert meter.memory_source == "nvml-process"
    assert meter.on_device() == wanted.gib
    assert meter.energy() is None  # the whole card's would be others', too


def test_the_card_is_measured_that_torch_numbers_so(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    machine(ONE, T4, TWO, sees=(TWO, ONE))
    monkeypatch.setattr(torch, "zeros", lambda *_arguments, **_named: None)
    for item, size in ((ONE, 1), (T4, 2), (TWO, 3)):
        monkeypatch.setattr(item, "running", {os.getpid(): size})
    assert Meter("cuda:0").on_device() == 3
    assert Meter("cuda:1").on_device() == 1
