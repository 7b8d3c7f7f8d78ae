"""Times for people."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.base.text import at_clock, done_about, exactly, roughly

BERLIN = ZoneInfo("Europe/Berlin")
EVENING = datetime(2026, 11, 24, 22, 31, 40, tzinfo=BERLIN)
"""A Tuesday."""


@pytest.mark.parametrize(
    ("hours", "guessed", "expected"),
    [
        (0, False, "done about 22:32"),
        (0.1, False, "done about 22:38"),
        (0.1, True, "done about 22:40"),
        (1, False, "done about 23:30"),
        (1.5, False, "done tomorrow about 00:00"),
        (8.1, False, "done tomorrow about 06:30"),
        (9.2, True, "done tomorrow about 08:00"),
        (36, False, "done on Thu about 11:00"),
        (24 * 30, False, "done on 2026-12-24 about 23:00"),
    ],
)
def test_an_end_is_told_as_finely_as_it_is_known(hours, guessed, expected):
    assert done_about(hours * 3600, EVENING, guessed=guessed) == expected


def test_times_that_were_set_and_times_that_are_judged():
    assert [exactly(seconds) for seconds in (20.0, 1.6, 200)] == ["20s", "1.6s", "3m 20s"]
    assert [roughly(seconds) for seconds in (0.2, 28.96, 59.6, 200)] == ["1s", "29s", "1m 00s", "3m 20s"]


def test_an_instant_is_told_by_the_clock_here():
    noon = datetime.now().astimezone().replace(hour=12, minute=5)
    day = timedelta(days=1)
    assert [at_clock(when) for when in (noon, noon + day)] == ["at 12:05", "tomorrow at 12:05"]
    assert at_clock(noon + 2 * day) == f"on {noon + 2 * day:%Y-%m-%d} at 12:05"


def test_an_end_is_told_by_the_clock_as_it_is_by_then():
    before = datetime(2026, 10, 24, 23, 0, tzinfo=BERLIN)  # at three it becomes two
    assert done_about(8 * 3600 - 1, before) == "done tomorrow about 06:00"
    assert done_about(0, before.astimezone()).startswith("done about")


@given(st.floats(0, 1e15), st.booleans())
def test_every_end_can_be_told(seconds, guessed):
    assert done_about(seconds, EVENING, guessed=guessed).startswith("done ")
