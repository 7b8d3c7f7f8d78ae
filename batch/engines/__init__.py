"""Who renders which task where."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.errors import UserError

if TYPE_CHECKING:
    from batch.engines.base import Engine
    from batch.engines.keep import Keep
    from batch.engines.ray.choice import RayChoice
    from batch.render.backend import Backend

ENGINES = ("process", "local", "ray")
"""By name, the default first."""


VARIABLE = "RUN_BATCH_ENGINE"
"""Environment variable that names another default."""


def default() -> str:
    """The engine that is used unless one is named. Raises :class:`UserError` for one that is not there."""
    name = os.environ.get(VARIABLE) or ENGINES[0]
    if name not in ENGINES:
        raise UserError(f"{VARIABLE}={name}: there is no such engine; possible are {', '.join(ENGINES)}")
    return name


def check(name: str, devices: str | None, ray_address: str) -> None:
    """Raise :class:`UserError` for an engine that cannot be, before anything is downloaded or begun."""
    if name == "ray":
        from batch.engines.ray import engine

        engine.check(devices, ray_address)


def make(
    name: str, state: Path, backend: Backend, keep: Keep | None = None, ray: RayChoice | None = None
) -> Engine:
    """An engine by name. ``state`` is the run's folder of records; ``keep`` is a worker that runs share.

    ``ray`` says which cluster, and what its nodes must have.
    """
    if name == "ray":
        from batch.engines.ray.engine import RayEngine

        return RayEngine(state, backend, ray)
    if name == "local":
        from batch.engines.local import LocalEngine

        return LocalEngine(backend)
    from batch.engines.process import ProcessEngine

    return ProcessEngine(state, backend, keep)
