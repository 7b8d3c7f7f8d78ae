"""What hypothesis makes up is read in a process with little memory and time."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytest.importorskip("resource", reason="no limits can be set here")


def test_whatever_is_read_there_is_a_result_or_a_message():
    done = subprocess.run(
        [sys.executable, "-m", "tests.upkeep.fuzz"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "all\n"), done.stderr[-4_000:]
