"""Of ``plan``: predicted memory as text for people and as data for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from batch.base.text import plural
from batch.records.kinds import Stage

if TYPE_CHECKING:
    from batch.base.tables import TextTable
    from batch.run.forecast import Forecast, Row


def parts(forecast: Forecast) -> Iterator[str | TextTable]:
    """The table that ``plan`` prints, with what stands around it."""
    yield ""
    if forecast.why or not forecast.rows:
        yield f"  memory: not predicted: {forecast.why or 'there is nothing to render'}"
        return
    yield "  memory on the card, predicted: tensors at the peak of each stage in GiB, and the cards that it fits"
    yield table(forecast)
    said = ["“fits” allows for CUDA, cuDNN and fragmentation (estimates: docs/measuring.md)"]
    if any(row.loras for row in forecast.rows):
        said.append("LoRAs are not counted")
    if forecast.left_out:
        said.append(f"{plural(forecast.left_out, 'further setting')} left out")
    yield f"    {'; '.join(said)}"


def table(forecast: Forecast) -> TextTable:
    """Its rows, one a setting."""
    from batch.base.tables import TextTable

    return TextTable(head=_HEAD, rows=[*map(_cells, forecast.rows)], right=_NUMBERS, spare=(6, 3), indent=4)


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
    peaks = (f"{peak.allocated / 2**30:.2f}" for peak in row.footprint.stages.values())
    # From which card on it fits, and with the texts encoded on the CPU, if that is less.
    whole, images = (
        min((card for card, fitting in row.footprint.fits(without=left).items() if fitting), default=None)
        for left in ((), (Stage.ENCODE,))
    )
    fits = f"{whole} GB and more" if whole else "more than 24 GB"
    if images not in (whole, None):
        fits += f"; {images} GB if its texts are encoded on the CPU"
    return (*named, *peaks, f"{row.footprint.host / 2**30:.2f}", fits)


def as_json(forecast: Forecast) -> dict[str, object]:
    """What ``plan --json`` says of it; sizes in bytes."""
    settings = []
    for row in forecast.rows:
        found = row.footprint
        setting: dict[str, object] = {
            "model": row.model,
            "dtype": row.dtype,
            "size": row.size,
            "rendered": row.rendered,
            "memory": row.memory,
            "steps": row.steps,
            "placed": row.placed,
            "batch": row.batch,
            "loras": row.loras,
            "offloaded": bool(row.placed),
            "why": row.why or None,
            **dict.fromkeys(("stages", "host", "fits", "fits_texts_on_cpu")),
        }
        if found is not None:
            peaks, on_cpu = found.stages.items(), found.fits(without=(Stage.ENCODE,))
            setting |= {
                "stages": {name: {"allocated": peak.allocated, "needed": peak.needed} for name, peak in peaks},
                "host": found.host,
                "fits": {str(card): fits for card, fits in found.fits().items()},
                "fits_texts_on_cpu": {str(card): fits for card, fits in on_cpu.items()},
            }
        settings.append(setting)
    return {"why": forecast.why or None, "left_out": forecast.left_out, "settings": settings}
