"""A fixed part of a plan: what several runs that know nothing of one another divide a job into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch.records.tasks import Task


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """``2/8``: the second of eight parts."""

    number: int
    """From 1."""
    of: int

    def __str__(self) -> str:
        """As it is asked for."""
        return f"{self.number}/{self.of}"

    @property
    def name(self) -> str:
        """As files are named after it."""
        return f"{self.number}-of-{self.of}"

    def part(self, tasks: Sequence[Task]) -> tuple[Task, ...]:
        """Its tasks, of all those of a plan.

        Not of those that are left: two that look at different moments would leave gaps. Heavy tasks come first in
        a plan, so parts are alike in what they cost.
        """
        return tuple(tasks[self.number - 1 :: self.of])
