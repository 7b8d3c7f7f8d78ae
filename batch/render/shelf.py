"""What a session has loaded: the half of a model that is at work, and where there is room the other beside it.

One half encodes texts, the other renders. While images are rendered on a card, text encoders wait in host memory,
so that what denoising and decoding take of the card is the same as if they had been let go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.render import device as devices
from batch.render import memory
from batch.render.backend import Loads

if TYPE_CHECKING:
    from batch.render.loaded import Loaded

_TEXTS = (Loads.TEXTS, Loads.TEXTS_ON_CPU)


class Shelf:
    """Two halves at most; without ``keeps`` one."""

    def __init__(self, device: str, *, keeps: bool) -> None:
        self._device, self._keeps = device, keeps
        self.at_work: Loaded | None = None
        self._beside: Loaded | None = None

    @property
    def is_full(self) -> bool:
        """Whether both halves are there."""
        return self.at_work is not None and self._beside is not None

    def find(self, part: Loads, settled: tuple[object, ...]) -> Loaded | None:
        """What serves, at work from now on; where nothing does, the place of it is free."""
        if self.at_work is not None and self.at_work.serves(part, settled):
            return self.at_work
        self._turn(part)
        if self.at_work is not None and self.at_work.serves(part, settled):
            self._bring(self.at_work)
            return self.at_work
        if self.at_work is not None:
            self.at_work = None
            devices.give_back(self._device)
        return None

    def lighten(self) -> None:
        """Let go of what waits: memory has run out."""
        self._beside = None

    def anew(self) -> None:
        """For another run: let go of what would not tell again what it has told."""
        if not all(model.tells_again() for model in (self.at_work, self._beside) if model is not None):
            self.clear()

    def clear(self) -> None:
        """Let go of everything."""
        if self.at_work is not None or self._beside is not None:
            self.at_work = self._beside = None
            devices.give_back(self._device)

    def _turn(self, part: Loads) -> None:
        """Have the half of that part at work, if it is there; the other one waits, or is let go."""
        if self.at_work is not None and (self.at_work.part in _TEXTS) == (part in _TEXTS):
            return
        self.at_work, self._beside = self._beside, self.at_work
        if self._beside is None:
            return
        if not self._keeps or self._moves(self._beside):
            self._beside = None
        elif self._is_on_card(self._beside):
            self._beside.pipe.to("cpu")
        else:
            return
        devices.give_back(self._device)

    def _bring(self, model: Loaded) -> None:
        if self._is_on_card(model):
            model.pipe.to(self._device)

    def _is_on_card(self, model: Loaded) -> bool:
        """Whether they are text encoders that work on a card."""
        return model.part == Loads.TEXTS and memory.has_card(self._device)

    def _moves(self, model: Loaded) -> bool:
        """Whether they are text encoders that come to the card layer by layer, by a rung."""
        return self._is_on_card(model) and bool(model.settled)
