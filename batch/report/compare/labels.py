"""Where the numbers of a chart's marks stand so that nothing crosses them. Pure geometry, in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
Segment = tuple[float, float, float, float]
"""From x, y to x, y."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""

HEIGHT, DIGIT, AROUND = 13.0, 7.6, 1.0
"""Of a number: the height of its digits with a little air, the width of one, and air at both sides."""

MOST = 80
"""Marks that are numbered in one chart: beyond, numbers and their lines would fill it."""

_ANGLES = 24
_RINGS = ((0.0, 5.0, 11.0), (18.0, 26.0, 36.0, 48.0), (62.0, 78.0, 96.0, 118.0))
"""From the place beside the mark outwards; those further out are looked at where the nearer ones are taken."""

_LED = 6.0
"""A number further out than this has a line to its mark."""

_MARK_COST = 60.0
_GRID_COST = 7.0
"""Pixels that a number moves away rather than have its leader cross a mark, or stand on a line of the grid."""

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A number's place."""

    x: float
    """Its middle."""
    y: float
    leader: Segment | None = None
    """From the mark to it, where it stands further away."""


def size(text: str) -> Point:
    """The width and the height of a number."""
    return DIGIT * len(text) + 2 * AROUND, HEIGHT


def place(
    texts: Sequence[str], marks: Sequence[Point], radius: float, lines: Sequence[Segment], bounds: Box,
    grid: Sequence[Segment] = (),
) -> list[Placed | None]:  # fmt: skip
    """Put a text beside each mark, the first ones first; None where there is no room.

    No text lies on a mark, a line or another text, none leaves the bounds, and no leader crosses a text. Leaders
    keep off other marks where they can, and texts off the grid where that costs little.
    """
    found: list[Placed | None] = []
    room = _Room(marks, radius, lines, grid, bounds)
    for text, mark in zip(texts, marks, strict=True):
        found.append(room.take(text, mark) if len(found) < MOST else None)
    return found


class _Room:
    """What is taken in a chart so far."""

    def __init__(
        self, marks: Sequence[Point], radius: float, lines: Sequence[Segment], grid: Sequence[Segment], bounds: Box
    ) -> None:
        self._radius, self._bounds = radius, bounds
        self._marks = np.array([(x - radius, y - radius, x + radius, y + radius) for x, y in marks])
        self._lines = np.array(lines, float).reshape(-1, 4)
        self._grid = np.array(grid, float).reshape(-1, 4)
        self._texts = np.zeros((0, 4))

    def take(self, text: str, mark: Point) -> Placed | None:
        """The best free place around a mark, as near as may be."""
        for rings in _RINGS:
            centres, costs = _around(mark, size(text), self._radius + rings[0], np.array(rings) - rings[0])
            if found := self._best(centres, costs + rings[0], np.array(size(text)) / 2, mark):
                return found
        return None

    def _best(self, centres: Numbers, costs: Numbers, half: Numbers, mark: Point) -> Placed | None:
        boxes = np.hstack([centres - half, centres + half])
        leaders = np.hstack([np.broadcast_to(mark, centres.shape), centres])
        led = np.hypot(*(centres - mark).T) - self._radius - half.min() > _LED
        free = self._free(boxes) & ~(led & self._blocked(leaders, self._texts))
        if not free.any():
            return None
        costs = costs + _GRID_COST * np.any(_crossed(boxes, self._grid), axis=1)
        costs = costs + _MARK_COST * (led & self._blocked(leaders, self._others(mark)))
        best = int(np.where(free, costs, math.inf).argmin())
        self._texts = np.vstack([self._texts, boxes[best]])
        leader = _between(mark, self._radius, boxes[best]) if led[best] else None
        if leader:
            self._lines = np.vstack([self._lines, leader])
        return Placed(x=float(centres[best, 0]), y=float(centres[best, 1]), leader=leader)

    def _free(self, boxes: Numbers) -> Flags:
        """Which boxes lie within the bounds and on nothing."""
        left, top, right, bottom = self._bounds
        inside = np.all((boxes[:, :2] >= (left, top)) & (boxes[:, 2:] <= (right, bottom)), axis=1)
        taken = np.vstack([self._marks, self._texts])
        covered: Flags = np.any(_overlapping(boxes, taken), axis=1) | np.any(_crossed(boxes, self._lines), axis=1)
        free: Flags = inside & ~covered
        return free

    def _others(self, mark: Point) -> Numbers:
        """The marks that one does not lie on."""
        own = np.all((self._marks[:, :2] <= mark) & (self._marks[:, 2:] >= mark), axis=1)
        others: Numbers = self._marks[~own]
        return others

    @staticmethod
    def _blocked(leaders: Numbers, boxes: Numbers) -> Flags:
        """Which leaders cross one of some boxes."""
        found: Flags = np.any(_crossed(boxes, leaders), axis=0)
        return found


def _around(mark: Point, text: Point, radius: float, rings: Numbers) -> tuple[Numbers, Numbers]:
    """Middles of a text around a mark, and what each costs: the way, and that right and above read best."""
    turns = np.arange(_ANGLES) * 2 * math.pi / _ANGLES
    across, down = np.cos(turns), -np.sin(turns)
    # A box that touches the mark: further to the side than above, since it is wider than high.
    half = [length / 2 / np.maximum(abs(way), 1e-9) for length, way in zip(text, (across, down), strict=True)]
    away = radius + 1.5 + np.minimum(*half)
    rings = rings[:, None]
    x, y = mark[0] + across * (away + rings), mark[1] + down * (away + rings)
    aside = 1.0 - np.cos(turns - math.pi / 8)
    return np.stack([x.ravel(), y.ravel()], axis=1), (rings + aside).ravel()


def _overlapping(boxes: Numbers, others: Numbers) -> Flags:
    """Which of some boxes (rows) lie on which of others (columns)."""
    one, two = boxes[:, None], others[None]
    found: Flags = np.all((one[..., :2] < two[..., 2:]) & (two[..., :2] < one[..., 2:]), axis=-1)
    return found


def _crossed(boxes: Numbers, segments: Numbers) -> Flags:
    """Which boxes (rows) are crossed by which segments (columns): what of a segment lies between a box's sides."""
    start, way = segments[None, :, :2], (segments[:, 2:] - segments[:, :2])[None]
    low, high = boxes[:, None, :2] - start, boxes[:, None, 2:] - start
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = low / way, high / way
    still, between = way == 0, (low < 0) & (high > 0)
    enter = np.where(still, np.where(between, -math.inf, math.inf), np.minimum(first, second)).max(axis=-1)
    leave = np.where(still, np.where(between, math.inf, -math.inf), np.maximum(first, second)).min(axis=-1)
    found: Flags = np.maximum(enter, 0) < np.minimum(leave, 1)
    return found


def _between(mark: Point, radius: float, box: Numbers) -> Segment:
    """From the edge of a mark towards the middle of a text, as far as its box."""
    half, middle = (box[2:] - box[:2]) / 2, (box[2:] + box[:2]) / 2
    way = middle - mark
    with np.errstate(divide="ignore"):
        inside = float((half / abs(way)).min())  # the part of the way that lies in the box
    start, end = mark + way * (radius / np.hypot(*way)), mark + way * (1 - inside)
    return float(start[0]), float(start[1]), float(end[0]), float(end[1])
