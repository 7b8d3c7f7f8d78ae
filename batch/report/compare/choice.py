"""Which setting to take: the smallest and the fastest of a comparison, for every size of card. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from batch.memory.footprint import CARDS, KEPT_BY_DRIVER
from batch.records.receipts import largest
from batch.report.compare.costs import MemoryKind

if TYPE_CHECKING:
    from batch.report.compare.costs import Device, SettingCosts
    from batch.report.compare.rows import ComparedSetting
    from batch.report.images import ShownSetting


@dataclass(frozen=True, slots=True, kw_only=True)
class FastestSetting:
    """The fastest setting of a group (one device, model, size and so on) within some memory."""

    group: str
    """What tells the group from the others; empty where there is one."""
    device: Device
    under_gb: tuple[int, ...]
    """Sizes of cards that it is the fastest for, as they are sold."""
    unlimited: bool
    """It is the fastest of all, too."""
    row: ComparedSetting | None
    """None where nothing fits."""
    exact: ComparedSetting | None = None
    """The fastest one with the reference's pixels, where the first has others."""
    level: ComparedSetting | None = None
    """The reference, where it fits too and the times of its images reach into those of the first."""


def rank(row: SettingCosts) -> tuple[float, float] | None:
    """Seconds and MiB of a row that stands for its setting: nothing failed, and no setting took its place."""
    if row.seconds.total is None or row.memory_mib is None or row.failed or row.setting.degraded_from:
        return None
    return row.seconds.total, row.memory_mib


def pareto(rows: Sequence[SettingCosts]) -> list[bool]:
    """Of each row whether no rival on the same device is faster and smaller."""
    rivals: dict[tuple[Device, ShownSetting], list[tuple[tuple[float, float], int]]] = defaultdict(list)
    for index, row in enumerate(rows):
        if place := rank(row):
            rivals[row.device, row.rivals].append((place, index))
    best = set()
    for places in rivals.values():
        smallest = math.inf
        for (_, memory), index in sorted(places):
            if memory < smallest:
                best.add(index)
                smallest = memory
    return [index in best for index in range(len(rows))]


def choices(rows: Sequence[ComparedSetting], by: Sequence[str]) -> list[FastestSetting]:
    """The fastest of each group for every size of card that is no larger than the group's own.

    ``by`` are the columns that tell groups apart, for their names.
    """
    groups: dict[tuple[Device, ShownSetting], list[ComparedSetting]] = defaultdict(list)
    for row in rows:
        if rank(row.costs):
            groups[row.costs.device, row.costs.rivals].append(row)
    firsts = [group[0].costs for group in groups.values()]
    told = told_keys(firsts, by)
    found: list[FastestSetting] = []
    for first, group in zip(firsts, groups.values(), strict=True):
        named = " ".join(
            f"{'' if name in ('model', 'size', 'dtype') else f'{name} '}{first.key(name)}" for name in told
        )
        found += _of_group(sorted(group, key=lambda row: rank(row.costs) or ()), named)
    return found


def told_keys(costs: Sequence[SettingCosts], by: Sequence[str]) -> list[str]:
    """Those of the columns ``by`` that tell groups of a device apart."""
    return [name for name in by if name != "device" and len({row.key(name) for row in costs}) > 1]


def _of_group(group: Sequence[ComparedSetting], name: str) -> list[FastestSetting]:
    """Cards with the same answer share one choice. ``group`` is sorted, the fastest first."""
    own = largest(row.costs.device_memory_mib for row in group)
    on_card = [row for row in group if row.costs.memory_kind is not MemoryKind.HOST]
    cards_of: dict[_Answer, list[int]] = {}
    for card in CARDS if on_card else ():
        if own is None or card < round(own / 1024):  # its own size is the case without a limit
            cards_of.setdefault(_answer(_fitting(on_card, card)), []).append(card)
    unlimited = _answer(group)
    cards_of.setdefault(unlimited, [])
    rows: dict[int | None, ComparedSetting | None] = {None: None, **{row.index: row for row in group}}
    return [
        FastestSetting(
            group=name,
            device=group[0].costs.device,
            under_gb=tuple(cards),
            unlimited=answer == unlimited,
            row=rows[answer.row],
            exact=rows[answer.exact],
            level=rows[answer.level],
        )
        for answer, cards in cards_of.items()
    ]


class _Answer(NamedTuple):
    """What is told of a card, by the rows' indices."""

    row: int | None = None
    exact: int | None = None
    level: int | None = None


def _answer(fitting: Sequence[ComparedSetting]) -> _Answer:
    """The fastest of what fits, and what may be taken in its place."""
    if not fitting:
        return _Answer()
    row = fitting[0]
    exact = next((other for other in fitting if other.is_exact), None)
    if row.closeness is None or row.is_exact:
        exact = None
    level = next((other for other in fitting if other.is_reference), None)
    if level is row or level is None or not level.costs.reaches(row.costs):
        level = None
    return _Answer(row=row.index, exact=exact.index if exact else None, level=level.index if level else None)


def _fitting(rows: Sequence[ComparedSetting], card: int) -> list[ComparedSetting]:
    """Rows that fit a card, less what no process gets."""
    limit = card * 1024 * (1 - KEPT_BY_DRIVER)
    return [row for row in rows if row.costs.memory_mib is not None and row.costs.memory_mib <= limit]
