"""What a card takes for an image at best, from the FLOPs and bytes of a model's kernels.

    python benchmarks/roofline.py MODEL SIZE [--card NAME] [--bandwidth B --matrix F --float32 F]
                                  [--steps N] [--guidance G] [--csv FILE]

Needs no card and no weights: the real modules run with tensors that have shapes and no numbers, and every kernel
is counted (benchmarks/kernels.py says how). An image is its denoising steps and its decoding, in the tiles that
`auto` has; texts, which are encoded once, and saving, which happens meanwhile, are not in it.

Three bounds, none of them measured:

- eager: every kernel as PyTorch launches it, each taking the longer of its bytes at the card's bandwidth and its
  FLOPs at the rate of the cores that compute them;
- fused: the same where each chain of kernels between two products is one kernel, which reads once what comes from
  outside and writes once what is needed outside (benchmarks/kernels.py has the exact rule);
- floor: the FLOPs of all products at the matrix rate, and nothing else.

Launches, and whatever a kernel falls short of the card's figures, are not in them, so that a real run takes longer
than eager says; only what a kernel finds in the card's cache, which is not in them either, makes it shorter.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from diffusers import SanaTransformer2DModel

from batch.base.errors import BatchError, UserError
from batch.catalogue.families import DENOISERS, FAMILIES
from batch.catalogue.model import Model
from batch.hub.models import find_model
from batch.manifest.values import Size
from batch.memory import profiles
from batch.records.tasks import Task
from batch.render import failures, pixels, positions
from batch.render import memory as steps_at_work
from batch.render.foresight import DEVICE, Foresight
from batch.render.loading import quiet
from batch.run import configured
from benchmarks import asked
from benchmarks.cards import CARDS, Card
from benchmarks.kernels import Kernel, Recorder

PROMPT = "a lighthouse on a cliff at dusk, waves below, warm light in its windows, a small boat far out at sea"
"""Of no matter where texts are padded to one length, as SANA's are."""

COLUMNS = (
    "model", "size", "steps", "card", "stage", "class", "kernels", "tflop", "gb", "gb_fused",
    "eager_s", "fused_s", "floor_s",
)  # fmt: skip
"""Of the CSV: all for one image."""

STAGES = {"denoise_step": "denoising", "decode": "decoding"}

REST = "rest: embeddings, scheduler, guidance"
REST_OF_DECODING = "rest: blending, bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What rendering an image takes of a card."""

    model: str
    size: str
    dtype: str
    steps: int
    guidance: float
    stages: Mapping[str, tuple[tuple[str, Kernel], ...]]
    """The kernels of one step (``denoise_step``) and of decoding (``decode``), each with its class before it."""

    def times(self, stage: str) -> int:
        """How often a stage runs for an image."""
        return self.steps if stage == "denoise_step" else 1


@dataclass(frozen=True, slots=True)
class Times:
    """Bounds in seconds."""

    eager: float = 0.0
    fused: float = 0.0
    floor: float = 0.0

    def __add__(self, other: Times) -> Times:
        return Times(self.eager + other.eager, self.fused + other.fused, self.floor + other.floor)

    def __mul__(self, factor: int) -> Times:
        return Times(self.eager * factor, self.fused * factor, self.floor * factor)


# Counting


def count(model: str, size: str, *, steps: int | None = None, guidance: float | None = None) -> Work:
    """The work of one image ``WIDTHxHEIGHT`` of a model of the catalogue, or of one in a folder.

    ``steps`` and ``guidance`` are the model's own unless given. Raises :class:`UserError` for a wrong name or
    size, and for a model that cannot be counted.
    """
    known = find_model(model, Path(), {}, online=False)
    source = configured.source_of(known)
    if isinstance(source, str):
        raise UserError(f"{model} cannot be counted stage by stage: {source}")
    task = _task(known, asked.size(known, size), known.guidance if guidance is None else guidance)
    quiet()
    try:
        counted = _Counting(source, known.dtype)
        stages = {"denoise_step": counted.step(task), "decode": counted.decode(task)}
    except Exception as error:  # whatever a module raises that cannot go without numbers
        said = f"{type(error).__name__}: {failures.first_line(error)}"
        raise UserError(f"{model} cannot be counted, because its modules fail without numbers: {said}") from error
    return Work(
        model=model,
        size=f"{task.width}x{task.height}",
        dtype=known.dtype,
        steps=known.steps if steps is None else steps,
        guidance=task.guidance,
        stages=stages,
    )


def _task(model: Model, size: Size, guidance: float) -> Task:
    """Of two steps: the second is one like all others."""
    without = profiles.lacking(FAMILIES[model.family])
    return Task(
        model=model.name, dtype=model.dtype, prompt=PROMPT, seed=0, width=size.width, height=size.height,
        rendered_width=size.width, rendered_height=size.height, steps=2, guidance=guidance,
        memory_steps=profiles.resolve("auto", size, without),
    )  # fmt: skip


class _Counting(Foresight):
    """A model built without numbers, whose kernels are recorded stage by stage."""

    def step(self, task: Task) -> tuple[tuple[str, Kernel], ...]:
        """The kernels of one denoising step, guidance and scheduler included."""
        pipe = self._renderers
        embeds = [made for made, _ in self._texts(task)]
        with self._shapes.everywhere():  # computed once for a size: not part of any step
            positions.put(pipe, task, DEVICE)
        ends: dict[int, int] = {}  # a scheduler of second order says twice that a step is done: the last counts
        with _recording(pipe) as recorder:
            self._made = self._family.denoise(
                pipe, [task], [embeds], DEVICE, lambda step: ends.update({step: recorder.mark})
            )
        name = next(name for name in DENOISERS if getattr(pipe, name, None) is not None)
        classed = sana_class if isinstance(getattr(pipe, name), SanaTransformer2DModel) else denoising_class
        return tuple((classed(kernel), kernel) for kernel in recorder.kernels(ends[1], ends[2]))

    def decode(self, task: Task) -> tuple[tuple[str, Kernel], ...]:
        """The kernels from the latents of :meth:`step` to bytes."""
        pipe = self._renderers
        for step in task.memory_steps:  # tiles, or none
            if step.name in steps_at_work.STEPS:
                steps_at_work.STEPS[step.name](pipe, dict(step.arguments), DEVICE)
        # As on a card, where a tile becomes bytes at once.
        as_on_card = mock.patch.object(pixels, "CPU_STRIP", pixels.DEVICE_STRIP)
        with as_on_card, _recording(pipe) as recorder, recorder.once(pipe.vae.decoder):
            for part in self._family.decode(pipe, task, self._made).each:
                height, width = part.image.shape[2:]
                pixels._convert(part, part.image.new_empty((height, width, 3), dtype=torch.uint8))
        return tuple((decoding_class(kernel), kernel) for kernel in recorder.kernels())


@contextmanager
def _recording(pipe: Any) -> Iterator[Recorder]:
    parts = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    with torch.no_grad(), Recorder(parts) as recorder:
        yield recorder


# Classes


def sana_class(kernel: Kernel) -> str:
    """The class of a kernel of denoising with SANA's transformer."""
    _, _, block = kernel.place.partition(".transformer_blocks.")
    part = block.partition(".")[2]
    if not block:
        return REST
    if kernel.kind == "matrix":
        return "matrix products"
    if kernel.kind == "depthwise":
        return "depthwise 3x3"
    if part.startswith("ff"):
        return "feed-forward, pointwise"
    if kernel.kind == "batched":
        return "linear attention: two products in float32"
    if part.startswith("attn1") and ".norm" not in part:
        return "linear attention: casts, pad, copies"
    if part.startswith("attn2") and ".norm" not in part:
        return "cross attention"
    return "norms, modulation, gates, residuals"


def denoising_class(kernel: Kernel) -> str:
    """The class of a kernel of denoising with any other model."""
    if not kernel.place:
        return REST
    if kernel.kind in ("matrix", "depthwise"):
        return "matrix products, convolutions"
    return _attention_or_pointwise(kernel)


def decoding_class(kernel: Kernel) -> str:
    """The class of a kernel of decoding."""
    if not kernel.place:
        return REST_OF_DECODING
    if kernel.kind in ("matrix", "depthwise"):
        return "convolutions, linears"
    return _attention_or_pointwise(kernel)


def _attention_or_pointwise(kernel: Kernel) -> str:
    return "attention" if kernel.attends or kernel.kind in ("batched", "attention") else "norms, pointwise"


# Times


def best(work: Work, *, bandwidth: float, matrix: float, float32: float) -> dict[str, Times]:
    """Bounds of one denoising step and of decoding, in seconds.

    ``bandwidth`` in bytes a second; ``matrix``, the rate of products in half precision, and ``float32``, that of
    CUDA cores, in FLOP/s.
    """
    card = Card(name="", device="", bandwidth=bandwidth, matrix=matrix, float32=float32, source="")
    return {stage: sum((_times(one, card) for _, one in found), Times()) for stage, found in work.stages.items()}


def _times(kernel: Kernel, card: Card) -> Times:
    rate = {"matrix": card.matrix, "tf32": card.matrix / 2, "float32": card.float32}[kernel.rate]
    computing = kernel.flops / rate
    once = Times(
        eager=max(computing, kernel.moved / card.bandwidth),
        fused=max(computing, kernel.fused / card.bandwidth),
        floor=kernel.flops / max(card.matrix, card.float32),
    )
    return once * kernel.times


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A class of kernels, or a sum of them, for one image on one card."""

    card: str
    stage: str
    name: str
    kernels: int
    flops: int
    moved: int
    """Bytes read and written, eager."""
    fused: int
    """Bytes, fused."""
    times: Times


def rows(work: Work, card: Card) -> list[Row]:
    """The classes of each stage, those that take longest first, then the stage; at last the image."""
    found, stages = [], []
    for stage, kernels in work.stages.items():
        names = dict.fromkeys(name for name, _ in kernels)
        classes = [_row(work, card, stage, kernels, name) for name in names]
        stages.append(_sum(classes, "total"))
        found += [*sorted(classes, key=lambda row: -row.times.eager), stages[-1]]
    return [*found, replace(_sum(stages, "image"), stage="")]


def _row(work: Work, card: Card, stage: str, kernels: Sequence[tuple[str, Kernel]], name: str) -> Row:
    ours, times = [kernel for one, kernel in kernels if one == name], work.times(stage)
    return Row(
        card=card.name,
        stage=STAGES[stage],
        name=name,
        kernels=times * sum(kernel.times * kernel.launches for kernel in ours),
        flops=times * sum(kernel.times * kernel.flops for kernel in ours),
        moved=times * sum(kernel.times * kernel.moved for kernel in ours),
        fused=times * sum(kernel.times * kernel.fused for kernel in ours),
        times=sum((_times(kernel, card) for kernel in ours), Times()) * times,
    )


def _sum(parts: Sequence[Row], name: str) -> Row:
    return replace(
        parts[0],
        name=name,
        kernels=sum(row.kernels for row in parts),
        flops=sum(row.flops for row in parts),
        moved=sum(row.moved for row in parts),
        fused=sum(row.fused for row in parts),
        times=sum((row.times for row in parts), Times()),
    )


# What is printed


def totals(work: Work, cards: Sequence[Card]) -> Iterator[str]:
    """A table of cards, as Markdown: seconds and images an hour."""
    yield "| card | eager | fused | floor | an hour: eager | fused | floor |"
    yield "|---|" + "---:|" * 6
    for card in cards:
        times = rows(work, card)[-1].times
        bounds = (times.eager, times.fused, times.floor)
        hourly = (f"{3600 / bound:,.0f}" if bound else "" for bound in bounds)
        yield f"| {card.name} | " + " | ".join([*map(_seconds, bounds), *hourly]) + " |"


def classes(work: Work, card: Card) -> Iterator[str]:
    """A table of the classes of kernels on one card, as Markdown: what they take for an image."""
    found = rows(work, card)
    whole = found[-1].times
    yield "| stage | kernels of | number | TFLOP | GB | eager | | GB fused | fused | | floor |"
    yield "|---|---|" + "---:|" * 9
    for row in found:
        shares = [_share(row.times.eager, whole.eager), _share(row.times.fused, whole.fused)]
        cells = [
            row.stage, row.name, f"{row.kernels:,}", f"{row.flops / 1e12:,.1f}",
            f"{row.moved / 1e9:,.1f}", _seconds(row.times.eager), shares[0],
            f"{row.fused / 1e9:,.1f}", _seconds(row.times.fused), shares[1], _seconds(row.times.floor),
        ]  # fmt: skip
        yield "| " + " | ".join(cells) + " |"


def _seconds(value: float) -> str:
    return f"{value:.3f} s" if value >= 0.1 else f"{value:.3g} s"  # a tiny model takes microseconds


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}"


def write(work: Work, cards: Sequence[Card], target: Path) -> None:
    """The classes on every card as CSV."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        for row in (row for card in cards for row in rows(work, card)):
            about = [work.model, work.size, work.steps, row.card, row.stage, row.name, row.kernels]
            counted = [f"{row.flops / 1e12:.3f}", f"{row.moved / 1e9:.3f}", f"{row.fused / 1e9:.3f}"]
            seconds = [f"{value:.4g}" for value in (row.times.eager, row.times.fused, row.times.floor)]
            lines.writerow([*about, *counted, *seconds])


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", help="a name that `models` lists, or a folder")
    parser.add_argument("size", metavar="SIZE", help="WIDTHxHEIGHT")
    parser.add_argument(
        "--card", choices=list(CARDS), help="this one alone; else all, and the classes of the first"
    )
    parser.add_argument(
        "--bandwidth", type=_rate, metavar="B", help="bytes a second, in place of the data sheet's"
    )
    parser.add_argument("--matrix", type=_rate, metavar="F", help="FLOP/s of products in half precision")
    parser.add_argument("--float32", type=_rate, metavar="F", help="FLOP/s of CUDA cores in float32")
    parser.add_argument("--steps", type=asked.whole, metavar="N", help="the model's own by default")
    parser.add_argument("--guidance", type=_guidance, metavar="G", help="the model's own by default")
    parser.add_argument(
        "--csv", type=asked.file, help="where the tables are kept; the docs hold that of all cards"
    )
    given = parser.parse_args(words)
    measured = (given.bandwidth, given.matrix, given.float32)
    if given.card is None and any(measured) and not all(measured):
        parser.error("without --card, --bandwidth, --matrix and --float32 belong together")
    return given


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1e9 <= value < 1e18:
        raise argparse.ArgumentTypeError(f"{text} is no card's rate a second; write one such as 3.35e12")
    return value


def _guidance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no guidance; write 0 or more")
    return value


def chosen(given: argparse.Namespace) -> list[Card]:
    """The card that is named, with what was measured in place of its data sheet's; or all."""
    measured = {name: getattr(given, name) for name in ("bandwidth", "matrix", "float32") if getattr(given, name)}
    if given.card is None and not measured:
        return list(CARDS.values())
    if given.card is None:
        return [Card(name="measured", device="", source="the command line", **measured)]
    card = CARDS[given.card]
    return [
        replace(card, name=f"{card.name}, measured", source="the command line", **measured) if measured else card
    ]


def main(given: argparse.Namespace) -> int:
    try:
        work = count(given.model, given.size, steps=given.steps, guidance=given.guidance)
    except BatchError as error:
        print(f"roofline: {error}", file=sys.stderr)
        return error.exit_code
    cards = chosen(given)
    print(f"{work.model} at {work.size}, {work.dtype}, {work.steps} steps, guidance {work.guidance:g}")
    print("Bounds counted from shapes and the cards' figures, not measurements; for one image.\n")
    print("\n".join(totals(work, cards)))
    print(f"\n{cards[0].name}, {_figures(cards[0])}:\n")
    print("\n".join(classes(work, cards[0])))
    if given.csv is not None:
        write(work, cards, given.csv)
    return 0


def _figures(card: Card) -> str:
    rates = f"{card.matrix / 1e12:g} TFLOP/s in bfloat16, {card.float32 / 1e12:g} TFLOP/s in float32"
    return f"{card.bandwidth / 1e12:g} TB/s, {rates} ({card.source})"


if __name__ == "__main__":
    sys.exit(main(arguments()))
