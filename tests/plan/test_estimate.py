"""Where an estimate comes from: this run, earlier ones, a guess, or how photographs are."""

from dataclasses import replace

import pytest

from batch.memory import profiles
from batch.plan.estimate import estimate, rest
from batch.plan.guess import Guess
from batch.plan.known import ExpectedSeconds, Known
from batch.plan.rates import learn
from batch.records.receipts import StagePeak
from batch.records.values import Call
from tests.small_receipts import TASKS, a_receipt, a_task

OFFLOADED = {"memory": "offload", "memory_steps": (Call(name="model_cpu_offload"),)}


def seconds(task, *receipts, **known) -> float | None:
    """What an image takes, as these tell."""
    found = Known(folder=learn(receipts), **known).image(task)
    return found and found.value


def test_where_an_estimate_comes_from():
    nothing = estimate(TASKS, [])
    assert (nothing.seconds, nothing.seconds_from, nothing.disk_from) == (
        None,
        "not known",
        "as photographs take it",
    )
    assert 12 * 1_900_000 <= nothing.disk_bytes < 12 * 2_000_000
    history = learn([a_receipt(TASKS[0], 50.0, size=1_000_000)])
    told = estimate(TASKS, [], Known(history=history))
    assert (told.seconds, told.seconds_from, told.disk_from) == (600.0, "earlier runs", "earlier runs")
    known = Known(folder=learn([a_receipt(TASKS[0], 100.0)]), history=history)
    mine = estimate(TASKS[1:], [], known)
    assert (mine.seconds, mine.seconds_from, mine.disk_from) == (1100.0, "this run", "this run")
    mixed = estimate([*TASKS[1:], a_task(1, model="other")], [], known)
    assert (mixed.seconds, mixed.seconds_from, mixed.disk_from) == (None, "not known", "as photographs take it")
    raw = a_task(1, format="tiff", format_options=(("compression", "none"),))
    assert estimate([raw], []).disk_bytes > 3_000_000


def test_a_run_that_became_slower_is_believed_after_eight_images():
    before = [a_receipt(task, 100.0) for task in TASKS * 8]
    assert seconds(TASKS[0], *before, *[a_receipt(TASKS[1], 300.0)] * 7) == pytest.approx(100.0)
    assert seconds(TASKS[0], *before, *[a_receipt(TASKS[1], 300.0)] * 8) == pytest.approx(300.0)


def test_the_rest_of_a_folder_goes_by_all_cards_of_the_kind_that_rendered_last():
    def by(gpu, task, seconds, started_at, host="here"):
        made = a_receipt(task, seconds)
        return replace(made, started_at=started_at, machine=replace(made.machine, gpu=gpu, host=host))

    receipts = [
        by("GPU-a", TASKS[0], 100.0, "1"),
        by("GPU-b", TASKS[1], 120.0, "2"),
        by("GPU-a", TASKS[2], 100.0, "3"),
    ]
    both = rest(TASKS[3:], receipts)
    assert both == rest(TASKS[3:], [by("", task, item.measurement.total_s, item.started_at) for task, item in
                                    zip(TASKS, receipts, strict=False)])  # fmt: skip
    other = by("GPU-c", TASKS[3], 900.0, "0", host="there")
    assert rest(TASKS[4:], [*receipts, other]) == rest(TASKS[4:], receipts)


def test_another_format_takes_as_long():
    known = Known(history=learn([a_receipt(TASKS[0], 100.0, size=2_000_000)]))
    told = estimate([a_task(1, format="jpeg")], [], known)
    assert told.seconds == pytest.approx(100.0)
    assert (told.seconds_from, told.disk_from) == ("earlier runs", "as photographs take it")
    assert told.disk_bytes < 800_000


def test_bytes_are_learned_from_the_same_model_alone():
    """Pictures of the demo take a tenth of what photographs do; so do those of random weights under any name."""
    demo, drawn = a_task(1, model="demo"), a_task(2, revision="random-weights-1")
    known = Known(history=learn([a_receipt(demo, size=100_000), a_receipt(drawn, size=90_000)]))
    for other in (a_task(1, model="other"), a_task(2, revision="0123456789ab")):
        told = estimate([other], [], known)
        assert (told.disk_from, told.disk_bytes > 1_900_000) == ("as photographs take it", True)
    assert estimate([demo], [], known).disk_bytes < 200_000
    large = estimate([a_task(1, model="demo", width=2000, height=2000)], [], known)
    assert large.disk_bytes == pytest.approx(4 * 100_000, rel=0.2)  # bytes a pixel are those of another size
    half = estimate([a_task(1, model="demo", dtype="bfloat16")], [], known)
    assert (half.disk_from, half.disk_bytes < 200_000) == ("earlier runs", True)


def test_first_images_and_decoded_ones_poison_no_median():
    first, second = a_receipt(TASKS[0], 500.0, warmup=True), a_receipt(TASKS[1], 100.0)
    decoded = a_receipt(TASKS[2], denoise=None, decode=StagePeak(seconds=1.0))
    assert seconds(TASKS[2], decoded) is None
    assert seconds(TASKS[2], first) == pytest.approx(500.0)
    assert seconds(TASKS[2], first, second, decoded) == pytest.approx(101.0)
    assert seconds(TASKS[2], decoded, decodes=True) == pytest.approx(1.0)


@pytest.mark.parametrize(("earlier", "expected"), [(900.0, 500.0), (100.0, 100.0)])
def test_a_first_image_that_was_faster_than_earlier_runs_is_believed(earlier, expected):
    first = a_receipt(TASKS[0], 500.0, warmup=True)
    history = learn([a_receipt(TASKS[1], earlier)])
    assert seconds(TASKS[2], first, history=history) == pytest.approx(expected)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -5.0, 1e300])
def test_nonsense_in_a_receipt_teaches_nothing(odd):
    spoilt = a_receipt(TASKS[0], odd, size=-1, between_s=odd, save_s=odd, load_s=odd)
    file = replace(spoilt.file, width=0)
    sizeless = a_receipt(a_task(3, rendered_width=0), 100.0)
    receipts = [replace(spoilt, file=file), sizeless, a_receipt(TASKS[1], 100.0)]
    told = estimate(TASKS, [], Known(folder=learn(receipts)))
    assert (told.seconds, told.disk_from) == (pytest.approx(1200.0), "this run")


def test_steps_sizes_and_guidance_are_counted_apart():
    rendered = {"denoise": StagePeak(seconds=100.0), "decode": StagePeak(seconds=8.0), "between_s": 2.0}
    made = a_receipt(TASKS[0], **rendered)
    assert seconds(a_task(1, steps=20), made) == pytest.approx(210.0)
    assert seconds(a_task(1, guidance=1.0), made) == pytest.approx(60.0)
    large = {"rendered_width": 2000, "rendered_height": 2000}
    assert seconds(a_task(1, **large), made) == pytest.approx(434.0)
    # Two sizes tell how a third one grows: here by the square of the pixels.
    steep = a_receipt(a_task(2, **large), denoise=StagePeak(seconds=1600.0), decode=StagePeak(seconds=32.0))
    larger = a_task(3, rendered_width=4000, rendered_height=4000)
    assert seconds(larger, made, steep) == pytest.approx(25600 + 128 + 2)


def test_a_time_under_one_setting_is_taken_for_no_other():
    moved = a_receipt(a_task(0, **OFFLOADED), 900.0)
    assert seconds(TASKS[1], moved) is None
    kept = Known(history=learn([moved])).image(a_task(1, memory="auto"))
    assert kept is None
    assert seconds(a_task(1, **OFFLOADED), moved) == pytest.approx(900.0)
    auto = a_task(1, memory="auto", memory_steps=())
    full = a_receipt(a_task(1, memory="full"), 100.0)
    guessed = Known(folder=learn([full])).image(auto)  # what it comes to on this card is not known
    assert (guessed.value, guessed.source) == (pytest.approx(100.0), "a guess")
    # Memory ran out at this size: it will run out again, and the time is that of what took its place.
    degraded = a_receipt(auto, 900.0, setting="model_cpu_offload")
    assert seconds(auto, a_receipt(auto, 100.0), degraded) == pytest.approx(900.0)
    assert seconds(
        a_task(1, rendered_width=500, memory="auto"), a_receipt(auto, 100.0), degraded
    ) == pytest.approx(50.0)


def test_tiles_are_no_other_setting_and_a_limit_is_one():
    tiles = {"memory": "tiled", "memory_steps": (profiles.step("vae_tiling(256, 192)"),)}
    full = Known(folder=learn([a_receipt(TASKS[0], 100.0, decode=StagePeak(seconds=7.0))]))
    assert full.image(a_task(1, **tiles)) == ExpectedSeconds(107.0, "this run")
    assert replace(full, limit=2**30).image(TASKS[1]).source == "a guess"


def test_loading_and_encoding_of_what_is_to_come_are_in_the_sum():
    first = a_receipt(TASKS[0], 150.0, load_s=30.0, warmup=True, encode=StagePeak(seconds=2.0), save_s=5.0)
    known = Known(folder=learn([first, a_receipt(TASKS[1], 100.0)]))
    told = estimate(TASKS[:3], [], known, {TASKS[0].id: 3, TASKS[2].id: 1})
    # A first image takes 50 s longer than the others; the saving of the last one is waited for.
    assert told.seconds == pytest.approx(3 * 100 + 30 + 50 + 4 * 2 + 5)


def test_a_guess_is_by_what_there_is_to_compute():
    card = Guess(weights={"m": 4.0, "other": 8.0}, card="NVIDIA H200")
    guessed = estimate(TASKS, [], Known(guess=card))
    assert guessed.seconds_from == "a guess"
    weights = 4 * 2**30
    step = 2 * (weights / 2) * (1e6 / 256) * 2 / (9.89e14 * 0.4)  # two FLOPs a weight and token, two passes
    assert guessed.seconds == pytest.approx(12 * 10 * step + weights / 1e9)
    # How fast another model is here tells more than a data sheet.
    full, moved = a_task(0, memory="full"), a_task(0, **OFFLOADED)
    other = a_task(1, model="other", memory="full")
    assert seconds(other, a_receipt(full, 100.0), guess=card) == pytest.approx(200.0)
    assert seconds(other, a_receipt(full, 100.0), guess=Guess()) is None
    # What is moved to and fro tells of what is moved as well.
    assert seconds(other, a_receipt(moved, 900.0), guess=card) < 10
    known = (a_receipt(full, 100.0), a_receipt(moved, 900.0))
    assert seconds(replace(other, **OFFLOADED), *known, guess=card) == pytest.approx(1800.0)


def test_what_bears_little_does_not_decide_the_source():
    known = Known(folder=learn([a_receipt(TASKS[0])]), history=learn([a_receipt(a_task(0, model="x"), 100.0)]))
    many = [*TASKS, *(a_task(n, seed=n) for n in range(20))]
    assert estimate([*many, a_task(9, model="x")], [], known).seconds_from == "this run"
    assert estimate([*TASKS, a_task(9, model="x")], [], known).seconds_from == "earlier runs"
