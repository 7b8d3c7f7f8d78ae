"""What a device can do: bytes copied, and matrix products in a burst and sustained."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

BURST = 8
"""Products of which the best counts: a cold card runs them before its power limit holds it down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixRate:
    """FLOP/s of a large matrix product."""

    burst: float
    """The best of :data:`BURST` products on a card that was idle."""
    sustained: float
    """Over the last half of some seconds at full load: what a night runs at."""


def synchronize(device: str) -> None:
    """Wait until the device has done all that it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def timed(work: Callable[[], Any], device: str, times: int = 1) -> float:
    """Seconds of some work on a device, done so many times without a wait between."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(times):
        work()
    synchronize(device)
    return time.perf_counter() - start


def matrix_rate(device: str, dtype: torch.dtype, *, seconds: float = 3.0) -> MatrixRate:
    """The rate of a square product: of side 8192 on a card, 2048 elsewhere. Random numbers: zeros run faster."""
    side = 8192 if device.startswith("cuda") else 2048
    one, two = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    made = torch.empty(side, side, device=device, dtype=dtype)
    product = partial(torch.mm, one, two, out=made)
    product()  # loads the library
    work = 2.0 * side**3
    burst = min(timed(product, device) for _ in range(BURST))
    # Several products between two looks at the clock, so that the device never waits for the host.
    at_once = max(1, int(0.1 / burst))
    taken: list[tuple[float, float]] = []
    start = time.perf_counter()
    while (since := time.perf_counter() - start) < seconds or not taken:
        taken.append((since, timed(product, device, at_once)))
    late = [spent for since, spent in taken if since >= seconds / 2] or [taken[-1][1]]
    return MatrixRate(burst=work / burst, sustained=work * at_once * len(late) / sum(late))


def copy_bandwidth(device: str) -> float:
    """Bytes a second of a copy within the device's memory, those read and those written; the best of five."""
    size = 2**32 if device.startswith("cuda") else 2**28
    source = torch.ones(size // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    return 2 * size / min(timed(partial(target.copy_, source), device) for _ in range(5))
