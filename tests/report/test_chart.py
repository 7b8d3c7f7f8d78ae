"""The chart of a comparison: where its marks, lines and numbers stand."""

import itertools
import random

import pytest

from batch.report.compare.labels import size
from batch.report.compare.layout import RADIUS, Mark, layouts
from batch.report.compare.scale import scale


def drawn(number, seed, spread):
    """Marks in clusters, as settings of two cards lie."""
    rng = random.Random(seed)
    middles = [(rng.uniform(1, 60), rng.uniform(2, 30)) for _ in range(max(1, number // 4))]
    points = [
        (max(0.1, x + rng.gauss(0, spread)), max(0.1, y + rng.gauss(0, spread / 2)))
        for x, y in (rng.choice(middles) for _ in range(number))
    ]
    devices = [rng.choice(["rtx", "a100"]) for _ in points]
    rivals = list(zip(points, devices, strict=True))
    best = [
        not any(other == own and left < x and below < y for (left, below), other in rivals)
        for (x, y), own in rivals
    ]
    return [
        Mark(number=at + 1, device=devices[at], title="", seconds=x, gib=y, best=best[at])
        for at, (x, y) in enumerate(points)
    ]


def box(spot):
    width, height = size(str(spot.mark.number))
    x, y = spot.number
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def crosses(segment, box):
    """Whether a point of it lies in a box, looked at in steps of less than a pixel."""
    x1, y1, x2, y2 = segment
    steps = int(max(abs(x2 - x1), abs(y2 - y1)) * 2) + 1
    points = ((x1 + (x2 - x1) * at / steps, y1 + (y2 - y1) * at / steps) for at in range(steps + 1))
    return any(box[0] + 0.01 < x < box[2] - 0.01 and box[1] + 0.01 < y < box[3] - 0.01 for x, y in points)


@pytest.mark.parametrize(("number", "numbered"), [(1, 1), (4, 4), (10, 10), (20, 18), (45, 30)])
@pytest.mark.parametrize("spread", [0.0, 1.0, 4.0])
def test_nothing_crosses_a_number(number, numbered, spread):
    for seed in range(1 if number > 20 else 3):
        for layout in layouts(drawn(number, seed, spread), cards=True):
            spots = [spot for spot in layout.spots if spot.number]
            assert len(spots) >= numbered, (seed, layout.name)
            boxes = [box(spot) for spot in spots]
            marks = [(s.x - RADIUS, s.y - RADIUS, s.x + RADIUS, s.y + RADIUS) for s in layout.spots]
            lines = [segment for line in layout.frontiers for segment in line.segments]
            lines += [(layout.left, card.y, layout.right, card.y) for card in layout.cards]
            lines += [spot.leader for spot in spots if spot.leader]
            for at, one in enumerate(boxes):
                assert not any(overlap(one, other) for other in boxes[:at])
                assert not any(overlap(one, mark) for mark in marks)
                assert not any(crosses(line, one) for line in lines)
                assert layout.left <= one[0] and one[2] <= layout.width and one[1] > 0 and one[3] <= layout.bottom


def test_a_number_belongs_to_its_mark():
    """It stands beside it, or a line leads from the one to the other."""
    for layout in layouts(drawn(20, 3, 1.0), cards=False):
        for spot in layout.spots:
            far = max(abs(spot.number[0] - spot.x), abs(spot.number[1] - spot.y))
            assert far < 24 or spot.leader
            if spot.leader:
                assert abs((spot.leader[0] - spot.x) ** 2 + (spot.leader[1] - spot.y) ** 2 - RADIUS**2) < 0.1


def test_what_lies_far_apart_has_a_logarithmic_axis():
    assert not scale([2, 30], 0, 100).log
    found = scale([0.05, 30], 0, 100)
    assert found.log
    assert [f"{tick:g}" for tick in found.ticks] == ["0.03", "0.1", "0.3", "1", "3", "10", "30", "100"]
    assert (found.at(0.03), found.at(100)) == (0, 100)
    assert 40 < found.at(1) < 50
    long = scale([1e-3, 4e5], 0, 100, most=5)
    assert len(long.ticks) <= 5 and long.low < 1e-3 and long.high > 4e5  # every mark lies where its value is
    assert not long.beyond and scale([0.0, 4e5], 0, 100).words[0] == "≤ 1e-07"


def test_cards_are_drawn_where_memory_is_that_of_a_card():
    marks = drawn(6, 1, 1.0)
    on_card, in_host = layouts(marks, cards=True)[1], layouts(marks, cards=False)[1]
    assert in_host.cards == ()
    names = [card.words for card in on_card.cards]
    assert {"8 GB", "12 GB", "16 GB", "24 GB"} <= set(names)
    ys = [card.y for card in on_card.cards]
    assert ys == sorted(ys, reverse=True) and min(one - two for one, two in itertools.pairwise(ys)) >= 13


def test_what_ran_out_of_memory_stands_above_the_plot():
    lost = [Mark(number=50 + at, device="rtx", title="", lost=True) for at in range(40)]
    for layout in layouts([*drawn(5, 1, 1.0), *lost], cards=True):
        above = [spot for spot in layout.spots if spot.mark.lost]
        assert len(above) == 40
        assert all(spot.y < layout.top - 30 and spot.number[0] < layout.width for spot in above)
        boxes = [box(spot) for spot in above]
        assert not any(overlap(one, two) for at, one in enumerate(boxes) for two in boxes[:at])
