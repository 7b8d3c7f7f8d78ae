"""Section of a visit about single kernels: the same work done in several ways, at the shapes of SANA at 4K.

The first way of each kind is the pipeline's own, and the others are compared with it. What cannot be done here is
a row with the error.
"""

from __future__ import annotations

import statistics

import torch

from batch.render.device import give_back
from batch.render.failures import first_line
from benchmarks import card_kinds, rates
from benchmarks.card_bench import Bench
from benchmarks.card_kinds import Kind, Way
from benchmarks.card_process import Say
from benchmarks.card_rows import Floor

SECONDS = 0.15
"""For the timing of one way."""


def kernels(bench: Bench, say: Say) -> None:
    """All kinds; the tensors of one are gone before the next is made."""
    torch.manual_seed(0)
    with torch.no_grad():
        for make in card_kinds.ALL:
            try:
                _compare(make(bench.shapes, bench.device), bench, say)
            except Exception as error:  # noqa: BLE001 - its tensors did not fit, say
                say(make.__name__, "failed", note=_said(error))
            give_back(bench.device)


def _compare(kind: Kind, bench: Bench, say: Say) -> None:
    first: torch.Tensor | None = None
    taken: dict[str, float] = {}
    for name, way in kind.ways.items():
        try:
            made, seconds = way(), _timed(way, bench.device)
        except Exception as error:  # noqa: BLE001 - that it cannot be done so is the result
            say(f"{kind.name}: {name}", "failed", note=_said(error))
            continue
        note = [_rate(kind.floor, seconds), "" if first is None else _apart(made, first)]
        first = made if first is None else first
        say(f"{kind.name}: {name}", 1000 * seconds, "ms", floor=kind.floor, note=", ".join(filter(None, note)))
        taken[name] = seconds
        del made
    if taken:
        best, own = min(taken, key=taken.__getitem__), next(iter(taken))
        said = best if best == own else f"{best}: {taken[best] / taken[own]:.0%} of the time of {own}"
        say(f"{kind.name}: fastest", 1000 * taken[best], "ms", floor=kind.floor, note=said, headline=True)


def _timed(way: Way, device: str) -> float:
    """Seconds of one call, the median of three rounds; the first call, which loads the kernel, was before."""
    times = max(1, min(50, int(SECONDS / 3 / rates.timed(way, device))))
    return statistics.median(rates.timed(way, device, times) / times for _ in range(3))


def _rate(floor: Floor, seconds: float) -> str:
    products = f"{floor.flops / seconds / 1e12:.4g} TFLOP/s, " if floor.flops else ""
    return f"{products}{floor.bytes / seconds / 1e9:.4g} GB/s"


def _apart(made: torch.Tensor, first: torch.Tensor) -> str:
    """The largest difference from the first way, absolute and as a part of the largest number."""
    most = float(first.abs().max())
    # In pieces: both in float32 at once would be four times what they are.
    pairs = zip(made.reshape(-1).split(2**26), first.reshape(-1).split(2**26), strict=True)
    apart = max(float((one.float() - two.float()).abs().max()) for one, two in pairs)
    return "no difference" if apart == 0 else f"differs by {apart:.3g} of {most:.3g}"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
