"""A loaded pipeline and what has been done to it: LoRAs, a memory setting, compiling. Dropped as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from diffusers import DiffusionPipeline

from batch.memory.profiles import shown_steps
from batch.memory.steps import LAYERWISE
from batch.records.kinds import HappeningKind, Stage
from batch.records.tasks import Lora, Task
from batch.records.values import Call
from batch.render import device as devices
from batch.render import exact, loras, memory, positions, schedulers
from batch.render.backend import Loads
from batch.render.compiling import Compiler

if TYPE_CHECKING:
    from batch.render.memory import Burden
    from batch.render.oddities import Oddities


class Loaded:
    """A pipeline as it was loaded: ``part`` says which components, ``settled`` what only loading anew takes back.

    ``burden`` is what it takes on a card, where it has to fit.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        part: Loads,
        settled: tuple[object, ...],
        device: str,
        oddities: Oddities,
        burden: Burden | None = None,
    ) -> None:
        self.pipe = pipe
        self.compiler = Compiler()
        self.part, self.settled = part, settled
        self._device = device
        self._oddities = oddities
        self._burden = burden
        self._steps: tuple[Call, ...] | None = None
        """In effect; None where it is not known, so that one is applied."""
        self._loras: tuple[Lora, ...] | None = ()
        """None: loading some has failed half-way."""
        if part in (Loads.IMAGES, Loads.DECODER):
            exact.settle(pipe)
        self._own_scheduler = getattr(pipe, "scheduler", None)

    def tells_again(self) -> bool:
        """Whether what was found odd while it was loaded will be found again."""
        if self._loras:
            self._loras = None  # they are put anew
        return not self.compiler.failed

    def serves(self, part: Loads, settled: tuple[object, ...]) -> bool:
        """Whether these components are there; what renders images can also decode."""
        if (part, self.part) == (Loads.DECODER, Loads.IMAGES):
            return True
        return (part, settled) == (self.part, self.settled)

    def prepare(self, task: Task, *, compiled: bool) -> tuple[Call, ...]:
        """Compile where that is possible; the task's memory setting, with what ``auto`` adds for the card."""
        steps = memory.setting(task, self._burden, self._device)
        self.compiler.switch(self.pipe, on=compiled and not self._by_layers(steps))
        return steps

    def _by_layers(self, steps: tuple[Call, ...]) -> bool:
        """Whether blocks cannot be compiled for a setting, which is told once where that was not known before."""
        if LAYERWISE.isdisjoint(step.name for step in steps):
            return False
        if self._oddities.first(HappeningKind.NOT_COMPILED):
            self.compiler.excuse = f"{shown_steps(steps)} moves or casts its layers one by one"
        return True

    def set_up(self, stage: Stage, task: Task, steps: tuple[Call, ...]) -> None:
        """Have a task's LoRAs, positions and scheduler, and this memory setting."""
        self.put_loras(task.loras)
        # Groups know the tensors they move: another table of positions is none of them.
        if stage == Stage.DENOISE and positions.put(self.pipe, task, self._device) and memory.offloads(steps):
            self._steps = None
        if self.compiler.on and self._by_layers(steps):  # a rung
            self.compiler.switch(self.pipe, on=False)
        if steps != self._steps:
            was_locked = self._steps is not None and memory.locks_pages(self._steps)
            self._steps = None  # a half-applied setting is applied again
            memory.apply(self.pipe, steps, self._device)
            self._steps = steps
            if was_locked:
                devices.give_back(self._device)
        self.pipe.scheduler = schedulers.make(self._own_scheduler, task.scheduler)

    def put_loras(self, wanted: tuple[Lora, ...]) -> bool:
        """Have these; whether they are others than before, so that memory settings are placed anew around them."""
        if wanted == self._loras:
            return False
        self._loras = self._steps = None
        memory.reset(self.pipe)
        for said in loras.put(self.pipe, wanted):
            self._oddities.tell(HappeningKind.LORA, said, once=said)
        self._loras = wanted
        return True

    def give_up(self) -> None:
        """After a failure: offloaded components go back, and what the allocator keeps is given up."""
        if self._steps is not None and memory.offloads(self._steps) and memory.has_card(self._device):
            # Groups that were on their way, and layers whose turn had not ended, are where they were.
            self._steps = None
            memory.reset(self.pipe)
            self.pipe.to("cpu")
        else:
            memory.rest(self.pipe)
        devices.give_back(self._device)

    @contextmanager
    def autoencoder(self, *, float32: bool, on_cpu: bool) -> Iterator[None]:
        """The autoencoder in float32 or on the CPU for one decoding; the setting is applied anew afterwards."""
        if not float32 and not on_cpu:
            yield
            return
        vae, device = self.pipe.vae, "cpu" if on_cpu else self._device
        own = vae.dtype
        self._steps = None
        memory.unhook(vae)
        try:
            vae.to(device, torch.float32)
            yield
        finally:
            vae.to("cpu", own)
