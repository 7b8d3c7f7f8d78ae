"""The scheduler a task names, made from the model's own, and what a receipt says of it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import diffusers
import numpy as np
import torch
from diffusers import SchedulerMixin

from batch.base.errors import TaskError
from batch.catalogue.scheduler_names import OWN_SCHEDULER, SCHEDULER_PRESETS, SCHEDULERS
from batch.records.kinds import Stage
from batch.records.values import Call

if TYPE_CHECKING:
    from batch.render.untyped import Config, Keywords

Noise = torch.Generator | list[torch.Generator]
"""What an image's noise is drawn from; of a batch one for each."""


def make(own: SchedulerMixin, call: Call | None) -> SchedulerMixin:
    """The model's own scheduler, or the one named, with the model's settings and the overrides.

    Raises :class:`TaskError` for what is no scheduler, and for a setting that it does not have.
    """
    if call is None:
        return own
    kind = type(own) if call.name == OWN_SCHEDULER else _named(call.name)
    known = _settings(kind)
    unknown = sorted(set(dict(call.arguments)) - known)
    if unknown:
        raise TaskError(f"scheduler {call.name} has no setting {unknown[0]}", stage=Stage.DENOISE)
    changes: Keywords = {**SCHEDULER_PRESETS.get(call.name, {}), **dict(call.arguments)}
    # The two kinds of flow schedulers call the same settings by different names.
    config = own.config
    renamed: Keywords = {}
    if "use_flow_sigmas" in config and "shift" in known:
        renamed = {"shift": config["flow_shift"]} if "flow_shift" in config else {}
    elif str(config.get("_class_name", "")).startswith("FlowMatch") and "use_flow_sigmas" in known:
        renamed = {
            "use_flow_sigmas": True,
            "prediction_type": "flow_prediction",
            "flow_shift": config.get("shift", 1.0),
        }
    return kind.from_config(config, **(renamed | changes))


def _named(name: str) -> type[SchedulerMixin]:
    kind = getattr(diffusers, SCHEDULERS.get(name, name), None)
    if not (isinstance(kind, type) and issubclass(kind, SchedulerMixin)):
        raise TaskError(f"there is no scheduler {name}", stage=Stage.DENOISE)
    return kind


def _settings(kind: type[SchedulerMixin]) -> set[str]:
    """What a scheduler is made with."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(kind.__init__).parameters.values()
    return {item.name for item in parameters if item.kind in named} - {"self"}


@contextmanager
def drawing(scheduler: SchedulerMixin, generator: Noise | None) -> Iterator[None]:
    """Noise that steps draw comes from the images' generators, also where the pipeline does not hand them on.

    Flux, SD 3 and others call ``step`` without one: a scheduler that adds noise would draw it from torch's
    global state then, and no picture could be rendered twice.
    """
    step = getattr(scheduler, "step", None)
    if generator is None or step is None or "generator" not in inspect.signature(step).parameters:
        yield
        return
    scheduler.step = partial(step, generator=generator)
    try:
        yield
    finally:
        del scheduler.step  # the class has it


def recorded(scheduler: SchedulerMixin) -> Config:
    """The class of a scheduler and its configuration in effect, as strict JSON has it.

    Only what the class itself knows: settings that came along from another scheduler do nothing.
    """
    known = _settings(type(scheduler))
    config = {name: _plain(value) for name, value in sorted(scheduler.config.items()) if name in known}
    return {"class": type(scheduler).__name__} | config


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list | tuple | set | range):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else str(value)
