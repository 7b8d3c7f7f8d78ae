"""Which cards will render, told without torch."""

import sys

import pytest

from batch.base import hardware, nvml
from tests.fake_driver import FakeCard, driver, part
from tests.helpers import GIB

SLOW, FAST, OTHER = FakeCard("aa1", "T4", 15, 1000), FakeCard("ab2", gib=24), FakeCard("ab3", gib=24)


@pytest.fixture
def cards(monkeypatch):
    """These in the machine, in the order of the bus."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)

    def put(*found):
        monkeypatch.setitem(sys.modules, "pynvml", driver(*found))

    put(SLOW, FAST, OTHER)
    return put


def uuids(found):
    return [card.uuid.removeprefix("GPU-").removeprefix("MIG-") for card in found]


def test_cuda_counts_the_fastest_first(cards, monkeypatch):
    assert uuids(hardware.seen()) == ["ab2", "ab3", "aa1"]
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert uuids(hardware.seen()) == ["aa1", "ab2", "ab3"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (None, ()),
        ("0,2", ()),
        ("1,3", ("cuda:3",)),
        ("GPU-ab2,GPU-c", ("GPU-c",)),
        ("cpu,cpu", ()),
        ("mps", ("mps",)),
    ],
)
def test_what_is_named_and_not_there(cards, monkeypatch, asked, found):
    monkeypatch.setattr(sys, "platform", "linux")
    assert hardware.absent(asked) == found


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        ("1,0", ["ab2", "aa1"]),
        (" 2 , 1", ["ab3", "ab2"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["aa1"]),
        ("0,9,1", ["aa1"]),
        ("1,1", []),
        ("NoDevFiles", []),
        ("GPU-ab3,GPU-aa", ["ab3", "aa1"]),
        ("GPU-a", []),
        ("GPU-ab3,GPU-ab3", []),
    ],
)
def test_what_is_visible_is_numbered_from_0(cards, monkeypatch, visible, found):
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert uuids(hardware.seen()) == found
    assert hardware.kind(None) == ("cuda" if found else "cpu")


def test_all_is_all_of_the_first_ones_kind(cards, monkeypatch):
    for asked in (None, "all"):
        assert uuids(hardware.rendering(asked)) == ["ab2", "ab3"]
        assert len(hardware.each(asked)) == 2
    assert uuids(hardware.rendering("first")) == ["ab2"]
    assert len(hardware.each("first")) == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert uuids(hardware.rendering(None)) == ["aa1"]


def test_the_smallest_that_renders_decides(cards):
    found = hardware.look(None)
    assert (found.card, found.memory, found.device) == (True, 24 * GIB, "RTX 4090")
    found = hardware.look("2,1")
    assert (found.card, found.memory, found.device) == (True, 15 * GIB, "")
    found = hardware.look("GPU-aa")
    assert (found.memory, found.device) == (15 * GIB, "T4")
    found = hardware.look("cpu,cpu")
    assert (found.card, found.memory, found.device) == (False, None, hardware.processor())


def test_how_many_will_render(cards):
    assert [len(hardware.each(asked)) for asked in ("cpu,cpu,cpu", "0,2", "1", "cpu")] == [3, 2, 1, 1]
    cards()
    assert [len(hardware.each(asked)) for asked in (None, "all", "first")] == [1, 1, 1]


def test_the_kind_of_device(cards, monkeypatch):
    assert [hardware.kind(asked) for asked in ("cpu,cpu", "mps", "0,1", "all")] == ["cpu", "mps", "cuda", "cuda"]
    cards()  # a driver that NVML knows nothing of, as AMD's
    assert hardware.kind("0") == "cuda"
    monkeypatch.setattr(sys, "platform", "linux")
    assert hardware.kind(None) == "cpu"


def test_a_process_sees_one_instance_and_nothing_beside_it(cards, monkeypatch):
    small, large = part("e1"), part("f2", 40)
    cards(FAST, FakeCard("c1", "A100", 80, instances=[small, large]))
    assert uuids(hardware.seen()) == ["e1"]
    assert hardware.look(None).memory == 10 * GIB
    assert hardware.look(None).device == "A100 MIG 1g.10gb"
    assert uuids(hardware.rendering("MIG-f")) == ["f2"]
    assert len(hardware.each("MIG-e1,MIG-f2")) == 2
    assert hardware.look("MIG-e1,MIG-f2").memory == 10 * GIB
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-f2,MIG-e1")
    assert uuids(hardware.seen()) == ["f2", "e1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-ab2")
    assert uuids(hardware.seen()) == ["ab2"]


def test_a_card_in_mig_mode_renders_nothing_itself(cards):
    cards(FakeCard("c1", "A100", 80, instances=[]), SLOW)
    assert uuids(hardware.seen()) == ["aa1"]


def test_a_card_says_its_instances(cards):
    cards(FakeCard("c1", "A100", 80, instances=[part("e1")]), FAST)
    first, second = nvml.cards()
    assert first.instances is not None
    assert [item.uuid for item in first.instances] == ["MIG-e1"]
    assert second.instances is None


def test_what_a_process_holds_of_an_instance(cards):
    cards(FakeCard("c1", instances=[part("e1", running={7: GIB}), part("e2", running={7: 2 * GIB})]), FAST)
    assert nvml.held_by(7) == 3 * GIB
    # The card itself tells the sum to who may know it: it is not counted twice.
    cards(FakeCard("c1", running={7: 3 * GIB}, instances=[part("e1", running={7: 3 * GIB})]), FAST)
    assert nvml.held_by(7) == 3 * GIB
