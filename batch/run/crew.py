"""The devices that a run is expected to render on, and how long they take together: before any worker is there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batch.base import hardware
from batch.base.devices import one
from batch.plan.known import EstimateSource
from batch.records.events import Seat
from batch.records.kinds import RunKind
from batch.run.at_seats import Seats
from batch.run.speeds import Speeds
from batch.run.stock import Stock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batch.plan.estimate import Estimate
    from batch.plan.known import Known
    from batch.plan.plan import Plan
    from batch.records.tasks import Task
    from batch.run.options import Options
    from batch.run.speeds import OfSeat

ALONE = (Seat(number=0, device=""),)
"""One device, of the kind of which most is known."""


def expected(plan: Plan, options: Options) -> tuple[Seat, ...]:
    """The seats of a run of this plan; () where nobody knows them before they answer, as those of a cluster.

    Raises :class:`~batch.base.errors.UserError` for devices that are none.
    """
    engine = options.engine_name
    if plan.kind == RunKind.MEASURE or engine == "local":
        kinds = hardware.each(one(options.devices))
    else:
        kinds = () if engine == "ray" else hardware.each(options.devices)
    return tuple(Seat(number=number, device="", kind=kind) for number, kind in enumerate(kinds))


def together(
    alone: Estimate,
    tasks: Sequence[Task],
    texts: Mapping[str, int],
    known: Known,
    of_seat: OfSeat,
    crew: Sequence[Seat],
) -> Estimate:
    """What one device takes for ``tasks``, ``alone``, as all of a crew take for it, each at its kind's speed."""
    crew = crew[: len(tasks)] if tasks else crew[:1]
    if len(crew) < 2:
        return replace(alone, devices=len(crew) or None)
    speeds = Speeds(known, of_seat)
    speeds.crew(crew)
    seats = Seats(Stock(tasks, texts), speeds, 0.0)
    seats.crew([seat.number for seat in crew], 0.0)
    taken = seats.taken()
    return replace(
        alone,
        devices=len(crew),
        seconds=None if taken is None else seats.rest(0.0, 0).seconds + known.saving(tasks[-1]),
        seconds_from=EstimateSource.NOT_KNOWN if taken is None else taken[0],
    )
