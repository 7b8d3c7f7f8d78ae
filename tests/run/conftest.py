"""What tests of several files here have done for them."""

import shlex
import sys

import pytest


@pytest.fixture
def command(work, monkeypatch):
    """A Python program as a target; the secrets are arguments."""
    for name in ("RUN_BATCH_ENGINE", "RUN_BATCH_MODELS", "RUN_BATCH_PREDICT", "RUN_BATCH_SHIPPED"):
        monkeypatch.delenv(name, raising=False)

    def write(text, *arguments):
        path = work / f"tell {len(list(work.glob('tell *')))}.py"
        path.write_text(text, encoding="utf-8")
        return shlex.join([sys.executable, str(path)]) + "".join(f" {item}" for item in arguments)

    return write
