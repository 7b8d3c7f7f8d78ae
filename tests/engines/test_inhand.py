"""What a worker has in hand, and what its death makes of it: without a process."""

from dataclasses import replace

import pytest

from batch.engines.inhand import InHand
from batch.engines.patience import FIRST_S, LEAST_S, LISTEN_S, STOP_S, Silence
from batch.records.events import Beat
from batch.records.kinds import Stage, Status
from batch.records.receipts import Outcome
from batch.records.spec import RunSpec
from batch.records.tasks import EncodeTask, Task, Vae

TASKS = [
    Task(
        id=f"{seed}", model="x", dtype="float32", prompt="", seed=seed, width=512, height=512, rendered_width=512,
        rendered_height=512, steps=1, guidance=1.0,
    )
    for seed in range(3)
]  # fmt: skip


@pytest.fixture
def hand():
    return InHand(TASKS, RunSpec(root="", runner="", cache=""), {})


def given(hand):
    return hand.take(lambda _: True)[0].task.id


def test_a_death_over_two_images_renders_both_alone(hand):
    assert [given(hand), given(hand)] == ["0", "1"]
    assert hand.images == ["0", "1"]
    assert hand.suspect.task.id == "1"  # what is rendered, not what is being saved
    assert hand.blame(hand.suspect, None) is None
    hand.again(alone=True)
    assert not hand.busy
    first, images = hand.take(lambda _: True)
    assert (first.task.id, first.alone, images) == ("0", True, 1)
    assert hand.blame(first, Stage.DECODE) == 1
    hand.again(alone=True)
    again, _ = hand.take(lambda _: True)
    assert (again.task.id, again.step_down) == ("0", Stage.DECODE)
    assert hand.blame(again, None) == 2
    hand.done(Outcome(key="0", status=Status.DONE))
    assert [given(hand), given(hand), hand.head()] == ["1", "2", None]


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


def test_of_another_size_the_image_before_tells_nothing():
    large = replace(TASKS[1], rendered_width=4096, rendered_height=4096)
    hand = InHand([TASKS[0], large], RunSpec(root="", runner="", cache=""), {})
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


def test_a_load_is_that_of_a_model_with_its_autoencoder():
    pale = Vae(path="pale.safetensors", sha256="0" * 64)
    text = EncodeTask(key="text", model="x", dtype="float32", text="", negative=False)
    own, other = TASKS[0], replace(TASKS[1], vae=pale)
    hand = InHand([text, own, other, replace(TASKS[2], model="y")], RunSpec(root="", runner="", cache=""), {})
    hand.take(lambda _: True)
    assert not hand.is_all(own)
    assert hand.leave(own) == [own]
    assert hand.leave(text) == [text, other]
    assert not hand.busy
    assert (hand.head().model, hand.is_all(hand.head())) == ("y", True)
