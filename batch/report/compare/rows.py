"""The rows of a comparison, a setting each, and the same as a table of plain columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

import pandas as pd

from batch.records.values import Scalar
from batch.report.compare.pixels import Closeness, closeness
from batch.report.timing import Peaks

if TYPE_CHECKING:
    from batch.report.compare.costs import SettingCosts
    from batch.report.compare.pairs import Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedSetting:
    """A setting's costs, and its pixels beside those of the reference."""

    index: int
    """Its place among the rows, from 0."""
    costs: SettingCosts
    pareto: bool
    """No rival on the same device is faster and smaller."""
    compared_with: tuple[str, ...] = ()
    """What its pictures were compared with, for people: the setting, and the run where that is another one."""
    is_reference: bool = False
    """Others were compared with it."""
    closeness: Closeness | None = None
    """None where nothing was compared."""
    worst: Pair | None = None
    """The pair that is furthest apart; None where there is no difference."""

    @classmethod
    def of(
        cls, index: int, costs: SettingCosts, pairs: Sequence[Pair], *, pareto: bool, is_reference: bool
    ) -> ComparedSetting:
        """With what its pairs say together."""
        differing = [pair for pair in pairs if not pair.difference.identical]
        return cls(
            index=index,
            costs=costs,
            pareto=pareto,
            compared_with=tuple(dict.fromkeys(pair.named_base for pair in pairs)),
            is_reference=is_reference,
            closeness=closeness(pair.difference for pair in pairs),
            worst=min(differing, key=lambda pair: pair.difference.psnr_db, default=None),
        )

    @property
    def number(self) -> int:
        """What people call it by, from 1."""
        return self.index + 1

    @property
    def is_exact(self) -> bool:
        """It has the pixels of the reference."""
        return self.is_reference or (self.closeness is not None and self.closeness.identical == 1)


# As columns

_COUNTS = ("images", "timed", "failed", "out_of_memory", "skipped", "foreign")
_RATES = ("total_min_s", "total_max_s", "images_per_hour", "mp_per_s", "wh_per_image")
_NUMBERS = (
    "encode_s", "denoise_s", "decode_s", "save_s", "total_s", *_RATES,
    *(name for of in ("peak", "encode", "denoise", "decode") for name in Peaks().columns(of)), "device_memory_mib",
)  # fmt: skip
_PIXELS = tuple(item.name for item in fields(Closeness))
_TYPES = {
    **dict.fromkeys(_COUNTS, "Int64"),
    **dict.fromkeys((*_NUMBERS, "memory_mib"), "Float64"),
    "cpu": "boolean",
    **{name: "Int64" if name in ("compared", "max_diff") else "Float64" for name in _PIXELS},
}
"""The pandas types of columns in which something may not be known."""


def frame(rows: Sequence[ComparedSetting], keys: Sequence[str]) -> pd.DataFrame:
    """The columns of compare.csv and of ``--json``: the keys, counts, times, peaks, what decides, and pixels."""
    columns = [*keys, *_COUNTS, *_NUMBERS, "cpu", "outcome", "memory_mib", "memory_kind", "pareto"]
    columns += ["compared_with", "is_reference", *_PIXELS]
    records = []
    for row in rows:
        costs = row.costs
        found: dict[str, Scalar] = {name: costs.key(name) for name in keys}
        found |= {
            name: getattr(costs, name) for name in (*_COUNTS, *_RATES, "device_memory_mib", "cpu", "outcome")
        }
        found |= costs.seconds.columns()
        found |= costs.peaks.columns()
        found |= costs.encode.columns("encode") | costs.denoise.columns("denoise") | costs.decode.columns("decode")
        found |= {"memory_mib": costs.memory_mib, "memory_kind": costs.memory_kind and costs.memory_kind.value}
        found |= {"pareto": row.pareto, "is_reference": row.is_reference}
        found["compared_with"] = ", ".join(row.compared_with)
        found |= asdict(row.closeness) if row.closeness else {}
        records.append(found)
    return pd.DataFrame(records, columns=columns).astype(_TYPES)
