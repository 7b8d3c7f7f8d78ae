"""Rows of results.csv to one row per group: how many images, how long, how much memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

TIMES = ("total_s", "denoise_s", "decode_s", "save_s")
"""Medians over the images of a group, the first one after a load left out: it is slower than the others."""

PEAKS = ("peak_allocated_mib", "peak_reserved_mib", "peak_device_mib", "peak_rss_mib")
"""The largest over the images of a group, the first one after a load included."""


def with_settings(rows: pd.DataFrame) -> pd.DataFrame:
    """The table with ``size``, and ``setting``: the memory setting used, told apart where another was asked for.

    A degraded image says nothing about the cost of the setting asked for, and is no fair sample of the one used:
    memory was short.
    """
    degraded = rows.degraded_from.fillna("")
    setting = rows.memory.where(degraded == "", rows.memory + " (degraded from " + degraded + ")")
    return rows.assign(size=rows.width.astype("string") + "x" + rows.height.astype("string"), setting=setting)


def summarise(rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """One row per group, in order of first appearance.

    The columns are the keys, ``images`` done, ``timed`` (how many are behind the medians), ``failed``, then
    :data:`TIMES` in seconds and :data:`PEAKS` in MiB. ``rows`` comes from :func:`with_settings`. Tasks that
    were never tried are left out.
    """
    tried = rows[~rows.status.isin(("missing", "skipped"))]
    done = tried.status == "done"
    timed = tried[done & ~tried.warmup.fillna(False)]

    def by(part: pd.DataFrame) -> Any:
        return part.groupby(list(keys), sort=False, dropna=False)

    counts = by(tried.assign(images=done, failed=~done))[["images", "failed"]].sum().astype("Int64")
    counts.insert(1, "timed", by(timed).size().reindex(counts.index, fill_value=0))
    times = by(timed)[list(TIMES)].median()
    peaks = by(tried[done])[list(PEAKS)].max()
    summary: pd.DataFrame = counts.join(times).join(peaks).reset_index()
    return summary
