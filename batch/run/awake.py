"""Keep the machine from going to sleep under a run, where it can be told so."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wakepy import Mode


@contextmanager
def awake() -> Iterator[None]:
    """Within the block the machine does not sleep by itself; the screen may.

    Does nothing without the package wakepy, or where the system has nothing to ask (a server without a desktop).
    Never raises, never prints. To be left in the thread that entered it.
    """
    mode: Mode | None = None
    with _quiet():
        from wakepy import keep

        mode = keep.running(on_fail="pass").__enter__()
    try:
        yield
    finally:
        if mode is not None:
            with _quiet():
                mode.__exit__(None, None, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """A night is not ended, nor its progress disturbed, because the machine may sleep."""
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
