"""A process held to a part of its card: a large GPU that behaves like a small one in memory, not in speed.

The limit counts all that the process has on the device. torch's allocator is held to what is left of it beside
the context: what CUDA, cuBLAS and cuDNN take for themselves, measured once they have worked. Kernels loaded later
make the context a little larger; ``peak_device_mib`` of every row says what was taken in truth.
"""

from __future__ import annotations

import torch

from batch.base.errors import UserError
from batch.render import device as devices
from batch.render.meter import Meter

LEAST = 64 * 2**20
"""Bytes that torch's allocator must be left with: below that nothing can be loaded."""

_limits: dict[str, int] = {}


def cap(device: str, limit: int) -> str:
    """Hold this process to ``limit`` bytes of a CUDA device; before anything is on it. What was done, in words.

    Raises :class:`UserError` where the limit is no limit, or leaves nothing, or cannot be held.
    """
    meter = Meter(device)  # asks what is in use before this process takes its first byte
    devices.use(device)  # which takes some
    total = torch.cuda.get_device_properties(device).total_memory
    # cuBLAS and cuDNN load what they work with: it is context, and stays.
    for dtype in (torch.float32, torch.bfloat16):
        square = torch.ones(1, 64, 64, 64, device=device, dtype=dtype)
        torch.nn.functional.conv2d(square, torch.ones(64, 64, 3, 3, device=device, dtype=dtype), padding=1)
        square @ square
    torch.cuda.synchronize(device)
    del square
    torch.cuda.empty_cache()
    used = meter.on_device()
    if used is None:
        raise UserError("--vram-limit: the driver does not say what this process takes of the card (NVML)")
    context = max(0, used - torch.cuda.memory_reserved(device))
    torch.cuda.set_per_process_memory_fraction(fraction(limit, context, total), device)
    _limits[device] = limit
    return (
        f"held to {limit / 2**30:.2f} GiB of {total / 2**30:.2f}: {context / 2**30:.2f} for CUDA itself "
        f"({meter.memory_source}), {(limit - context) / 2**30:.2f} for tensors"
    )


def fraction(limit: int, context: int, total: int) -> float:
    """The share of a card of ``total`` bytes that torch may allocate, so that with ``context`` it is ``limit``.

    Raises :class:`UserError` for a limit that is none on this card, or leaves too little.
    """
    if limit >= total:
        raise UserError(
            f"--vram-limit {limit / 2**30:g}GiB has no effect: the card has {total / 2**30:.1f} GiB in all"
        )
    if limit - context < LEAST:
        raise UserError(
            f"--vram-limit {limit / 2**30:g}GiB leaves nothing: CUDA itself takes {context / 2**30:.2f} GiB here"
        )
    return (limit - context) / total


def room(device: str) -> int:
    """Bytes of a CUDA device that this process may take."""
    total: int = torch.cuda.get_device_properties(device).total_memory
    return min(total, _limits.get(device, total))
