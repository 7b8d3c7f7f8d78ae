"""What a stop has to wait for, where several images are at work at once."""

import pytest

from batch.records.events import Beat, Closed, Crew, Encoded, Expected, Loading
from batch.records.kinds import HappeningKind, Stage
from batch.records.receipts import Outcome
from batch.run.at_work import AtWork
from tests.helpers import happen
from tests.known_seats import seats
from tests.run.test_steering import Run


class Told:
    """What is at work at three seats, by a clock that only the test moves."""

    def __init__(self, *events):
        self.now = 100.0
        self.at = AtWork(lambda: self.now)
        self.tell(Crew(seats("fast", "fast", "fast")), *events)

    def tell(self, *events):
        for event in events:
            self.at.on(event)


def beat(seat, name, part=1, parts=10, stage=Stage.DENOISE):
    return Beat(name, stage, part, parts, (name,), seat)


def test_it_waits_for_the_slowest():
    told = Told(beat(0, "a"), beat(1, "b"), Expected(seconds=900, image_s=20.0, images_s={0: 20.0, 1: 60.0}))
    told.now = 110.0
    assert told.at.left_s == 50.0
    assert told.at.name == "a and b"
    assert told.at.until_a_pause == "a and b are finished, in about 50s"
    told.tell(beat(2, "c"))
    assert told.at.name == "a, b and 1 more"


def test_by_steps_where_nothing_else_tells():
    told = Told(beat(0, "a"), beat(1, "b"))
    told.now = 110.0
    told.tell(beat(0, "a", 5))
    assert told.at.left_s is None  # of b nothing is known
    told.now = 140.0
    told.tell(beat(1, "b", 5))
    assert told.at.left_s == pytest.approx(5 * 40 / 4)


def test_a_seat_that_has_no_more_to_do_is_waited_for_no_longer():
    told = Told(beat(0, "a"), beat(1, "b"), Outcome(key="a", status="done"))
    assert told.at.name == "b"
    told.tell(Outcome(key="of another time", status="done"))
    assert told.at.name == "b"


def test_one_seat_may_load_while_another_renders():
    told = Told(beat(0, "a"), beat(1, "b"), beat(1, "c", stage=Stage.LOAD), Loading(4), Encoded(1, 4))
    assert told.at.name == "a"
    told.tell(happen("it died", HappeningKind.WORKER_DIED, seat=0), beat(1, "a text", stage=Stage.ENCODE))
    assert (told.at.name, told.at.until_a_pause) == ("", "the text at work is encoded")


def test_a_seat_that_left_is_not_waited_for():
    told = Told(beat(0, "a"), beat(1, "b"))
    told.tell(Crew(seats("fast")))
    assert told.at.name == "a"
    told.tell(Closed())
    assert told.at.name == ""


def test_a_stop_names_those_it_waits_for():
    several = Expected(seconds=600.0, image_s=10.0, images_s={0: 10.0, 1: 40.0})
    run = Run().on(Crew(seats("fast", "fast")), beat(0, "a"), beat(1, "b"), several)
    said = run.interrupted()
    assert said == "stopping: a and b are finished first, in about 40s (again: they are dropped)"
    run.on(Outcome(key="b", status="done"))
    assert not run.steering.is_set()  # the other one is still at work
    run.on(Outcome(key="a", status="done"))
    assert run.steering.is_set()
