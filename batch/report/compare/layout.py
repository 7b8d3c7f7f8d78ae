"""Where everything of a chart stands, in pixels of its own: its text is never made smaller than it was meant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.memory.footprint import CARDS, KEPT_BY_DRIVER
from batch.report.compare.labels import place, size
from batch.report.compare.scale import scale

if TYPE_CHECKING:
    from batch.report.compare.labels import Point, Segment
    from batch.report.compare.scale import Scale

RADIUS = 6.0
_TOP, _BOTTOM, _RIGHT, _CARD = 34.0, 46.0, 12.0, 46.0
"""Above the plot the words of what goes up, below it those of what goes across; at its right sizes of cards."""

_TICK = 7.4
"""Pixels that a digit beside an axis takes."""

_STEP_X, _STEP_Y = 44.0, 24.0
"""Between the marks of what ran out of memory."""

_APART = 16.0
"""Between two lines of cards, at least: their names are as high."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A setting in a chart."""

    number: int
    device: str
    title: str
    """Its figures in words."""
    seconds: float = 0.0
    gib: float = 0.0
    best: bool = False
    """Nothing of its card is faster and smaller."""
    lost: bool = False
    """It ran out of memory: neither time nor peak is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Words that stand somewhere."""

    x: float
    y: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A mark, where it lies, and where its number stands."""

    mark: Mark
    x: float
    y: float
    number: Point | None
    leader: Segment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """The steps through what nothing of a card beats: below and left of them there is nothing."""

    device: str
    points: tuple[Point, ...]

    @property
    def segments(self) -> list[Segment]:
        """One behind the other."""
        return [(*one, *two) for one, two in zip(self.points, self.points[1:], strict=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A chart at one width."""

    name: str
    width: float
    height: float
    left: float
    top: float
    right: float
    bottom: float
    """Of the plot, as ``left``, ``top`` and ``right``."""
    across: tuple[Text, ...]
    """Seconds below their lines."""
    up: tuple[Text, ...]
    """GiB beside theirs."""
    cards: tuple[Text, ...]
    """Sizes of cards at the right ends of their lines."""
    frontiers: tuple[Frontier, ...]
    spots: tuple[Spot, ...]
    logs: tuple[str, ...]
    """Axes that are logarithmic."""


_MORE = 4.0
"""Pixels that a plot is higher for a mark more."""

WIDTHS = {"narrow": (340.0, 270.0), "wide": (780.0, 360.0)}
"""Of layouts: the whole width, and the height of the plot."""


def layouts(marks: Sequence[Mark], *, cards: bool) -> tuple[Layout, ...]:
    """A chart for phones and one for desks; ``cards`` draws what cards of usual sizes hold."""
    return tuple(_layout(name, *extent, marks, cards=cards) for name, extent in WIDTHS.items())


def small(marks: Sequence[Mark], *, cards: bool) -> tuple[Layout, ...]:
    """One of many charts, as high as so few marks need."""
    width, highest = WIDTHS["narrow"]
    return (_layout("small", width, min(highest, 140 + 12 * len(marks)), marks, cards=cards),)


def _layout(name: str, width: float, height: float, marks: Sequence[Mark], *, cards: bool) -> Layout:
    shown, lost = [mark for mark in marks if not mark.lost], [mark for mark in marks if mark.lost]
    height += min(_MORE * max(0, len(shown) - 20), 0.6 * height)  # their numbers need room
    per_row = max(1, int((width - 2 * RADIUS) // _STEP_X))
    top = _TOP + (-(-len(lost) // per_row) * _STEP_Y + 24 if lost else 0)
    bottom = top + height
    up = scale([mark.gib for mark in shown], bottom, top)
    left = 12 + _TICK * max(map(len, up.words))
    sold = _cards(up) if cards else {}
    right = width - (_CARD if sold else _RIGHT)
    across = scale([mark.seconds for mark in shown], left, right, most=6 if width < 500 else 10)
    frontiers = _frontiers(shown, across, up)
    plot = _Plot(left=left, top=top, right=right, bottom=bottom)
    return Layout(
        name=name,
        width=width,
        height=bottom + _BOTTOM,
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        across=tuple(
            Text(x=across.at(tick), y=bottom + 17, words=words)
            for tick, words in zip(across.ticks, across.words, strict=True)
        ),
        up=tuple(
            Text(x=left - 6, y=up.at(tick), words=words) for tick, words in zip(up.ticks, up.words, strict=True)
        ),
        cards=tuple(Text(x=right + 5, y=y, words=f"{card} GB") for card, y in sold.items()),
        frontiers=tuple(frontiers),
        spots=(*_spots(shown, across, up, frontiers, tuple(sold.values()), plot), *_strip(lost, per_row)),
        logs=tuple(word for word, axis in (("across", across), ("up", up)) if axis.log),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plot:
    left: float
    top: float
    right: float
    bottom: float


def _cards(up: Scale) -> dict[int, float]:
    """Where what a card holds ends, from the smallest card; none nearer to the one below than its name is high."""
    found: dict[int, float] = {}
    for card in CARDS:
        gib = card * (1 - KEPT_BY_DRIVER)
        if up.low < gib <= up.high and all(abs(up.at(gib) - y) >= _APART for y in found.values()):
            found[card] = up.at(gib)
    return found


def _frontiers(marks: Sequence[Mark], across: Scale, up: Scale) -> list[Frontier]:
    best: dict[str, list[Mark]] = defaultdict(list)
    for mark in marks:
        if mark.best:
            best[mark.device].append(mark)
    found = []
    for device, of_device in best.items():
        corners: list[Point] = []
        for mark in sorted(of_device, key=lambda mark: mark.seconds):
            x, y = across.at(mark.seconds), up.at(mark.gib)
            if corners:
                corners.append((x, corners[-1][1]))
            corners.append((x, y))
        found.append(Frontier(device=device, points=tuple(corners)))
    return found


def _spots(
    marks: Sequence[Mark], across: Scale, up: Scale, frontiers: Sequence[Frontier], cards: Sequence[float],
    plot: _Plot,
) -> list[Spot]:  # fmt: skip
    """Marks with their numbers; those that nothing beats are numbered first."""
    order = sorted(marks, key=lambda mark: not mark.best)
    points = [(across.at(mark.seconds), up.at(mark.gib)) for mark in order]
    lines = [segment for frontier in frontiers for segment in frontier.segments]
    lines += [(plot.left, y, plot.right, y) for y in cards]
    grid = [(plot.left, y, plot.right, y) for y in map(up.at, up.ticks)]
    grid += [(x, plot.top, x, plot.bottom) for x in map(across.at, across.ticks)]
    beside = 2 if cards else 8  # the names of cards stand there
    bounds = (plot.left, plot.top - 8, plot.right + beside, plot.bottom - 1)
    placed = place([str(mark.number) for mark in order], points, RADIUS, lines, bounds, grid)
    return [
        Spot(mark=mark, x=x, y=y, number=(at.x, at.y) if at else None, leader=at.leader if at else None)
        for mark, (x, y), at in zip(order, points, placed, strict=True)
    ]


def _strip(lost: Sequence[Mark], per_row: int) -> list[Spot]:
    """What ran out of memory stands above the plot, since it would have taken more."""
    found = []
    for at, mark in enumerate(lost):
        x, y = 2 * RADIUS + at % per_row * _STEP_X, 30 + at // per_row * _STEP_Y
        found.append(Spot(mark=mark, x=x, y=y, number=(x + RADIUS + 2 + size(str(mark.number))[0] / 2, y)))
    return found
