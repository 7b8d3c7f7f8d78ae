"""Whether a machine can quantise as a memory setting asks: without torch, so before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from importlib.util import find_spec

from packaging.version import Version

from batch.base.errors import UserError
from batch.memory.steps import BACKENDS
from batch.records.tasks import Task
from batch.records.values import Call

LEAST = {"bitsandbytes": "0.48", "torchao": "0.16"}
"""Older ones cannot be moved between host memory and a card, or are not taken by peft and diffusers."""


def backend(steps: tuple[Call, ...]) -> str:
    """What ``quantize`` of a setting is told; empty without it."""
    return next((str(dict(step.arguments)["to"]) for step in steps if step.name == "quantize"), "")


def require(name: str, *, card: bool) -> None:
    """Raise :class:`UserError` where the package of a backend is missing or too old, or has no CUDA card."""
    package = BACKENDS[name]
    if package == "bitsandbytes" and not card:
        raise UserError(f"memory: quantize({name}) works on a CUDA card only; write quantize(torchao_int8)")
    remedy = "install it with: pip install 'run-batch[quantize]'"
    if find_spec(package) is None:
        raise UserError(f"memory: quantize({name}) needs the {package} package; {remedy}")
    if Version(metadata.version(package)) < Version(LEAST[package]):
        raise UserError(
            f"memory: quantize({name}) needs {package} {LEAST[package]} or newer, not "
            f"{metadata.version(package)}; {remedy}"
        )


def impossible(tasks: Iterable[Task], *, card: bool) -> list[str]:
    """Why settings of a plan cannot be carried out on this machine."""
    found = []
    for name in sorted({backend(task.memory_steps) for task in tasks} - {""}):
        try:
            require(name, card=card)
        except UserError as error:
            found.append(str(error))
    return found
