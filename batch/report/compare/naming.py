"""When a setting has to say which run it is of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch.report.compare.rows import ComparedSetting


def told_by_run(rows: Sequence[ComparedSetting]) -> frozenset[int]:
    """The indices of rows whose setting another run has too, in the same group of the same device.

    Where runs have other sizes, steps or cards, the group tells their rows apart, and the run says nothing more.
    """
    places: dict[object, list[ComparedSetting]] = defaultdict(list)
    for row in rows:
        costs = row.costs
        places[costs.device, costs.rivals, costs.setting.memory].append(row)
    shared = [same for same in places.values() if len({row.costs.run for row in same}) > 1]
    return frozenset(row.index for same in shared for row in same)


def named(row: ComparedSetting, *, run: bool) -> str:
    """``full``, or ``full (night)`` where it has to say its run."""
    return f"{row.costs.setting.memory} ({row.costs.run})" if run else row.costs.setting.memory
