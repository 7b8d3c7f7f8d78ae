"""The backend that renders with diffusers. Free of torch until one of its methods is called."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch.base.cache import default_folder
from batch.base.collector import importing, without_gc
from batch.records.receipts import Machine
from batch.records.spec import ModelSource

if TYPE_CHECKING:
    from batch.render.backend import Offered, Session
    from batch.render.session import DiffusersSession


@dataclass(frozen=True, slots=True)
class Diffusers:
    """Has no state: the libraries are imported in the process that renders."""

    def devices(self, asked: str | None) -> Offered:
        """See :func:`batch.render.device.offer`."""
        with without_gc():
            from batch.render import device

        return device.offer(asked)

    def cap(self, device: str, limit: int) -> str:
        """See :func:`batch.render.cap.cap`."""
        from batch.render.cap import cap
        from batch.render.device import in_torch

        return cap(in_torch(device), limit)

    def describe(self, device: str) -> Machine:
        """See :func:`batch.render.device.describe`."""
        from batch.render.device import describe, in_torch

        return describe(in_torch(device))

    def open(self, source: ModelSource, dtype: str, device: str, *, measure: bool = False) -> Session[Any]:
        """See :class:`batch.render.session.DiffusersSession`."""
        # Compiled models are kept between runs; for this process alone where that cannot be written.
        folder = str(Path(os.environ.get(COMPILED) or default_folder() / "compiled"))
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            print(f"compiled models are not kept in {folder}: {error}", file=sys.stderr)  # noqa: T201 - worker.log
            folder = tempfile.mkdtemp(prefix="run_batch-compiled-")
        os.environ[COMPILED] = folder  # importing diffusers makes it, or sets another
        from batch.render.device import in_torch

        return _session_class()(source, dtype, in_torch(device), measure=measure)


COMPILED = "TORCHINDUCTOR_CACHE_DIR"


@cache
def _session_class() -> type[DiffusersSession]:
    with importing():
        from batch.render.session import DiffusersSession
    return DiffusersSession
