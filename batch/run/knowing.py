"""What is known of a plan before it is run: what its images took earlier, and which texts are to be encoded."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from batch.base.cache import default_folder
from batch.plan.alike import session_key
from batch.plan.guess import Guess
from batch.plan.known import Known
from batch.plan.rates import learn
from batch.plan.texts import each_text
from batch.store.embeds import EmbedCache

if TYPE_CHECKING:
    from batch.plan.alike import SessionKey
    from batch.plan.plan import Plan
    from batch.plan.rates import Rates
    from batch.records.receipts import Machine, Receipt
    from batch.records.tasks import Task


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


def _is_of(machine: Machine, other: Machine) -> bool:
    """Whether what an image took tells of this machine: a folder may have been begun on another."""
    return other.host in ("", machine.host or platform.node()) and (
        not other.host or machine.device in ("", other.device)
    )


def texts_left(tasks: Iterable[Task], plan: Plan, kind: str) -> dict[SessionKey, int]:
    """How many texts of each session are to be encoded: those that the cache lacks. ``kind`` is the device's."""
    cache = EmbedCache(default_folder())
    left: Counter[SessionKey] = Counter()
    for text in each_text(tasks, lambda name: plan.models[name].family, kind):
        left[session_key(text)] += not cache.has(text.key)
    return dict(left)
