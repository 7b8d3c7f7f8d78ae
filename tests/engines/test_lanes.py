"""Several seats: who leaves, who goes on, and what becomes of the tasks. Workers are scripted, in this process."""

import time
from collections import Counter, deque

import pytest

from batch.base.errors import (
    BatchError,
    CannotGoOn,
    DiskFull,
    LimitReached,
    LoadFailed,
    NeverLoads,
    StoppedEarly,
    UserError,
)
from batch.engines.base import Helm, admit_all, no_texts
from batch.engines.death import Death
from batch.engines.lane import DEATHS
from batch.engines.messages import Assignment, Begin, Drain, Ended, Idle, Ready
from batch.engines.supervision import Supervision
from batch.records.events import Beat, Crew, Happening, Seat
from batch.records.kinds import HappeningKind, Stage, Status
from batch.records.receipts import Outcome
from batch.records.spec import RunSpec
from tests.engines.test_agenda import images


class Dead(Exception):  # noqa: N818
    """A worker dies."""


class Line:
    """A worker that answers at once; ``render`` raises what it ends with, or :class:`Dead`."""

    def __init__(self, seat, render, ready=None):
        self._seat, self._render = seat, render
        self._said = deque([ready] if ready else [])
        self.is_dead = False

    @property
    def speaks(self):
        return bool(self._said) or self.is_dead

    def send(self, message):
        if isinstance(message, Begin | Drain):
            self._said.append(Idle())
        elif isinstance(message, Assignment):
            self._said.append(Beat(message.task.name, Stage.LOAD))
            try:
                self._render(self._seat, message.task)
            except Dead:
                self._said.append(Beat(message.task.name, Stage.DENOISE))
                self.is_dead = True
            except BatchError as error:
                self._said.append(Ended(error))
            else:
                done = [
                    Beat(message.task.name, Stage.DENOISE),
                    Outcome(key=message.task.id, status=Status.DONE),
                    Idle(),
                ]
                self._said.extend(done)

    def receive(self):
        if self._said:
            return self._said.popleft()
        if self.is_dead:
            raise EOFError
        return None

    def stacks(self):
        return ""

    def kill(self):
        self._said.clear()
        self.is_dead = True

    def death(self):
        self.is_dead = False
        return Death("it died", "")

    def close(self):
        pass


class Post:
    def __init__(self, number, render, renewed):
        self.seat = Seat(number=number, device="cpu", label=f"cpu {number + 1}")
        self._render, self._renewed = render, renewed
        self.line = Line(number, render)
        self.closed = 0

    def begin(self, spec):
        self.line.send(Begin(spec))

    def renew(self):
        answer = self._renewed(self.seat.number)
        said = Ended(answer) if isinstance(answer, Exception) else Ready("cpu")
        self.line = Line(self.seat.number, self._render, said)

    def close(self):
        self.closed += 1


class Posts:
    def __init__(self, count, render, renewed, joining=()):
        self.posts = [Post(number, render, renewed) for number in range(count)]
        self._joining = deque(Post(number, render, renewed) for number in joining)

    def __iter__(self):
        return iter(list(self.posts))

    def listen(self, _seconds):
        return [post.seat.number for post in self.posts if post.line.speaks]

    def joined(self):
        found = list(self._joining)
        self._joining.clear()
        self.posts += found
        return found

    def leave(self, place):
        self.posts.remove(place)


class Night:
    def __init__(self, work):
        self.events, self.done, self.failed, self.by = [], [], {}, Counter()
        self._work = work
        self.posts = None

    def on(self, event):
        self.events.append(event)

    def kinds(self, *kinds):
        return [item.text for item in self.events if isinstance(item, Happening) and item.kind in kinds]

    @property
    def crews(self):
        return [[seat.number for seat in item.seats] for item in self.events if isinstance(item, Crew)]

    def run(
        self, tasks, render=lambda *_: None, *, count=2, renewed=lambda _: None, joining=(), admit=admit_all,
        stop=None, recycle=0,
    ):  # fmt: skip
        def counted(seat, task):
            render(seat, task)
            self.by[seat] += 1

        spec = RunSpec(root=str(self._work / "run"), runner="me", cache="", device="cpu", recycle_after=recycle)
        self.posts = Posts(count, counted, renewed, joining)
        made = Supervision(
            self.posts, tasks, spec, self, stop=stop or Helm(), admit=admit, check=admit_all, texts=no_texts
        )
        for outcome in made.run():
            if outcome.status == Status.DONE:
                self.done.append(outcome.key)
            else:
                self.failed[outcome.key] = outcome.error
        return self


@pytest.fixture
def night(work):
    return Night(work)


def ids(tasks):
    return sorted(task.id for task in tasks)


def test_all_seats_share_the_work(night):
    tasks = images(9)
    night.run(tasks, count=3)
    assert sorted(night.done) == ids(tasks)
    assert night.by == {0: 3, 1: 3, 2: 3}


def test_who_is_done_is_given_the_next_before_others_that_are_done_are_heard(night):
    course = []

    def render(seat, _task):
        course.append((seat, len(night.done)))

    night.run(images(6), render, count=3)
    assert course == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 2), (2, 3)]


def test_a_device_whose_workers_die_again_and_again_leaves_and_loses_nothing(night):
    def render(seat, _task):
        if seat == 1:
            raise Dead

    tasks = images(12)
    night.run(tasks, render)
    assert sorted(night.done) == ids(tasks)
    assert not night.failed
    assert len(night.kinds(HappeningKind.WORKER_DIED)) == DEATHS
    (left,) = night.kinds(HappeningKind.SEAT_LEFT)
    assert left == f"cpu 2 is lost: {DEATHS} workers died there one after the other: it died; cpu 1 goes on"
    assert night.crews == [[0]]


def test_a_poison_image_dies_at_several_seats_and_is_left_and_no_seat_leaves(night):
    def render(_seat, task):
        if task.id == "x0":
            raise Dead

    tasks = images(12)
    night.run(tasks, render, count=3)
    assert sorted(night.done) == ids(tasks[1:])
    assert list(night.failed) == ["x0"]
    assert not night.kinds(HappeningKind.SEAT_LEFT)
    assert not night.crews


def test_a_lost_device_leaves_and_the_run_ends_only_with_the_last(night):
    lost = set()

    def render(seat, task):
        if task.id in ("x3", "x6") and task.id not in lost:
            lost.add(task.id)
            raise Dead

    tasks = images(12)
    gone = UserError("there is no such device")
    with pytest.raises(StoppedEarly, match="the device cpu is gone: there is no such device"):
        night.run(tasks, render, renewed=lambda _: gone)
    assert len(night.kinds(HappeningKind.SEAT_LEFT)) == 1
    assert not night.failed
    assert 6 <= len(night.done) < 12


def test_a_seat_that_joins_gets_work(night):
    def render(_seat, _task):
        if not night.crews:  # it is looked for now and then
            time.sleep(0.01)

    tasks = images(400)
    night.run(tasks, render, count=1, joining=[5])
    assert sorted(night.done) == ids(tasks)
    assert night.by[5] > 0
    assert night.crews == [[0, 5]]


def test_what_one_seat_cannot_load_the_other_renders(night):
    def render(seat, task):
        if seat == 1 and task.model == "y":
            raise LoadFailed("y does not fit")

    tasks = [*images(3), *images(3, "y")]
    night.run(tasks, render)
    assert sorted(night.done) == ids(tasks)
    assert not night.failed


def test_a_model_that_nobody_can_load_fails_and_the_others_are_rendered(night):
    def render(_seat, task):
        if task.model == "y":
            raise NeverLoads("y is broken")

    tasks = [*images(3, "y"), *images(3), *images(30, "z")]
    night.run(tasks, render)
    assert sorted(night.done) == ids(tasks[3:])
    assert sorted(night.failed) == ids(tasks[:3])


@pytest.mark.parametrize("kind", [LoadFailed, NeverLoads])
def test_nothing_can_be_loaded_anywhere(night, kind):
    def render(_seat, _task):
        raise kind("it is broken")

    with pytest.raises(CannotGoOn, match="it is broken"):
        night.run(images(5), render)
    assert not night.done


def test_what_ends_the_run_at_one_seat_lets_the_others_finish(night):
    def render(seat, task):
        if task.id == "x4":
            raise DiskFull("the disk is full")

    with pytest.raises(DiskFull):
        night.run(images(40), render, count=3)
    assert "x4" not in night.done
    assert len(night.done) < 10


def test_a_limit_at_one_seat_says_nothing_of_the_others(night):
    def admit(_task, seat):
        if seat == 0:
            raise LimitReached("too late for this one", "")

    tasks = images(5)
    night.run(tasks, admit=admit)
    assert (night.by, sorted(night.done)) == ({1: 5}, ids(tasks))
    with pytest.raises(LimitReached):
        night.run(images(5), count=1, admit=admit)


def test_an_image_that_came_back_is_within_the_number_that_may_be_started(night, monkeypatch):
    started = set()

    def admit(task, _seat):
        if task.id not in started and len(started) == 2:
            raise LimitReached("--max-images 2 is reached", "")
        started.add(task.id)

    def render(seat, _task):
        if seat == 1:
            raise Dead

    def listen(posts, _seconds):
        """The first seat is full before the second one's worker dies."""
        speaking = [post for post in posts.posts if post.line.speaks]
        return [post.seat.number for post in speaking if len(speaking) == 1 or not post.line.is_dead]

    monkeypatch.setattr(Posts, "listen", listen)
    with pytest.raises(LimitReached):
        night.run(images(5), render, admit=admit, renewed=lambda _: UserError("it is gone"))
    assert sorted(night.done) == sorted(started)
    assert night.by == {0: 2}


def test_each_seat_gets_its_fresh_worker(night):
    tasks = images(8)
    night.run(tasks, recycle=2)
    assert sorted(night.done) == ids(tasks)
    assert len(night.kinds(HappeningKind.RECYCLED)) == 2


class Pausing(Helm):
    """Pauses after so many images, and at once goes on."""

    def __init__(self, night, after):
        super().__init__()
        self._night, self._after = night, after
        self.rests = []

    @property
    def pausing(self):
        return not self.rests and len(self._night.done) >= self._after

    def rest(self, _listener):
        self.rests.append([post.closed for post in self._night.posts])


def test_in_a_pause_every_device_is_given_back(night):
    tasks = images(12)
    stop = Pausing(night, 4)
    night.run(tasks, count=3, stop=stop)
    assert stop.rests == [[1, 1, 1]]
    assert sorted(night.done) == ids(tasks)
