"""Orders for a run: whole files for one holder of the lock, taken in turn."""

import json
import platform
import sys

import pytest

from batch.store import orders
from batch.store.orders import AnswerState, Inbox, OrderKind


@pytest.fixture
def state(tmp_path):
    return tmp_path / "run" / ".run"


def test_orders_are_taken_in_turn_and_once(state):
    for kind in (OrderKind.PAUSE, OrderKind.RESUME, OrderKind.STOP):
        orders.give(state, kind, "mine")
    inbox = Inbox(state, "mine")
    taken = inbox.take()
    assert [order.kind for order in taken] == ["pause", "resume", "stop"]
    assert taken[0].by == f"`stop` on {platform.node()}"
    assert len(list((state / "orders").iterdir())) == 3, "who gave one may look for the answer only then"
    inbox.done()
    assert (inbox.take(), list((state / "orders").iterdir())) == ([], [])


def test_whoever_gave_an_order_has_a_short_name(state):
    path = orders.give(state, OrderKind.STOP, "mine")
    path.write_text(json.dumps({"order": "stop", "token": "mine", "by": "the\nnight " * 400}))
    (order,) = Inbox(state, "mine").take()
    assert order.by.startswith("the\\u000anight the") and order.by.endswith("…")
    assert len(order.by) == orders.LETTERS


def test_what_is_for_others_or_no_order_is_swept(state):
    orders.give(state, OrderKind.STOP, "of an earlier run")
    folder = state / "orders"
    for number, text in enumerate(["", "[]", "{", '{"order": "fly", "token": "mine", "by": "me"}', "\x00"]):
        (folder / f"{number:020d}-00000000.json").write_text(text)
    (folder / f"{9:020d}-00000000.json").write_text("[" * 100_000)
    inbox = Inbox(state, "mine")
    assert inbox.take() == []
    inbox.done()
    assert list(folder.iterdir()) == []


def test_what_cannot_be_removed_blocks_no_order(state):
    """However much of it there is; at the end what is empty goes, and the rest stays."""
    folder = state / "orders"
    for number in range(orders.MOST + 1):
        (folder / f"{number:020d}-00000000.json" / "kept").mkdir(parents=True)
    (folder / f"{number + 1:020d}-00000000.json").mkdir()
    inbox = Inbox(state, "mine")
    orders.give(state, OrderKind.STOP, "mine")
    taken = []
    for _ in range(3):
        taken += inbox.take()
        inbox.done()
    assert [order.kind for order in taken] == ["stop"]
    orders.give(state, OrderKind.STOP, "mine")
    orders.clear(state)
    assert len(list(folder.iterdir())) == orders.MOST + 1


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_an_order_that_is_a_link_is_none(state, tmp_path):
    orders.give(tmp_path, OrderKind.DROP, "mine").rename(tmp_path / "order.json")
    folder = state / "orders"
    folder.mkdir(parents=True)
    link = folder / f"{0:020d}-00000000.json"
    link.symlink_to(tmp_path / "order.json")
    (folder / "answer.json").symlink_to(tmp_path / "order.json")
    inbox = Inbox(state, "mine")
    assert inbox.take() == []
    inbox.done()
    assert orders.answered(state, "mine") is None
    assert not link.is_symlink()
    assert (tmp_path / "order.json").exists()


def test_an_answer_is_for_those_who_ask_this_run(state):
    assert orders.answered(state, "mine") is None
    Inbox(state, "mine").answer(AnswerState.PAUSED, "it rests")
    assert orders.answered(state, "mine")["text"] == "it rests"
    assert orders.answered(state, "another") is None
    orders.clear(state)
    assert not (state / "orders").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_nothing_is_taken_or_removed_through_a_link(state, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    kept = [outside / f"{0:020d}-00000000.json", outside / "answer.json"]
    for path in kept:
        path.write_text(json.dumps({"order": "stop", "token": "mine", "by": "me"}))
    state.mkdir(parents=True)
    (state / "orders").symlink_to(outside)
    inbox = Inbox(state, "mine")
    assert inbox.take() == []
    inbox.answer(AnswerState.RUNNING, "never")
    orders.clear(state)
    assert sorted(outside.iterdir()) == sorted(kept)
    assert "stop" in kept[1].read_text()
