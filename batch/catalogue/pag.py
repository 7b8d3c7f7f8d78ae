"""Perturbed-attention guidance (PAG) as an option of SANA: what a manifest says of it, and what it costs.

With a scale above 0 the picture is guided away from what the model makes of it with some of its self-attention
replaced by the identity. That is one more image in every call of the transformer. ``render/pag.py`` does it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from batch.catalogue.model import Model
from batch.records.tasks import Task
from batch.records.values import Arguments, Value

SCALE, ADAPTIVE, LAYERS = "pag_scale", "pag_adaptive_scale", "pag_applied_layers"
NAMES = frozenset({SCALE, ADAPTIVE, LAYERS})
"""Of ``extra``."""

_BLOCK = 8
"""The block that SANA's authors perturb; every SANA has 20 or more."""

_MOST_BLOCKS = 1000
"""Where the number is not known: a layer that is none of these is no layer."""


def default_layer(blocks: int) -> str:
    """The layer perturbed where none is named: block 8, or the middle one of a model that is smaller."""
    return f"transformer_blocks.{_BLOCK if blocks > _BLOCK else blocks // 2}"


def scale(extra: Arguments) -> float:
    """How strongly; 0 is not at all."""
    value = next((value for name, value in extra if name == SCALE), 0)
    return float(value) if isinstance(value, int | float) else 0.0


def passes(task: Task) -> int:
    """Images in each call of the model for one that is made: itself, one for guidance, one for PAG."""
    return 1 + (task.guidance > 1) + (bool(task.extra) and scale(task.extra) > 0)


def settled(model: Model, extra: Mapping[str, Value]) -> dict[str, Value]:
    """Extra arguments as a task has them: the model's own scale where none is given, nothing where it is 0."""
    settled = dict(extra)
    if model.pag_scale:
        settled.setdefault(SCALE, model.pag_scale)
    if settled.get(SCALE, 1) in (0, None):
        for name in NAMES:
            settled.pop(name, None)
    return settled


def objection(model: Model, name: str, given: Mapping[str, object]) -> str:
    """What is wrong with one of :data:`NAMES`; "" where nothing is."""
    value = given[f"extra.{name}"]
    asked = given.get(f"extra.{SCALE}", model.pag_scale or None)
    if name != LAYERS and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
        return "a number is wanted, 0 or above; for example 3.0"
    if name == SCALE:
        if value and model.qk_norm:
            return (
                f"{model.name} normalises queries and keys in its attention, which diffusers' perturbed layers "
                "leave out: the picture would be spoilt"
            )
        return ""
    if asked is None:
        return f"it has no effect without extra.{SCALE}"
    if name != LAYERS:
        return ""
    layers = value if isinstance(value, tuple) else (value,)
    if not layers or not all(isinstance(layer, str) and layer for layer in layers):
        return f"the name of a layer or a list of names is wanted; for example {default_layer(model.blocks)}"
    blocks = model.blocks
    known = f"; {model.name} has transformer_blocks.0 to transformer_blocks.{blocks - 1}" if blocks else ""
    for layer in layers:
        try:
            # As diffusers finds the self-attention of a block under that name: anywhere in it, as an expression.
            pattern = re.compile(str(layer))
            numbers = range(blocks or _MOST_BLOCKS)
            found = any(pattern.search(f"transformer_blocks.{number}.attn1") for number in numbers)
        except re.error as error:
            return f"{layer} is no regular expression: {error}"
        if not found:
            return f"there is no layer {layer}{known or '; layers are named as in transformer_blocks.8'}"
    return ""
