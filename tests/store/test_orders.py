"""Orders for a run: whole files for one holder of the lock, taken in turn."""

import json
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
    assert taken[0].by.startswith("process ")
    assert inbox.take() == []


def test_what_is_for_others_or_no_order_is_swept(state):
    orders.give(state, OrderKind.STOP, "of an earlier run")
    folder = state / "orders"
    for number, text in enumerate(["", "[]", "{", '{"order": "fly", "token": "mine", "by": "me"}', "\x00"]):
        (folder / f"{number:020d}-00000000.json").write_text(text)
    assert Inbox(state, "mine").take() == []
    assert list(folder.iterdir()) == []


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
