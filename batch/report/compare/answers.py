"""Which setting to take, as a table: for every card and limit the fastest one, and what it costs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.report.compare.costs import ALLOWANCE_MIB, MemoryKind
from batch.report.compare.naming import named, told_by_run
from batch.report.compare.sentences import (
    bare_name,
    listed,
    said_pixels,
    seconds,
    short_device,
)

if TYPE_CHECKING:
    from batch.report.compare.choice import FastestSetting
    from batch.report.compare.comparison import Comparison
    from batch.report.compare.rows import ComparedSetting


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A setting that may be taken, in words."""

    number: int
    memory: str
    run: str
    """Empty where the runs need not be told apart."""
    seconds: str
    per_hour: str
    memory_peak: str
    pixels: str
    exact: bool
    """It has the pixels of the reference, or is it."""
    compared: bool
    """Its pixels were compared with the reference's."""
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CardAnswer:
    """What to take on cards of some sizes."""

    limit: str
    """Which cards."""
    fastest: Taken | None
    """None where nothing that was measured fits."""
    exact: Taken | None
    """The fastest with the reference's pixels, where that is another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Those of one device, model, size and so on; the largest card first."""

    device: str
    group: str
    """What tells it from others of that device; empty where there is one."""
    answers: tuple[CardAnswer, ...]

    @property
    def title(self) -> str:
        """What it is about."""
        return " · ".join(filter(None, (self.device, self.group)))


def answers(comparison: Comparison) -> list[Answers]:
    """The answers by device and group, in the order of the rows."""
    by_run = told_by_run(comparison.rows)
    return [
        Answers(
            device=device or "unknown device",
            group=group,
            answers=tuple(_answer(choice, by_run) for choice in sorted(choices, key=_largest_first)),
        )
        for (device, group), choices in _groups(comparison).items()
    ]


def unmeasured(comparison: Comparison) -> str:
    """Which devices have no memory of a card that was measured, as a sentence; empty where all have."""
    choices = [choice for choice in comparison.choices if choice.unlimited and choice.row]
    host = [item for item in choices if item.row and item.row.costs.memory_kind is MemoryKind.HOST]
    if not host:
        return ""
    names = ", ".join(dict.fromkeys(bare_name(choice.device) for choice in host))
    return f"No GPU{f' in {names}' if len(host) < len(choices) else ''}: memory on a card was not measured."


def _groups(comparison: Comparison) -> dict[tuple[str, str], list[FastestSetting]]:
    """The choices by device and by what tells groups of it apart."""
    found: dict[tuple[str, str], list[FastestSetting]] = {}
    for choice in comparison.choices:
        found.setdefault((str(choice.device), choice.group), []).append(choice)
    return found


def _largest_first(choice: FastestSetting) -> float:
    return float("-inf") if choice.unlimited else -max(choice.under_gb, default=0)


def _answer(choice: FastestSetting, by_run: Container[int]) -> CardAnswer:
    return CardAnswer(
        limit=_limit(choice),
        fastest=_taken(choice.row, choice, by_run) if choice.row else None,
        exact=_taken(choice.exact, choice, by_run) if choice.exact else None,
    )


def _limit(choice: FastestSetting) -> str:
    cards = [f"{listed(sorted(choice.under_gb, reverse=True))}\N{NO-BREAK SPACE}GB"] if choice.under_gb else []
    if not choice.unlimited:
        return cards[0]
    row = choice.row
    if row is not None and row.costs.memory_kind is MemoryKind.HOST:
        return "no GPU"
    if choice.device.limit_mib is not None:
        own = f"the limit of {choice.device.limit_mib / 1024:g} GiB"
    elif row is not None and row.costs.device_memory_mib is not None:
        own = f"the whole card ({row.costs.device_memory_mib / 1024:.0f} GB)"
    else:
        own = "the whole card"
    return ", ".join([own, *cards])


def _taken(row: ComparedSetting, choice: FastestSetting, by_run: Container[int]) -> Taken:
    costs = row.costs
    return Taken(
        number=row.number,
        memory=costs.setting.memory,
        run=costs.run if row.index in by_run else "",
        seconds=seconds(costs.seconds.total or 0.0),
        per_hour=f"{costs.images_per_hour:.0f}" if costs.images_per_hour else "not known",
        memory_peak=_peak(row),
        pixels=said_pixels(row),
        exact=row.is_exact,
        compared=row.closeness is not None,
        notes=tuple(_notes(row, choice, by_run)),
    )


def _peak(row: ComparedSetting) -> str:
    host = " of host memory" if row.costs.memory_kind is MemoryKind.HOST else ""
    return f"{(row.costs.memory_mib or 0.0) / 1024:.1f} GiB{host}"


def _notes(row: ComparedSetting, choice: FastestSetting, by_run: Container[int]) -> Iterator[str]:
    if row is choice.row and choice.level is not None:
        level = named(choice.level, run=choice.level.index in by_run)
        yield f"{level} is as fast within the spread of its images"
    if row.costs.memory_kind is MemoryKind.RESERVED:
        yield f"of its memory {ALLOWANCE_MIB / 1024:.1f} GiB are allowed for CUDA itself: not measured"
    if row.costs.foreign:
        yield "other processes were on the card"


# In a sentence or two

MOST_SAID = 3
"""Groups that have a sentence of their own: of more a device has one over all of its groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The answer of one device and group for one who has five seconds."""

    where: str
    fastest: Taken
    smallest: Taken | None
    """What the smallest card takes, where that is another setting."""
    smallest_gb: int
    times: str
    """How many times as long that takes; empty where it is no longer."""
    too_small: str
    """Cards that nothing fits, empty where there are none."""


def headlines(comparison: Comparison) -> list[Headline]:
    """Those of all groups where they are few, else of devices that have one alone."""
    groups = list(_groups(comparison).values())
    of_device = Counter(choices[0].device for choices in groups)
    shown = [choices for choices in groups if len(groups) <= MOST_SAID or of_device[choices[0].device] == 1]
    by_run = told_by_run(comparison.rows)
    found = [(choice, choice.row, choices) for choices in shown for choice in choices if choice.unlimited]
    return [_headline(choice, row, choices, by_run) for choice, row, choices in found if row]


def _headline(
    fastest: FastestSetting, first: ComparedSetting, choices: Sequence[FastestSetting], by_run: Container[int]
) -> Headline:
    held = [choice for choice in choices if choice.row and choice.under_gb]
    smallest = min(held, key=lambda choice: min(choice.under_gb), default=None)
    row = smallest.row if smallest and smallest.row is not first else None
    none = next((choice for choice in choices if choice.row is None), None)
    return Headline(
        where=short_device(fastest),
        fastest=_taken(first, fastest, by_run),
        smallest=_taken(row, smallest, by_run) if smallest and row else None,
        smallest_gb=min(smallest.under_gb) if smallest else 0,
        times=_times(row, first) if row else "",
        too_small=listed(none.under_gb) if none else "",
    )


def _times(row: ComparedSetting, fastest: ComparedSetting) -> str:
    times = (row.costs.seconds.total or 0.0) / (fastest.costs.seconds.total or math.inf)
    if times < 1.005:
        return ""
    return f"{times:.3g}" if times < 100 else f"{times:.0f}"
