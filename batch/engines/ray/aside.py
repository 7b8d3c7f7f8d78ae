"""Calls of Ray that may never return."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def aside(call: Callable[[], T]) -> Future[T]:
    """Make a call in a thread that does not keep the process, as those of an executor would."""
    future: Future[T] = Future()

    def make() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised, or told, by whoever waits
            future.set_exception(error)

    threading.Thread(target=make, daemon=True, name="ray").start()
    return future
