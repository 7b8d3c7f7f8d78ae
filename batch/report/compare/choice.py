"""Which setting to take: the smallest and the fastest of a comparison, and the sentence a person wants. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from batch.memory.footprint import CARDS, CONTEXT, KEPT_BY_DRIVER

DEVICE, RESERVED, HOST = "device", "reserved", "host"
"""What a row's memory is: measured on the card, torch's plus an allowance for the context, or host memory."""

ALLOWANCE_MIB = CONTEXT / 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The fastest setting of a group (one device, model, size and so on) within some memory."""

    group: str
    """What tells the group from the others; empty where there is one."""
    device: str
    under_gb: tuple[int, ...]
    """Sizes of cards that it is the fastest for, as they are sold."""
    unlimited: bool
    """It is the fastest of all, too."""
    row: int | None
    """Its index in the table; None where nothing fits."""
    exact: int | None = None
    """The fastest one with the reference's pixels, where the first has others."""
    level: int | None = None
    """The reference, where it fits too and the times of its images reach into those of the first."""


def with_memory(rows: pd.DataFrame) -> pd.DataFrame:
    """The table with ``memory_mib`` and ``memory_kind``: what decides whether a row fits a card."""
    reserved = rows.peak_reserved_mib + ALLOWANCE_MIB
    found = rows.peak_device_mib.fillna(reserved).fillna(rows.peak_rss_mib)
    kind = pd.Series(HOST, index=rows.index, dtype="object")
    kind[rows.peak_reserved_mib.notna()] = RESERVED
    kind[rows.peak_device_mib.notna()] = DEVICE
    return rows.assign(memory_mib=found, memory_kind=kind.where(found.notna(), None))


def sound(rows: pd.DataFrame) -> pd.Series:
    """Rows with a time that stands for the setting: nothing of it failed, and no setting took its place."""
    degraded = rows.memory.str.contains(" (degraded from ", regex=False)
    return rows.total_s.notna() & rows.memory_mib.notna() & (rows.failed == 0) & ~degraded


def pareto(rows: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """Whether no other row of the same group is faster and smaller; ``rows`` from :func:`with_memory`."""
    best = pd.Series(False, index=rows.index)
    for _, part in rows[sound(rows)].groupby(list(by), sort=False, dropna=False):
        ordered = part.sort_values(["total_s", "memory_mib"])
        smaller = ordered.memory_mib.astype("float64").cummin().shift(fill_value=float("inf"))
        best = best | (ordered.memory_mib < smaller).reindex(best.index, fill_value=False)
    return best


def choices(rows: pd.DataFrame, by: Sequence[str]) -> list[Choice]:
    """The fastest of each group for every size of card that is no larger than the group's own.

    ``rows`` has the columns of a comparison, ``by`` tells its groups apart, the device among them.
    """
    groups = list(rows[sound(rows)].groupby(list(by), sort=False, dropna=False))
    told = [name for name in by if name != "device" and len({key[by.index(name)] for key, _ in groups}) > 1]
    found: list[Choice] = []
    for key, part in groups:
        named = dict(zip(by, key, strict=True))
        group = " ".join(_named(name, named[name]) for name in told)
        found += _of_group(part.sort_values(["total_s", "memory_mib"]), group, str(named["device"]))
    return found


def _named(name: str, value: Any) -> str:
    return str(value) if name in ("model", "size", "dtype") else f"{name} {value}"


def _of_group(part: pd.DataFrame, group: str, device: str) -> list[Choice]:
    """Cards with the same answer share one choice. ``part`` is sorted, the fastest first."""
    chosen: dict[int | None, list[int]] = {}
    measured = part[part.memory_kind != HOST]
    if len(measured):
        for card in _cards(part):
            fitting = measured[measured.memory_mib <= card * 1024 * (1 - KEPT_BY_DRIVER)]
            chosen.setdefault(int(fitting.index[0]) if len(fitting) else None, []).append(card)
    fastest = int(part.index[0])
    chosen.setdefault(fastest, [])
    return [
        Choice(
            group=group,
            device=device,
            under_gb=tuple(cards),
            unlimited=row == fastest,
            row=row,
            exact=_exact(part, row, cards),
            level=_level(part, row, cards),
        )
        for row, cards in chosen.items()
    ]


def _cards(part: pd.DataFrame) -> list[int]:
    """Sizes below that of the card itself, whose own is the case without a limit."""
    own = part.device_memory_mib.max()
    return [card for card in CARDS if pd.isna(own) or card < round(float(own) / 1024)]


def _exact(part: pd.DataFrame, row: int | None, cards: Sequence[int]) -> int | None:
    """The fastest with the pixels of the reference, for the smallest card that the choice is for."""
    exact = part.is_reference | (part.identical == 1).fillna(False)
    if row is None or exact[row] or pd.isna(part.compared[row]):
        return None
    limit = min(cards) * 1024 * (1 - KEPT_BY_DRIVER) if cards else float("inf")
    same = part[exact & (part.memory_mib <= limit)]
    return int(same.index[0]) if len(same) else None


def _level(part: pd.DataFrame, row: int | None, cards: Sequence[int]) -> int | None:
    """Of few images on a machine that does other things too, the median alone decides nothing."""
    limit = min(cards) * 1024 * (1 - KEPT_BY_DRIVER) if cards else float("inf")
    same = part[part.is_reference & (part.memory_mib <= limit)]
    if row is None or not len(same) or same.index[0] == row:
        return None
    return int(same.index[0]) if same.total_min_s.iloc[0] <= part.total_max_s[row] else None


def sentences(rows: pd.DataFrame, found: Sequence[Choice]) -> Iterator[str]:
    """What a person wants to know, a sentence each."""
    records = rows.to_dict("records")
    shared = rows.run.nunique() > 1 and rows.groupby("device").run.nunique().max() > 1
    for item in found:
        where = f"{_short(item.device)}{f' ({item.group})' if item.group else ''}"
        if item.row is None:
            yield f"Under {_listed(item.under_gb)} GB on {where}: nothing that was measured fits"
            continue
        row = records[item.row]
        said = _said(row, run=shared)
        if item.exact is not None:
            said += f"; with identical pixels {_said(records[item.exact], run=shared, pixels=False)}"
        if item.level is not None:
            said += f"; {records[item.level]['memory']} is as fast within the spread of its images"
        if row["memory_kind"] == HOST:
            yield f"Fastest on {where or 'this machine'}: {said} (no GPU: memory on a card was not measured)"
        else:
            yield f"Fastest {_within(item)} on {where}: {said}"


def _within(item: Choice) -> str:
    parts = [f"under {_listed(item.under_gb)} GB"] if item.under_gb else []
    all_of_it = "within that limit" if "(limited to " in item.device else "with all of its memory"
    return " and ".join([*parts, *([all_of_it] if item.unlimited else [])])


def _listed(cards: Sequence[int]) -> str:
    texts = [str(card) for card in cards]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _short(device: str) -> str:
    return device.removeprefix("NVIDIA ").removeprefix("GeForce ")


def _said(row: Mapping[Any, Any], *, run: bool, pixels: bool = True) -> str:
    parts = [
        f"{row['memory']} ({row['run']})" if run else str(row["memory"]),
        f"{row['total_s']:.3g} s" if row["total_s"] < 100 else f"{row['total_s']:.0f} s",
        *([] if row["memory_kind"] == HOST else [_size(row)]),
        *([_pixels(row)] if pixels else []),
        *(["other processes were on the card"] if row["foreign"] else []),
    ]
    return ", ".join(parts)


def _size(row: Mapping[Any, Any]) -> str:
    if row["memory_kind"] == RESERVED:
        return f"{row['memory_mib'] / 1024:.1f} GiB (of which {ALLOWANCE_MIB / 1024:.1f} allowed for CUDA itself)"
    return f"{row['memory_mib'] / 1024:.1f} GiB"


def _pixels(row: Mapping[Any, Any]) -> str:
    if row["is_reference"]:
        return "the reference for pixels"
    if pd.isna(row["compared"]):
        return "pixels not compared"
    if row["identical"] == 1:
        return "identical pixels"
    ssim = "" if pd.isna(row["ssim_min"]) else f", SSIM {row['ssim_min']:.3f}"
    at_worst = " at worst" if row["compared"] > 1 else ""
    return f"PSNR {row['psnr_min']:.1f} dB{ssim}{at_worst}"
