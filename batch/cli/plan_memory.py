"""Predicted memory as text for people and as data for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from batch.base.text import plural

if TYPE_CHECKING:
    from batch.run.forecast import Forecast, Row

ENCODE, STAGES = "encode", ("encode", "denoise", "decode")


def lines(forecast: Forecast) -> Iterator[str]:
    """The table that ``plan`` prints."""
    if forecast.why or not forecast.rows:
        yield f"memory: not predicted: {forecast.why or 'there is nothing to render'}"
        return
    yield "memory on the card, predicted: tensors at the peak of each stage in GiB, and the cards that it fits"
    yield from table(forecast)
    said = ["“fits” allows for CUDA, cuDNN and fragmentation (estimates: docs/measuring.md)"]
    if any(row.loras for row in forecast.rows):
        said.append("LoRAs are not counted")
    if forecast.left_out:
        said.append(f"{plural(forecast.left_out, 'further setting')} left out")
    yield f"  {'; '.join(said)}"


def table(forecast: Forecast) -> Iterator[str]:
    """Its rows, one a setting, aligned."""
    rows = [_HEAD, *map(_cells, forecast.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        cells = (
            cell.rjust(width) if column in _NUMBERS else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield f"  {'  '.join(cells)}".rstrip()


_HEAD = ("model", "size", "memory", "encode", "denoise", "decode", "host", "fits")
_NUMBERS = range(3, 7)
_PLACED = {"model_cpu_offload": "offloading", "group_offload(block, 1)": "by blocks"}


def _cells(row: Row) -> tuple[str, ...]:
    dtype = "" if row.dtype in ("bfloat16", "float16") else f" {row.dtype}"
    memory = f"{row.memory}, {_PLACED[row.placed]}" if row.placed else row.memory
    size = row.size if row.batch == 1 else f"{row.batch} × {row.size}"
    named = (f"{row.model}{dtype}", size, memory)
    if row.footprint is None:
        return (*named, "", "", "", "", f"not predicted: {row.why}")
    peaks = tuple(f"{row.footprint.stages[stage].allocated / 2**30:.2f}" for stage in STAGES)
    return (*named, *peaks, f"{row.footprint.host / 2**30:.2f}", _fits(row))


def _fits(row: Row) -> str:
    """``8 GB and more``, and from where on with the texts encoded on the CPU, if that is less."""
    assert row.footprint is not None
    whole, images = (_smallest(row.footprint.fits(without=left)) for left in ((), (ENCODE,)))
    said = f"{whole} GB and more" if whole else "more than 24 GB"
    return said if images in (whole, None) else f"{said}; {images} GB if its texts are encoded on the CPU"


def _smallest(fits: dict[int, bool]) -> int | None:
    return min((card for card, fitting in fits.items() if fitting), default=None)


def as_json(forecast: Forecast) -> dict[str, Any]:
    """What ``plan --json`` says of it; sizes in bytes."""
    return {
        "why": forecast.why or None,
        "left_out": forecast.left_out,
        "settings": [_row_json(row) for row in forecast.rows],
    }


def _row_json(row: Row) -> dict[str, Any]:
    names = ("model", "dtype", "size", "rendered", "memory", "steps", "placed", "batch", "loras")
    found = row.footprint
    return {name: getattr(row, name) for name in names} | {
        "offloaded": bool(row.placed),
        "why": row.why or None,
        "stages": {
            name: {"allocated": peak.allocated, "needed": peak.needed} for name, peak in found.stages.items()
        }
        if found
        else None,
        "host": found.host if found else None,
        "fits": {str(card): fits for card, fits in found.fits().items()} if found else None,
        "fits_texts_on_cpu": {str(card): fits for card, fits in found.fits(without=(ENCODE,)).items()}
        if found
        else None,
    }
