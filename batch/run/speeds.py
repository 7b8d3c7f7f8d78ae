"""What images take at each seat of a run: known apart for every kind of device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from batch.plan.known import EstimateSource, ExpectedSeconds, Known
from batch.plan.rates import CostPart, Rates, place
from batch.records.spec import Numerics

if TYPE_CHECKING:
    from batch.records.events import Seat
    from batch.records.receipts import Receipt
    from batch.records.tasks import Task

OfSeat = Callable[["Seat"], Known]
"""What earlier runs, and the run folder, tell of a seat's kind of device."""

_STEPS = {CostPart.DENOISE, CostPart.WHOLE}
"""What tells how much slower one kind is than another."""


class Speeds:
    """What is known, for each kind of device: receipts say which one an image was made on.

    As long as no crew is told, and where it is all of one kind, ``first`` is what is known of it. A kind of which
    nothing is known of an image is judged by another one, and by how they compare.
    """

    def __init__(self, first: Known, of_seat: OfSeat | None = None) -> None:
        self.first = first
        self._of_seat = of_seat
        self._kinds: dict[str, Known] = {}
        self._at: dict[int, Known] = {}

    def crew(self, seats: Iterable[Seat]) -> None:
        """These are the seats from now on."""
        seats = tuple(seats)
        kinds = {seat.kind for seat in seats} | self._kinds.keys()
        for seat in seats:
            if seat.kind not in self._kinds:
                self._kinds[seat.kind] = self._of(seat, alone=len(kinds) == 1)
        self._at = {seat.number: self._kinds[seat.kind] for seat in seats}

    def _of(self, seat: Seat, *, alone: bool) -> Known:
        here = seat.kind in ("", self.first.history.machine.device)
        if here or (alone and not seat.host):
            return self.first
        if self._of_seat is not None:
            return self._of_seat(seat)
        guess = replace(self.first.guess, card=seat.kind)
        return replace(self.first, mine=Rates(), folder=Rates(), history=Rates(), guess=guess)

    def at(self, seat: int) -> Known:
        """What is known of a seat's kind."""
        return self._at.get(seat, self.first)

    @property
    def all(self) -> list[Known]:
        """Of each kind once; at least one."""
        found = {id(known): known for known in self._kinds.values()}
        return list(found.values()) or [self.first]

    def learn(self, receipt: Receipt) -> None:
        """Learn from an image."""
        known = self._kinds.get(receipt.machine.device, self.all[0] if len(self.all) == 1 else self.first)
        known.mine.add(receipt)
        known.folder.add(receipt)
        if known is not self.first:  # what a file takes on the disk is the same everywhere
            task = receipt.task
            size = receipt.file.bytes / max(1, receipt.file.width * receipt.file.height)
            self.first.folder.put(*place(CostPart.BYTES, task, "", Numerics()), size)

    def image(self, seat: int, task: Task) -> ExpectedSeconds | None:
        """What an image takes at a seat; None: nothing is known of it anywhere."""
        return self.of_kind(self.at(seat), task)

    def of_kind(self, known: Known, task: Task) -> ExpectedSeconds | None:
        """The same for a kind."""
        found = known.image(task)
        for other in self.all if found is None and len(self.all) > 1 else ():
            if (there := other.image(task)) is not None:
                return ExpectedSeconds(there.value * _ratio(known, other), EstimateSource.GUESS)
        return found

    def together(self, task: Task) -> float | None:
        """Seconds from one such image to the next where all seats render them; None: not known of some seat."""
        seats = Counter(map(id, self._at.values())) or {id(self.first): 1}
        each = [(seats[id(known)], self.of_kind(known, task)) for known in self.all if id(known) in seats]
        if any(takes is None for _, takes in each):
            return None
        rate = sum(count / max(takes.value, 1e-9) for count, takes in each if takes is not None)
        return 1 / rate if rate else None

    def afresh(self) -> Speeds:
        """As the next run will know it: without what this one has in its head alone."""
        without = {id(known): replace(known, mine=Rates()) for known in [self.first, *self.all]}
        new = Speeds(without[id(self.first)], self._of_seat)
        new._kinds = {kind: without[id(known)] for kind, known in self._kinds.items()}
        new._at = {seat: without[id(known)] for seat, known in self._at.items()}
        return new


def _ratio(one: Known, other: Known) -> float:
    """Times that one kind of device takes longer than another, by what both have rendered; 1 where nothing is."""
    found = [
        median(values) / median(theirs[kind])
        for mine in one.sources
        for its in other.sources
        for family, kinds in mine.values.items()
        if family.part in _STEPS and (theirs := its.values.get(family))
        for kind, values in kinds.items()
        if kind in theirs and median(theirs[kind]) > 0
    ]
    return median(found) if found else 1.0
