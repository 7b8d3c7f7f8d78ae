"""Runs that grow slower or larger while they go on."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from batch.records.receipts import CardState, FileRef, Machine, Measurement, Receipt, StagePeak
from batch.records.tasks import Task
from batch.records.values import Call
from batch.run.drift import Drift
from tests.helpers import MIB

HOT = CardState(temperature_c=84, clock_mhz=1410, throttled="thermal slowdown (hardware)")
COOL = CardState(temperature_c=61, clock_mhz=1980)


def receipt(seconds, reserved=None, *, rss=None, card=None, warmup=False, repaired="", used="", **task) -> Receipt:
    size = {"width": 5376, "height": 3072, "rendered_width": 5376, "rendered_height": 3072}
    plain = {"model": "sana", "dtype": "bf16", "prompt": "a", "seed": 1, "steps": 20, "guidance": 4.5}
    made = Task(**{**size, **plain, "id": "12ab", "memory": "full", **task})
    denoise = StagePeak(seconds=seconds * 0.75, reserved=reserved, rss=rss)
    return Receipt(
        task=made,
        file=FileRef(path="images/a.png", bytes=1, sha256="", width=made.width, height=made.height),
        measurement=Measurement(
            encode=StagePeak(seconds=100.0), denoise=denoise, decode=StagePeak(seconds=seconds * 0.25),
            save_s=50.0, warmup=warmup, card=card,
        ),
        machine=Machine(),
        attempts=1,
        started_at="",
        memory_used=used,
        repaired=repaired,
    )  # fmt: skip


def told(*receipts) -> list[tuple[int, str]]:
    """Number of the receipt and text of each happening."""
    minutes = count()
    drift = Drift(lambda: datetime(2026, 11, 29, 4, tzinfo=UTC) + timedelta(minutes=next(minutes)))
    return [(number, item.text) for number, one in enumerate(receipts) for item in drift.seen(one)]


def noisy(seconds, images):
    """Of about so many seconds; every fourth takes three times as long."""
    return [receipt(seconds * (3 if number % 4 == 3 else 1 + number % 3 / 100)) for number in range(images)]


def test_a_steady_run_tells_nothing():
    assert told(*noisy(4.1, 200)) == []
    assert told(*[receipt(4.1, 6000 * MIB)] * 200) == []


def test_half_the_speed_is_told_once_with_its_figures():
    (one,) = told(*noisy(4.1, 40), *noisy(8.2, 100))
    number, text = one
    assert 42 <= number <= 50
    assert re.fullmatch(r"slower than before: 8\.[23]s an image, 4\.1s until 04:\d\d at 5376x3072", text)
    assert "until 04:38" in text  # a minute an image: the last one that was as fast


def test_what_was_over_is_told_again():
    happened = told(*[receipt(4)] * 20, *[receipt(8)] * 20, *[receipt(4)] * 20, *[receipt(8)] * 20)
    assert [number // 20 for number, _ in happened] == [1, 3]


def test_around_the_limit_nothing_flaps():
    around = [receipt(4 * (1.55 if number // 10 % 2 else 1.45)) for number in range(200)]
    assert len(told(*[receipt(4)] * 20, *around)) == 1


def test_as_long_as_it_lasts_it_is_told_once():
    happened = told(*[receipt(4)] * 20, *[receipt(8)] * 20, *[receipt(11)] * 20, *[receipt(17)] * 20)
    assert [number // 20 for number, _ in happened] == [1]
    both = [receipt(4), receipt(4, steps=60)] * 15 + [receipt(9), receipt(9, steps=60)] * 15
    assert len(told(*both)) == 1  # the machine is slower, and not each kind of image


@pytest.mark.parametrize(("before", "after"), [(0.01, 0.1), (0.54, 2.4), (1.2, 3.1)])
def test_what_a_browser_takes_is_noise(before, after):
    assert told(*[receipt(before)] * 40, *[receipt(after)] * 40) == []


def test_it_is_compared_with_the_run_and_not_its_first_ten():
    """The first minute was quick; ever since it goes as it goes."""
    assert told(*[receipt(4)] * 10, *[receipt(5.5)] * 100, *[receipt(7.5)] * 50) == []


def test_warm_ups_and_repaired_images_do_not_count():
    slow = [receipt(40, 90_000 * MIB, warmup=True), receipt(40, 90_000 * MIB, repaired="decoded in float32")]
    assert told(*[receipt(4, 6000 * MIB)] * 10, *slow * 20) == []
    assert told(*slow * 20, *[receipt(4)] * 12, *[receipt(8)] * 10)[0][1].endswith("at 5376x3072")


@pytest.mark.parametrize(
    "other",
    [
        {"model": "flux"}, {"rendered_width": 1024}, {"steps": 60}, {"used": "vae_tiling"}, {"memory": "low"},
        {"scheduler": Call(name="heun")}, {"dtype": "fp32"},
    ],
)  # fmt: skip
def test_images_are_compared_with_their_like(other):
    small = [receipt(4, 4000 * MIB)] * 15
    large = [receipt(12, 9000 * MIB, **other)] * 15
    assert told(*small, *large, *small, *large) == []
    mixed = [item for pair in zip(small, large, strict=True) for item in pair]
    slower = [receipt(30, 9000 * MIB, **other), receipt(4, 4000 * MIB)] * 15
    (one,) = told(*mixed, *slower)
    assert "30.0s an image, 12.0s until" in one[1]


def test_growth_is_told_once_and_again_when_doubled():
    leak = [receipt(4, (4000 + 100 * number) * MIB) for number in range(150)]
    happened = told(*leak)
    assert len(happened) == 2
    assert happened[0][1] == "memory grows: 5300 MiB reserved instead of 4400 MiB at 5376x3072"
    assert "10600 MiB reserved" in happened[1][1]


def test_what_is_no_growth_and_no_slow_down():
    small = {"width": 512, "height": 512, "rendered_width": 512, "rendered_height": 512}
    few, many = [receipt(1, 2000 * MIB, **small)] * 10, [receipt(4, 8000 * MIB)] * 10
    # The allocator keeps what a larger size needed.
    assert told(*few, *many, *[receipt(1, 8000 * MIB, **small)] * 10) == []
    # Another number of timesteps is another amount of work.
    assert told(*[receipt(2, extra=(("timesteps", (5,)),))] * 10, *[receipt(8)] * 10) == []
    # Texts are encoded now and then; what that takes says nothing of the images.
    cost = receipt(4, 2000 * MIB).measurement
    encoded = replace(cost, encode=StagePeak(seconds=1.0, reserved=10_000 * MIB))
    cheap = replace(receipt(4, 2000 * MIB), measurement=cost)
    assert told(*[cheap] * 10, *[replace(cheap, measurement=encoded)] * 10) == []


def test_a_little_growth_is_none():
    assert told(*[receipt(4, 400 * MIB)] * 10, *[receipt(4, 640 * MIB)] * 20) == []
    assert told(*[receipt(4, 40_000 * MIB)] * 10, *[receipt(4, 45_000 * MIB)] * 20) == []


def test_host_memory_counts_where_there_is_no_card_only():
    assert "resident" in told(*[receipt(4, rss=2000 * MIB)] * 10, *[receipt(4, rss=4000 * MIB)] * 10)[0][1]
    card = [receipt(4, 3000 * MIB, rss=rss * MIB) for rss in [2000] * 10 + [4000] * 10]
    assert told(*card) == []


def test_throttling_can_be_told_from_a_leak():
    drift = Drift()
    run = [receipt(4.1, card=COOL)] * 10 + [receipt(8.2, card=HOT)] * 10
    (happening,) = [item for one in run for item in drift.seen(one)]
    assert (happening.kind, happening.task) == ("slower", "12ab")
    assert happening.text.endswith(
        "at 5376x3072 (84 °C, 1410 MHz, held back by thermal slowdown (hardware); at first 61 °C, 1980 MHz)"
    )
    assert json.loads(json.dumps(happening.data)) == dict(happening.data)
    assert happening.data["card_at_first"]["clock_mhz"] == 1980


def test_without_a_card_nothing_is_said_of_it():
    (one,) = told(*[receipt(4)] * 10, *[receipt(8, card=CardState())] * 10)
    assert "(" not in one[1]
