"""Questions to several nodes at once, each errand a row of them: nobody waits for anybody else's answer."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Generator
from typing import Any

import ray
from ray.exceptions import RayError

Errand = Generator[Any, Any, None]
"""Yields what Ray is to be waited for, and is sent the answer, or thrown the error."""


class Errands:
    """All that are under way, by what they wait for."""

    def __init__(self) -> None:
        self._waiting: dict[Any, Errand] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def refs(self) -> list[Any]:
        """What they wait for."""
        return list(self._waiting)

    def begin(self, errand: Errand) -> None:
        """Ask the first question."""
        self._put(errand, lambda: next(errand))

    def go_on(self, ready: Collection[Any]) -> None:
        """Take the answers that are there to whoever has asked."""
        for ref in ready:
            if (errand := self._waiting.pop(ref, None)) is not None:
                self._answer(errand, ref)

    def _answer(self, errand: Errand, ref: Any) -> None:
        try:
            answer = ray.get(ref)
        except RayError as error:
            said = error
            self._put(errand, lambda: errand.throw(said))
        else:
            self._put(errand, lambda: errand.send(answer))

    def _put(self, errand: Errand, step: Any) -> None:
        with contextlib.suppress(StopIteration):
            self._waiting[step()] = errand
