"""status --watch on a terminal: all of it fits, and how to end it stays in sight."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from batch.base.tables import Paragraph
from batch.cli.watch import fitting

DEATH = "    2026-11-29 19:31:41  shard 1/2: cpu 2 is lost: " + "the worker ended before it was ready; " * 12
WIDE = "    狐狐狐 " * 60


def shown(parts, width, height):
    """The rows that a terminal shows."""
    screen = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    with screen.capture() as taken:
        for part in fitting(parts, screen, height):
            screen.print(part, crop=False)
    return taken.get().splitlines()


def lines(count):
    return [Paragraph(f"  line {number}") for number in range(count)]


def test_what_fits_stays_as_it_is():
    assert shown(lines(5), 50, 5) == [f"  line {number}" for number in range(5)]


@pytest.mark.parametrize("text", [DEATH, WIDE])
@pytest.mark.parametrize("width", [20, 50, 80])
def test_long_texts_are_cut_before_anything_is_left_out(text, width):
    parts = [*lines(6), Paragraph(text), Paragraph(text), *lines(4)]
    found = shown(parts, width, 18)
    assert len(found) <= 18 and found[-1] == "  line 3"
    assert max(map(cell_len, found)) <= width
    assert sum("…" in row for row in found) == 2


def test_what_is_short_is_not_cut():
    found = shown([*lines(3), Paragraph(DEATH)], 50, 5)
    assert (len(found), found[:3], found[-1].endswith("…")) == (5, [f"  line {n}" for n in range(3)], True)


def test_where_there_is_no_room_at_all_it_says_so():
    found = shown(lines(30), 50, 10)
    assert (len(found), found[-1]) == (10, "  … `status` says more")
    assert found[0] == "  line 0"
