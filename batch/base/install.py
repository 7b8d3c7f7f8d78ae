"""Commands that install packages into this Python, for a user to copy."""

from __future__ import annotations

import sys
from collections.abc import Iterable

CUDA_WHEELS = "https://download.pytorch.org/whl/cu130"


def packages(names: Iterable[str]) -> str:
    """The command that installs packages, each as pip takes it (``peft>=0.19``), options among them."""
    return f"{_python()} -m pip install " + " ".join(f'"{name}"' for name in names)


def torch_for_cuda() -> str:
    """The command that replaces a CPU-only torch."""
    return f"{_python()} -m pip install --force-reinstall torch --index-url {CUDA_WHEELS}"


def _python() -> str:
    return f'"{sys.executable}"' if " " in sys.executable else sys.executable
