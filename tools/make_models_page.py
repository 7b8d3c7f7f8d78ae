"""Write the catalogue's tables into docs/models.md, between the two lines that mark the place.

    python tools/make_models_page.py

A test fails when they are out of date.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from batch.catalogue import architectures
from batch.catalogue.families import FAMILIES
from batch.catalogue.model import Model
from batch.catalogue.models import packaged
from batch.memory.footprint import CARDS, KEPT_BY_DRIVER

PREDICTED = Path(__file__).parent.parent / "docs" / "predicted.csv"
SQUARE = ("AutoencoderKL", "AutoencoderKLFlux2")
"""Autoencoders whose tiles are square."""
PAGE = Path(__file__).parent.parent / "docs" / "models.md"
BEGIN, END = "<!-- tables: made by tools/make_models_page.py -->", "<!-- end of the tables -->"


def tables(models: Iterable[Model]) -> str:
    """What to render with, and what to download."""
    models = list(models)
    with_defaults = [_row(*_DEFAULTS), _rule(_DEFAULTS), *(_row(*_defaults(model)) for model in models)]
    downloads = [model for model in models if model.repo]
    from_hub = [_row(*_FROM), _rule(_FROM), *(_row(*_from(model)) for model in downloads)]
    needs = [_row(*_NEEDS), _rule(_NEEDS), *(_row(*_needs(model, predicted())) for model in downloads)]
    return "\n".join([*with_defaults, "", *from_hub, "", _MEMORY, "", *needs])


def predicted() -> dict[str, dict[str, str]]:
    """What tools/predict_models.py has written, by model."""
    with PREDICTED.open(encoding="utf-8", newline="") as stream:
        return {row["model"]: row for row in csv.DictReader(stream)}


def page(text: str) -> str:
    """The page with the tables of today."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{tables(packaged().values())}\n\n{END}{after}"


_DEFAULTS = ("name", "native size", "sizes", "dtype", "steps", "guidance", "own scheduler")
_MEMORY = """\
Memory at the native size, in GiB that a card must have free, **predicted** by `tools/predict_models.py` and
measured on no card yet: with everything on the card, with the component at work there (`model-offload`), the
blocks at work (`group-offload`) or the layer at work (`sequential-offload`), all decoded in tiles of 1024. Host
memory takes the rest. The smallest card is the one on which `group-offload` or anything faster fits."""
_NEEDS = (
    "name", "how it is called", "tiles", "all on the card", "by component", "by blocks", "by layers",
    "smallest card",
)  # fmt: skip
_FROM = ("name", "repository", "variant", "download", "on the device", "licence")


def _defaults(model: Model) -> tuple[str, ...]:
    pixels = model.sample_size * FAMILIES[model.family].bin_pixels
    sizes = f"the {len(model.sizes())} of {pixels}" if model.sizes() else f"multiples of {model.size_step}"
    largest = f", to about {model.largest}" if model.largest else ""
    shift = f", shift {model.flow_shift:g}" if model.flow_shift else ""
    return (
        f"`{model.name}`", str(model.native), sizes + largest, " or ".join([model.dtype, *_others(model)]),
        _between(model.steps, model.steps_range), _between(model.guidance, model.guidance_range),
        model.scheduler.removesuffix("Scheduler") + shift,
    )  # fmt: skip


def _others(model: Model) -> list[str]:
    return [name for name in model.dtypes if name != model.dtype]


def _between(value: float, ends: tuple[float, float] | None) -> str:
    if ends is None:
        return f"{value:g}"
    return f"{value:g} ({ends[0]:g} to {ends[1]:g})" if ends[1] else f"{value:g} (none)"


def _from(model: Model) -> tuple[str, ...]:
    return (
        f"`{model.name}`", f"`{model.repo}`" + (", gated" if model.gated else ""), model.variant or "",
        f"{model.download_gb:g} GB" if model.download_gb else "",
        f"{model.weights_gib:g} GiB" if model.weights_gib else "", model.licence,
    )  # fmt: skip


def _needs(model: Model, known: dict[str, dict[str, str]]) -> tuple[str, ...]:
    row = known.get(model.name)
    if row is None:
        called = "in stages" if FAMILIES[model.family].staged else "whole"
        return (f"`{model.name}`", called, "", "", "", "", "", "")
    kind = architectures.known()[model.name]["vae/config.json"]["_class_name"]
    cells = [row[setting] for setting in ("tiled", "model-offload", "group-offload", "sequential-offload")]
    least = min(float(cell) for cell in cells[:3])
    fitting = [card for card in CARDS if least <= card * (1 - KEPT_BY_DRIVER)]
    card = f"{fitting[0]} GB" if fitting else f"more than {CARDS[-1]} GB"
    return (f"`{model.name}`", "in stages", "square" if kind in SQUARE else "any", *cells, card)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(cells: tuple[str, ...]) -> str:
    return "|" + "---|" * len(cells)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(PAGE)
