"""Why images failed: failures that are alike but for their figures are one cause."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch.records.receipts import Failure

NAMED = 3
"""Images of a cause that are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One cause, in the words of the first failure."""

    count: int
    stage: str
    kind: str
    message: str
    images: tuple[str, ...]
    """Names of the first ones."""


def causes(failures: Iterable[Failure]) -> tuple[Cause, ...]:
    """The causes, the most frequent one first."""
    alike: dict[tuple[str, str, str], list[Failure]] = {}
    for item in failures:
        # What was asked for, and which process died, differs from image to image.
        words = re.sub(r"\d[\d.,]*", "#", item.error.message).replace(item.task.name, "")
        alike.setdefault((item.error.stage, item.error.kind, words), []).append(item)
    found = [
        Cause(
            count=len(items),
            stage=stage,
            kind=kind,
            message=items[0].error.message,
            images=tuple(item.task.name for item in items[:NAMED]),
        )
        for (stage, kind, _), items in alike.items()
    ]
    return tuple(sorted(found, key=lambda cause: -cause.count))
