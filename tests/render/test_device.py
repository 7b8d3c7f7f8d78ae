"""The card that is named is the one in use, and what is kept of its and the host's memory is given back."""

from types import SimpleNamespace

import pytest
import torch

from batch.manifest.values import Size
from batch.memory.profiles import resolve
from batch.records.spec import ModelSource
from batch.records.tasks import Task
from batch.render import cap, device
from batch.render.session import DiffusersSession
from tests.conftest import DEMO


@pytest.fixture
def cards(monkeypatch):
    """Two cards; the list keeps which was made the current one."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: SimpleNamespace(name="", total_memory=0, uuid="")
    )
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


def test_the_session_makes_the_card_of_devices_the_current_one(cards):
    DiffusersSession(
        ModelSource(name="x", family="sana", location=str(DEMO)), "float32", device.offer("1").devices[0]
    )
    assert cards == ["cuda:1"]


def test_a_limit_looks_at_the_card_before_it_makes_it_the_current_one(cards, monkeypatch):
    """Since CUDA 12 that takes memory already, which would be counted as another program's."""
    chosen, current = device.offer("1").devices[0], []

    def works(_device):
        raise RuntimeError(f"works on {cards[-1]}")

    monkeypatch.setattr(cap, "Meter", lambda _device: current.append(tuple(cards)))
    monkeypatch.setattr(torch.cuda, "get_device_properties", works)
    with pytest.raises(RuntimeError, match="works on cuda:1"):
        cap.cap(chosen, 2**33)
    assert current == [()]


def test_without_a_card_none_is_chosen(cards):
    DiffusersSession(ModelSource(name="x", family="sana", location=str(DEMO)), "float32", "cpu")
    assert cards == []


@pytest.mark.parametrize("since_2_12", [True, False])
def test_page_locked_memory_is_given_back_too(monkeypatch, since_2_12):
    emptied = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append("card"))
    if since_2_12:
        monkeypatch.setattr(torch.accelerator, "empty_host_cache", lambda: emptied.append("host"), raising=False)
    else:
        monkeypatch.delattr(torch.accelerator, "empty_host_cache", raising=False)
        monkeypatch.setattr(torch._C, "_host_emptyCache", lambda: emptied.append("host"), raising=False)
    device.give_back("cpu")
    assert emptied == []
    device.give_back("cuda:1")
    assert emptied == ["card", "host"]


def test_a_session_gives_it_back_when_it_moves_no_more_groups(monkeypatch):
    given = []
    session = DiffusersSession(ModelSource(name="x", family="sana", location=str(DEMO)), "float32", "cpu")
    task = Task(
        model="x", dtype="float32", prompt="", seed=0, width=512, height=512, rendered_width=512,
        rendered_height=512, steps=1, guidance=1.0,
    )  # fmt: skip
    session.prepare("images", task)
    monkeypatch.setattr(device, "give_back", given.append)
    groups, waiting = (
        resolve(f"group_offload(block, 1{more})", Size(512, 512)) for more in ("", ", stream=false")
    )
    for steps, counted in ((groups, 0), (waiting, 1), ((), 1)):
        session._loaded.set_up("denoise", task, steps)
        assert len(given) == counted


def test_a_session_gives_it_back_when_it_drops_a_model(monkeypatch):
    given = []
    monkeypatch.setattr(device, "give_back", given.append)
    session = DiffusersSession(ModelSource(name="x", family="sana", location=str(DEMO)), "float32", "cpu")
    session._shelf.at_work = object()
    session.close()
    assert given == ["cpu"]
