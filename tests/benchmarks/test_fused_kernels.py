"""benchmarks/fused_kernels.py: right against float64, in the model, and compiled for cards that are not here."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.conftest import ROOT

pytestmark = [
    pytest.mark.skipif(find_spec("triton") is None, reason="no Triton on this system"),
    pytest.mark.xdist_group("kernels"),  # the interpreter takes half a minute: once for all
]


def printed(script, *arguments):
    """The lines of JSON that a module of the tests prints, by their names."""
    command = [sys.executable, "-m", f"tests.benchmarks.{script}", *arguments]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    return {line.pop("name"): line for line in lines}


@pytest.fixture(scope="module")
def interpreted():
    return printed("interpreted")


@pytest.mark.parametrize(
    "name", ["gate: odd", "gate: one pixel", "gate: two strips", "attention: odd", "attention: few"]
)
def test_a_kernel_is_as_near_to_exact_results_as_half_precision_can_say(interpreted, name):
    found = interpreted[name]
    assert found["kernel"] < 2**-11  # half of the last of float16's eleven bits
    assert found["kernel"] <= found["plain"] * 1.01


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("float32", "in half precision, not torch.float32"),
        ("turned", "takes contiguous tensors"),
        ("heads of 24", "takes heads of 16, 32, 64 … channels, not of 24"),
        ("attention in float32", "in half precision, not torch.float32"),
    ],
)
def test_what_a_kernel_cannot_take_is_refused(interpreted, name, says):
    assert says in interpreted[f"refused: {name}"]["error"]


@pytest.mark.parametrize("name", ["attention", "feed-forward", "attention and feed-forward", "compiled"])
def test_the_model_computes_the_same_with_them(interpreted, name):
    assert 0 < interpreted[f"model: {name}"]["apart"] < 0.01


def test_blocks_share_what_is_compiled(interpreted):
    assert interpreted["model: compiled"]["graphs"] <= 2  # the first block's tokens lie otherwise


def test_nothing_of_them_is_left_in_a_model(interpreted):
    assert interpreted["model: afterwards"]["apart"] == 0


def test_cards_have_registers_enough():
    """Compute capability 8.0 is an A100's, 8.9 an RTX 4090's, 9.0 that of H100 and H200."""
    found = printed("assembled", "80", "89", "90")
    assert len(found) == 9
    for name, line in found.items():
        assert line["stack"] == 0, name
        assert line["reg"] <= 168, name  # of 65,536: with more a multiprocessor has room for few threads
        assert line["tensor_cores"] == (not name.startswith("gate")), name
