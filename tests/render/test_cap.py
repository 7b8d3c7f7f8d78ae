"""--vram-limit: a card held to a part of its memory."""

import json
import subprocess
import sys

import pytest

from batch.base.errors import EXIT_USER, UserError
from batch.render import cap
from tests.conftest import ROOT
from tests.helpers import GIB, MIB


def test_the_share_of_a_card():
    total, context = 80 * GIB, 512 * MIB
    share = cap.fraction(8 * GIB, context, total)
    assert round(share * total) + context == 8 * GIB
    with pytest.raises(UserError, match=r"has no effect: the card has 80\.0 GiB"):
        cap.fraction(80 * GIB, context, total)
    with pytest.raises(UserError, match=r"leaves nothing: CUDA itself takes 0\.50 GiB"):
        cap.fraction(540 * MIB, context, total)


def test_a_limit_without_a_card_is_a_mistake(cli, manifest):
    outcome = cli("run", manifest(), "--vram-limit", "8GiB", "--devices", "cpu")
    assert outcome.code == EXIT_USER
    assert "--vram-limit has no effect here" in outcome.err
    assert cli("run", manifest(), "--vram-limit", "plenty").code == EXIT_USER
    assert "write 8GiB" in cli("run", manifest(), "--vram-limit", "8").err


@pytest.mark.gpu
def test_a_real_card_is_held_to_a_limit():
    import torch

    code = (
        "import json, torch; from batch.render import cap, session; from batch.render.meter import Meter\n"
        "said = cap.cap('cuda:0', 2 * 2**30)\n"
        "meter, blocks, refused = Meter('cuda:0'), [], False\n"
        "try:\n"
        "    while True: blocks.append(torch.empty(64 * 2**20, dtype=torch.uint8, device='cuda:0'))\n"
        "except torch.OutOfMemoryError: refused = True\n"
        "print(json.dumps([said, refused, meter.on_device(), cap.room('cuda:0')]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    said, refused, on_device, room = json.loads(done.stdout)
    assert refused
    assert said.startswith("held to 2.00 GiB of ")
    assert 1.7 * GIB < on_device < 2.1 * GIB
    assert room == 2 * GIB
    assert torch.cuda.is_available()
