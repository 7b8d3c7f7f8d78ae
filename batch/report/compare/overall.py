"""Which setting to take where groups are many: the fastest over all of them together, and in how many of them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.base.text import plural
from batch.report.compare.answers import MOST_SAID
from batch.report.compare.choice import rank, told_keys
from batch.report.compare.naming import named, told_by_run
from batch.report.compare.sentences import bare_name, listed, seconds

if TYPE_CHECKING:
    from batch.report.compare.choice import FastestSetting
    from batch.report.compare.comparison import Comparison
    from batch.report.compare.costs import Device
    from batch.report.compare.rows import ComparedSetting
    from batch.report.images import ShownSetting


LEVEL = 1.02
"""Times as long that nobody would choose by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overall:
    """The answer of one device over its groups, for one who has five seconds."""

    where: str
    groups: str
    """How many, and what tells them apart."""
    fastest: str
    """A setting; empty where none was measured in every group."""
    seconds: str
    """What an image of each group takes it together."""
    next: str
    """The one that comes next, with its time; empty where there is none."""
    wins: str
    """Which are the fastest of single groups, and of how many."""
    level: int
    """Of the groups, those in which the reference is as fast within the spread of its images."""
    small: tuple[Small, ...]
    """What cards of some sizes take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Small:
    """What the groups take on cards of some size."""

    cards: str
    wins: str


def overalls(comparison: Comparison) -> list[Overall]:
    """That of each device with several groups, where groups are many."""
    by_device: dict[Device, list[FastestSetting]] = defaultdict(list)
    for choice in comparison.choices:
        by_device[choice.device].append(choice)
    told = told_keys([row.costs for row in comparison.rows], comparison.by)
    if len({(choice.device, choice.group) for choice in comparison.choices}) <= MOST_SAID:
        return []
    return [
        _overall(device, choices, [row for row in comparison.rows if row.costs.device == device], told)
        for device, choices in by_device.items()
        if len({choice.group for choice in choices}) > 1
    ]


def _overall(
    device: Device, choices: Sequence[FastestSetting], rows: Sequence[ComparedSetting], told: Sequence[str]
) -> Overall:  # fmt: skip
    firsts = [choice for choice in choices if choice.unlimited and choice.row]
    names = _names(rows)
    together = _together(rows, names, len(firsts))
    best, *others = sorted(together, key=together.__getitem__) or [""]
    return Overall(
        where=bare_name(device),
        groups=f"{len(firsts)} groups ({', '.join(told)})",
        fastest=best,
        seconds=seconds(together[best]) if best else "",
        next=_next(others[0], together[others[0]], together[best]) if others else "",
        wins=_wins(firsts, len(firsts), names),
        level=sum(choice.level is not None for choice in firsts),
        small=tuple(_small(choices, len(firsts), names)),
    )


def _next(name: str, taken: float, fastest: float) -> str:
    about = "about as long, " if taken < LEVEL * fastest else ""
    return f"{name} takes {about}{seconds(taken)}"


def _names(rows: Sequence[ComparedSetting]) -> Mapping[int, str]:
    """What the rows of a device are called by their indices; a setting has its run in all groups or in none."""
    by_run = told_by_run(rows)
    twice = {row.costs.setting.memory for row in rows if row.index in by_run}
    return {row.index: named(row, run=row.costs.setting.memory in twice) for row in rows}


def _together(rows: Sequence[ComparedSetting], names: Mapping[int, str], groups: int) -> Mapping[str, float]:
    """Seconds for an image of each group, of every setting that was measured in all of them.

    Where several runs have a setting, and each lacks some groups, it is that of the fastest run of each.
    """
    fastest: dict[str, dict[ShownSetting, float]] = defaultdict(dict)
    for row in rows:
        if place := rank(row.costs):
            for name in (names[row.index], row.costs.setting.memory):
                before = fastest[name].get(row.costs.rivals, math.inf)
                fastest[name][row.costs.rivals] = min(place[0], before)
    found = {name: sum(times.values()) for name, times in fastest.items() if len(times) == groups}
    told = [(names[row.index], row.costs.setting.memory) for row in rows]
    of_runs = {setting for name, setting in told if name != setting and name in found}
    return {name: taken for name, taken in found.items() if name not in of_runs}


def _wins(choices: Sequence[FastestSetting], groups: int, names: Mapping[int, str]) -> str:
    """``full in 7, vae_tiling in 1``; ``full in all`` of so many groups."""
    counts = Counter(names[choice.row.index] for choice in choices if choice.row)
    if len(counts) == 1 and counts.total() == groups:
        return f"{next(iter(counts))} in all"
    return ", ".join(f"{name} in {count}" for name, count in counts.most_common())


def _small(choices: Sequence[FastestSetting], groups: int, names: Mapping[int, str]) -> Iterator[Small]:
    """By size of card, the largest first; those with the same answer share one."""
    sizes = sorted({card for choice in choices for card in choice.under_gb}, reverse=True)
    unlimited = _wins([choice for choice in choices if choice.unlimited], groups, names)
    same: dict[str, list[int]] = {}
    for size in sizes:
        of_size = [choice for choice in choices if size in choice.under_gb]
        none = groups - sum(choice.row is not None for choice in of_size)
        nothing = "nothing that was measured fits" if none else ""
        if 0 < none < groups:
            nothing += f" {plural(none, 'group')}"
        same.setdefault("; ".join(filter(None, (_wins(of_size, groups, names), nothing))), []).append(size)
    for said, cards in same.items():
        if said != unlimited:
            yield Small(cards=listed(cards), wins=said)
