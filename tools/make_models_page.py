"""Write the catalogue's tables into docs/models.md and README.md, between the two lines that mark the place.

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

README = Path(__file__).parent.parent / "README.md"
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


def readme(text: str) -> str:
    """README.md with the table of today: some models, each the one of its kind that people ask for."""
    known = predicted()
    rows = [_row(*_SHORT), _rule(_SHORT)]
    for model in (packaged()[name] for name in _IN_README):
        _, called, tiles, whole, _, blocks, _, card = _needs(model, known)
        rows.append(_row(f"`{model.name}`", str(model.native), called, tiles, whole, blocks, card))
    return _placed(text, "\n".join(rows))


def predicted() -> dict[str, dict[str, str]]:
    """What tools/predict_models.py has written, by model."""
    with PREDICTED.open(encoding="utf-8", newline="") as stream:
        return {row["model"]: row for row in csv.DictReader(stream)}


def page(text: str) -> str:
    """The page with the tables of today."""
    return _placed(text, tables(packaged().values()))


def _placed(text: str, table: str) -> str:
    """A text with a table between its marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


_DEFAULTS = ("name", "native size", "sizes", "dtype", "steps", "guidance", "own scheduler")
_MEMORY = """\
Memory at the native size, in GiB that a card must have free, **predicted** by `tools/predict_models.py` and
measured on no card yet: with everything on the card, with the component at work there (`model-offload`), the
blocks at work (`group-offload`) or the layer at work (`sequential-offload`), all decoded in tiles of 1024. Host
memory takes the rest. The smallest card is the one on which `group-offload` or anything faster fits. A picture is
decoded in tiles that are square, or of any shape."""
_NEEDS = (
    "name", "how it is called", "tiles", "all on the card", "by component", "by blocks", "by layers",
    "smallest card",
)  # fmt: skip
_SHORT = (
    "model", "native size", "how it is called", "tiles", "GiB, all on the card", "GiB, by blocks", "smallest card",
)  # fmt: skip
_IN_README = (
    "sana-1.6b-4k", "sdxl", "sd-3.5-large", "flux-1-dev", "flux-2-dev", "flux-2-klein-4b", "qwen-image-2512",
    "qwen-image-2.1", "z-image-turbo", "krea-2-turbo", "chroma1-hd", "hidream-i1-full", "ideogram-4", "sd-1.5",
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
    called = "in stages" if FAMILIES[model.family].staged else "whole"
    vae = architectures.known().get(model.name, {}).get("vae/config.json", {}).get("_class_name")
    told = (f"`{model.name}`", called, "" if vae is None else "square" if vae in SQUARE else "any")
    row = known.get(model.name)
    if row is None:
        return (*told, "", "", "", "", "not predicted")
    cells = [row[setting] for setting in ("tiled", "model-offload", "group-offload", "sequential-offload")]
    least = min(float(cell) for cell in cells[:3])
    fitting = [card for card in CARDS if least <= card * (1 - KEPT_BY_DRIVER)]
    return (*told, *cells, f"{fitting[0]} GB" if fitting else f"more than {CARDS[-1]} GB")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(cells: tuple[str, ...]) -> str:
    return "|" + "---|" * len(cells)


if __name__ == "__main__":
    for file, written in ((PAGE, page), (README, readme)):
        file.write_text(written(file.read_text(encoding="utf-8")), encoding="utf-8")
        print(file)
