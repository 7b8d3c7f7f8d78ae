"""Who does what, and what a death makes of it: without a process."""

from dataclasses import replace

import pytest

from batch.engines.agenda import Agenda, is_all
from batch.engines.inhand import InHand
from batch.engines.patience import FIRST_S, LEAST_S, LISTEN_S, STOP_S, Silence
from batch.records.events import Beat
from batch.records.kinds import Stage, Status
from batch.records.receipts import Measurement, Outcome, StagePeak
from batch.records.spec import ModelSource, RunSpec
from batch.records.tasks import EncodeTask, Task, Vae
from tests.small_receipts import a_receipt

SPEC = RunSpec(
    root="", runner="", cache="", device="cpu",
    models={name: ModelSource(name=name, family="sana", location="") for name in "xyz"},
)  # fmt: skip


def image(number, model="x", **changes):
    given = {
        "dtype": "float32", "prompt": f"text {number}", "seed": number, "width": 512, "height": 512,
        "rendered_width": 512, "rendered_height": 512, "steps": 1, "guidance": 1.0,
    }  # fmt: skip
    return Task(id=f"{model}{number}", model=model, **{**given, **changes})


def images(count, model="x"):
    return [image(number, model) for number in range(count)]


def taken(agenda, desk, **more):
    """What a seat takes next; None where there is nothing for it."""
    head = agenda.head(desk, **more)
    if head is None:
        return None
    first = agenda.take(desk, head, lambda _: True)[0]
    return first.task.id if isinstance(first.task, Task) else first.task.key


def seats(agenda, count):
    return [agenda.sit(number) for number in range(count)]


def test_one_seat_takes_all_in_order():
    agenda = Agenda([*images(2), *images(2, "y")], SPEC, {})
    (desk,) = seats(agenda, 1)
    assert [taken(agenda, desk) for _ in range(5)] == ["x0", "x1", "y0", "y1", None]


def test_each_seat_stays_with_the_model_that_it_has_loaded():
    agenda = Agenda([*images(3), *images(3, "y")], SPEC, {})
    first, second = seats(agenda, 2)
    order = [taken(agenda, desk) for desk in (first, second, first, second, second, first)]
    assert order == ["x0", "y0", "x1", "y1", "y2", "x2"]


def test_a_seat_without_work_joins_another_model_where_that_pays():
    agenda = Agenda([*images(1), *images(9, "y")], SPEC, {})
    first, second = seats(agenda, 2)
    assert (taken(agenda, first), taken(agenda, second)) == ("x0", "y0")
    slow = Measurement(load_s=60.0, denoise=StagePeak(seconds=1.0))
    warm = Measurement(denoise=StagePeak(seconds=2.0))
    for measurement in (slow, warm):
        receipt = replace(a_receipt(image(0, "y")), task=image(0, "y"), measurement=measurement)
        agenda.done(Outcome(key="y0", status=Status.DONE, receipt=receipt))
    assert taken(agenda, first) is None  # 62 s, and the other needs 16 for all that is left
    assert taken(agenda, first, alone=True) == "y1"


def test_no_image_is_given_out_while_its_text_is_encoded_elsewhere():
    tasks = images(3)
    asked = []

    def texts(waiting):
        if asked:
            return ()
        found = [
            EncodeTask(key=f"text of {task.id}", model="x", dtype="float32", text="", negative=False)
            for task in waiting
        ]
        asked.extend(found)
        return found

    agenda = Agenda(tasks, SPEC, {}, texts)
    agenda._is_ready = lambda task: isinstance(task, EncodeTask) or f"text of {task.id}" not in agenda._encoding
    first, second = seats(agenda, 2)
    assert [taken(agenda, desk) for desk in (first, second, first)] == ["text of x0", "text of x1", "text of x2"]
    before = agenda.changes
    assert (taken(agenda, second), taken(agenda, first)) == (None, None)
    agenda.done(Outcome(key="text of x1", status=Status.DONE))
    assert agenda.changes > before
    assert taken(agenda, second) == "x1"
    assert taken(agenda, first) is None


def test_what_a_worker_died_over_is_tried_elsewhere_first():
    agenda = Agenda(images(2), SPEC, {})
    first, second = seats(agenda, 2)
    item = agenda.take(first, agenda.head(first), lambda _: True)[0]
    agenda.again([replace(item, alone=True, died_at=frozenset({0}))])
    assert taken(agenda, first) == "x1"
    assert taken(agenda, second) == "x0"
    agenda.again([replace(item, alone=True, died_at=frozenset({0, 1}))])
    assert taken(agenda, first) == "x0"
    agenda.again([replace(item, alone=True, died_at=frozenset({0}))])
    agenda.rise(second)
    assert taken(agenda, first) == "x0"  # there is nowhere else


def test_a_load_is_that_of_a_model_with_its_autoencoder():
    pale = Vae(path="pale.safetensors", sha256="0" * 64)
    text = EncodeTask(key="text", model="x", dtype="float32", text="", negative=False)
    own, other = image(0), image(1, vae=pale)
    agenda = Agenda([text, own, other, image(2, "y")], SPEC, {})
    assert not is_all(agenda.waiting(), own)
    assert agenda.leave(own) == [own]
    assert agenda.leave(text) == [text, other]
    (desk,) = seats(agenda, 1)
    head = agenda.head(desk).task
    assert (head.model, is_all(agenda.waiting(), head)) == ("y", True)


def test_what_one_seat_cannot_load_is_left_to_the_others():
    agenda = Agenda([*images(2), *images(1, "y")], SPEC, {})
    first, second = seats(agenda, 2)
    first.refused.append(image(0))
    assert taken(agenda, first) == "y0"
    assert taken(agenda, first) is None
    assert not agenda.nobody_can(image(0))
    second.refused.append(image(0))
    assert agenda.nobody_can(image(0))
    agenda.rise(second)
    assert taken(agenda, first) == "x0"  # once more, before it is given up


# What a worker has in hand


@pytest.fixture
def hand():
    made = InHand()
    made.agenda = Agenda(images(3), SPEC, {})
    made.desk = made.agenda.sit(0)
    return made


def given(hand):
    return hand.give(hand.agenda.take(hand.desk, hand.agenda.head(hand.desk), lambda _: True), alone=False)


def test_a_death_over_two_images_blames_none(hand):
    assert [given(hand).task.id, given(hand).task.id] == ["x0", "x1"]
    assert hand.images == ["x0", "x1"]
    assert hand.suspect.task.id == "x1"  # what is rendered, not what is being saved
    assert not hand.change(hand.suspect)
    hand.agenda.again(replace(item, alone=True) for item in hand.drop())
    assert not hand.busy
    first = given(hand)
    assert (first.task.id, first.alone) == ("x0", True)
    assert hand.change(replace(first, step_down=Stage.DECODE))
    hand.agenda.again(hand.drop())
    again = given(hand)
    assert (again.task.id, again.step_down) == ("x0", Stage.DECODE)
    hand.done("x0")
    assert [given(hand).task.id, given(hand).task.id, hand.agenda.head(hand.desk)] == ["x1", "x2", None]


def test_a_silence_is_long_by_what_the_worker_is_at(hand):
    silence = Silence(hand, None)
    given(hand)
    silence.listened(10 * FIRST_S)  # asleep with its worker: one look counts as no more than that
    assert silence.seconds == LISTEN_S
    silence.at(Beat("", Stage.DENOISE))
    silence.heard()
    silence.at(Beat("", Stage.SAVE))  # goes on beside the next image
    assert silence.stage == Stage.DENOISE
    silence.at(Beat("", Stage.DENOISE))
    silence.seconds = LEAST_S + 1
    assert silence.too_long(stopping=False)
    silence.slower()  # a rung down, nothing is known of it
    assert not silence.too_long(stopping=False)
    silence.seconds = STOP_S + 1
    assert silence.too_long(stopping=True)


def test_of_another_size_the_image_before_tells_nothing(hand):
    hand.agenda = Agenda([image(0), image(1, rendered_width=4096, rendered_height=4096)], SPEC, {})
    hand.desk = hand.agenda.sit(0)
    silence = Silence(hand, None)
    given(hand)
    silence.at(Beat("", Stage.DECODE))
    silence.heard()
    hand.rendered()
    given(hand)
    silence.heard()  # its first sign of life, after the decoding of the one before
    silence.at(Beat("", Stage.DENOISE))
    silence.heard()
    silence.at(Beat("", Stage.DECODE))
    silence.seconds = LEAST_S + 1
    assert not silence.too_long(stopping=False)
