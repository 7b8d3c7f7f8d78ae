"""Making very many objects at once: a plan of a million tasks, or everything that diffusers imports."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_gc() -> Iterator[None]:
    """The collector would walk through a million new objects again and again; none of them is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def importing() -> Iterator[None]:
    """For libraries as large as torch: what they make stays for good, so it is never looked through again.

    A third of the time of starting a worker, and a second of ending it, else goes to the collector.
    """
    with without_gc():
        yield
        gc.freeze()
