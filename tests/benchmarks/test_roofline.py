"""Bounds of what a card takes for an image: counts against torch's own, and against sums done by hand."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from batch.hub import models
from batch.hub.models import find_model
from batch.manifest.values import Size
from batch.memory import profiles
from batch.plan.texts import encode_tasks
from batch.records.tasks import Task
from batch.render import memory as steps_at_work
from batch.render import pipelines
from batch.render.families.table import FAMILIES
from batch.render.loading import quiet
from benchmarks import roofline
from benchmarks.kernels import Recorder
from tests.conftest import ROOT

SIZE = Size(2048, 2048)
"""Decoded in nine tiles of four shapes."""


@pytest.fixture(scope="module")
def work():
    """The work of a tiny SANA."""
    return roofline.count("demo-2k", str(SIZE))


def flops(kernels):
    return sum(kernel.flops * kernel.times for _, kernel in kernels)


# Against torch's own counter


@pytest.mark.xdist_group("roofline")
def test_flops_are_those_that_torch_counts_in_a_real_run(work, one_thread):
    quiet()
    source = models.source(find_model("demo-2k", Path(), {}, online=False))
    task = Task(
        model="demo-2k", dtype="float32", prompt="a fox", seed=0, width=SIZE.width, height=SIZE.height,
        rendered_width=SIZE.width, rendered_height=SIZE.height, steps=2, guidance=work.guidance,
        memory_steps=profiles.resolve("auto", SIZE),
    )  # fmt: skip
    texts = pipelines.load_text_encoder(source, task.dtype, "cpu")
    embeds = [FAMILIES["sana"].encode(texts, text, "cpu") for text in encode_tasks(task, "sana", "cpu")]
    pipe = pipelines.load_without_texts(source, task.dtype)
    steps_at_work.apply(pipe, task.memory_steps, "cpu")
    # Torch has no formula for the CPU's attention in one kernel.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as denoising:
            latents = FAMILIES["sana"].denoise(pipe, [task], [embeds], "cpu", lambda _step: None)
        with FlopCounterMode(display=False) as decoding:
            list(FAMILIES["sana"].decode(pipe, task, latents).each)
    assert flops(work.stages["denoise_step"]) * 2 == denoising.get_total_flops()
    assert flops(work.stages["decode"]) == decoding.get_total_flops()


@pytest.mark.slow
def test_counts_of_the_4k_model_are_those_done_by_hand():
    work = roofline.count("sana-1.6b-4k", "5376x3072")
    found = {row.name: row for row in roofline.rows(replace(work, steps=1), roofline.CARDS["h100"])}
    tokens, channels, hidden, blocks = 2 * 96 * 168, 2240, 11_200, 20
    feed_forward = channels * hidden + channels * hidden // 2
    attention = 6 * channels**2 + 2 * 600 / tokens * channels**2  # keys and values of 600 tokens of text
    half, whole = 2 * tokens * hidden, tokens * channels * 4  # a tensor of bfloat16, and one of float32
    assert found["matrix products"].flops == 2 * tokens * blocks * (feed_forward + attention)
    assert found["depthwise 3x3"].flops == 2 * 9 * tokens * hidden * blocks
    assert found["depthwise 3x3"].moved == pytest.approx(2 * half * blocks, rel=0.001)
    # Two biases and SiLU in and out; of the gate SiLU in and out, two in and one out, each the half of it.
    assert found["feed-forward, pointwise"].moved == pytest.approx((6 + 2.5) * half * blocks, rel=0.001)
    # Each reads or writes a tensor of all channels, one of them with the row that normalises.
    twice = (2 + 2 * 33 / 32) * whole
    assert found["linear attention: two products in float32"].moved == pytest.approx(twice * blocks, rel=0.02)


# Chains


class Mixed(nn.Module):
    """A product, three kernels, a product; with a residual from before the first one."""

    def __init__(self):
        super().__init__()
        self.one, self.two = (nn.Linear(64, 64, bias=False) for _ in range(2))

    def forward(self, given):
        made = nn.functional.silu(self.one(given) * 2)
        return self.two(made + given)


def recorded(module, given):
    with torch.no_grad(), Recorder({"module": module}) as recorder:
        module(given)
    return recorder.kernels()


def test_a_chain_reads_and_writes_everything_once():
    first, *chain, last = recorded(Mixed(), torch.zeros(128, 64))
    products = [first, last]
    size, weights = 128 * 64 * 4, 64 * 64 * 4
    assert [kernel.place for kernel in products] == ["module.one", "module.two"]
    assert [kernel.op for kernel in chain] == ["mul", "silu", "add"]
    assert [kernel.moved for kernel in products] == [2 * size + weights] * 2
    assert [kernel.fused for kernel in products] == [2 * size + weights] * 2
    assert [kernel.moved for kernel in chain] == [2 * size, 2 * size, 3 * size]
    assert [kernel.fused for kernel in chain] == [size, 0, 2 * size]


def test_what_stands_alone_is_not_fused_across():
    class Normed(nn.Module):
        def forward(self, given):
            given = given + 1
            return given / given.mean() + given

    add, mean, divide, residual = recorded(Normed(), torch.zeros(128, 64))
    size = 128 * 64 * 4
    assert (add.fused, mean.fused) == (2 * size, size + 4)
    assert divide.fused + residual.fused == 2 * size + 4  # what was written is read again, the mean too


@pytest.mark.parametrize(("memory_format", "kernels"), [("channels_last", 2), ("contiguous_format", 1)])
def test_a_bias_is_a_kernel_of_its_own_where_cudnn_convolves(memory_format, kernels):
    given = torch.zeros(1, 8, 16, 16, dtype=torch.bfloat16, device="meta")
    given = given.contiguous(memory_format=getattr(torch, memory_format))
    depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, dtype=torch.bfloat16, device="meta")
    plain = nn.Conv2d(8, 8, 3, padding=1, dtype=torch.bfloat16, device="meta")
    assert len(recorded(depthwise, given)) == kernels
    assert len(recorded(plain, given)) == 2


# Bounds


@pytest.mark.parametrize("card", roofline.CARDS.values(), ids=list(roofline.CARDS))
@pytest.mark.xdist_group("roofline")
def test_eager_is_no_faster_than_fused_nor_fused_than_the_floor(work, card):
    rows = roofline.rows(work, card)
    assert all(row.times.eager >= row.times.fused >= row.times.floor >= 0 for row in rows)
    assert rows[-1].times.floor > 0


@pytest.mark.xdist_group("roofline")
def test_totals_are_the_sums_of_their_classes(work):
    card = roofline.CARDS["4070"]
    rows = roofline.rows(work, card)
    best = roofline.best(work, bandwidth=card.bandwidth, matrix=card.matrix, float32=card.float32)
    for stage, name in roofline.STAGES.items():
        classes = [row for row in rows if row.stage == name and row.name != "total"]
        total = next(row for row in rows if row.stage == name and row.name == "total")
        for bound in ("eager", "fused", "floor"):
            summed = sum(getattr(row.times, bound) for row in classes)
            assert summed == pytest.approx(getattr(total.times, bound))
            assert summed == pytest.approx(getattr(best[stage], bound) * work.times(stage))
        assert sum(row.flops for row in classes) == total.flops


@pytest.mark.parametrize("model", ["sdxl", "flux"])
def test_other_staged_models_are_counted_in_coarser_classes(tiny, model):
    work = roofline.count(str(tiny(model)), "256x256")
    names = {name for stage in work.stages.values() for name, _ in stage}
    assert {"matrix products, convolutions", "convolutions, linears", "attention", "norms, pointwise"} <= names


# The command


def printed(capsys, *words):
    code = roofline.main(roofline.arguments(words))
    return code, *capsys.readouterr()


def test_it_prints_every_card_and_keeps_the_table(capsys, tmp_path):
    code, out, _ = printed(capsys, "demo", "512x512", "--csv", str(tmp_path / "kept.csv"))
    assert code == 0
    assert all(f"| {card.name} |" in out for card in roofline.CARDS.values())
    lines = (tmp_path / "kept.csv").read_text().splitlines()
    assert lines[0] == ",".join(roofline.COLUMNS)
    assert sum(",image," in line for line in lines) == len(roofline.CARDS)


def test_measured_figures_take_the_place_of_the_data_sheets(capsys):
    _, out, _ = printed(capsys, "demo", "512x512", "--card", "h200", "--bandwidth", "4.3e12")
    assert "H200 SXM, measured, 4.3 TB/s, 989 TFLOP/s" in out
    assert "H100" not in out


@pytest.mark.parametrize(
    ("model", "size", "said"),
    [
        ("demo", "5376", "is not a size; write WIDTHxHEIGHT"),
        ("demo", "500x512", "must be multiples of 32"),
        ("demo", "1024x1024", "cannot render 1024x1024; write 512x512"),
        ("sana-1.6b-4", "5376x3072", "did you mean sana-1.6b-4k?"),
        ("sd-1.5", "512x512", "its pipeline is called whole"),
    ],
)
def test_a_wrong_size_or_model_is_said_in_words(capsys, model, size, said):
    code, out, err = printed(capsys, model, size)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


@pytest.mark.xdist_group("roofline")
def test_it_runs_as_a_script(work):
    script = ROOT / "benchmarks" / "roofline.py"
    done = subprocess.run(
        [sys.executable, str(script), "demo", "511x512"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "must be multiples of 32" in done.stderr
