"""Times for people."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.base.text import done_about

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


def test_an_end_is_told_by_the_clock_as_it_is_by_then():
    before = datetime(2026, 10, 24, 23, 0, tzinfo=BERLIN)  # at three it becomes two
    assert done_about(8 * 3600 - 1, before) == "done tomorrow about 06:00"
    assert done_about(0, before.astimezone()).startswith("done about")


@given(st.floats(0, 1e15), st.booleans())
def test_every_end_can_be_told(seconds, guessed):
    assert done_about(seconds, EVENING, guessed=guessed).startswith("done ")
