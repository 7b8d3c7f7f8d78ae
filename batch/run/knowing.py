"""What is known of a plan before it is run: what its images took earlier, and which texts are to be encoded."""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from batch.base.cache import default_folder
from batch.plan.guess import Guess
from batch.plan.known import Known
from batch.plan.rates import learn
from batch.plan.texts import first_needs
from batch.store import history
from batch.store.embeds import EmbedCache

if TYPE_CHECKING:
    from batch.plan.plan import Plan
    from batch.plan.rates import Rates
    from batch.records.events import Seat
    from batch.records.receipts import Machine, Receipt
    from batch.records.tasks import Task
    from batch.run.speeds import OfSeat


def knowing(
    plan: Plan,
    receipts: Iterable[Receipt],
    earlier: Rates,
    *,
    limit: int | None = None,
    decodes: bool = False,
) -> Known:
    """What tells how long a plan takes on the machine of ``earlier``; the others as :class:`Known` has them."""
    weights = {name: model.weights_gib for name, model in plan.models.items() if model.weights_gib}
    return Known(
        folder=learn(item for item in receipts if _is_of(earlier.machine, item.machine)),
        history=earlier,
        guess=Guess(weights=weights, card=earlier.machine.device),
        numerics={name: choice.numerics for name, choice in plan.choices.items()},
        limit=limit,
        decodes=decodes,
    )


def of_seats(plan: Plan, receipts: Collection[Receipt], here: Known) -> OfSeat:
    """What tells of devices of other kinds than the one ``here``, and of those of other machines."""

    def of_seat(seat: Seat) -> Known:
        earlier = history.read().learned(host=seat.host, device=seat.kind)
        return knowing(plan, receipts, earlier, limit=here.limit, decodes=here.decodes)

    return of_seat


def _is_of(machine: Machine, other: Machine) -> bool:
    """Whether what an image took tells of this machine: a folder may have been begun on another."""
    return other.host in ("", machine.host or platform.node()) and (
        not other.host or machine.device in ("", other.device)
    )


def texts_left(tasks: Iterable[Task], plan: Plan, kind: str) -> dict[str, int]:
    """How many texts are to be encoded for images, by their ids: a text counts for the first image that needs it.

    Those that the cache lacks; images without any are left out. ``kind`` is the device's.
    """
    cache = EmbedCache(default_folder())
    left: dict[str, int] = {}
    for task, text in first_needs(tasks, lambda name: plan.models[name].family, kind):
        if not cache.has(text.key):
            left[task.id] = left.get(task.id, 0) + 1
    return left
