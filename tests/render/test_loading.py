"""Straight to the device: what is loaded there, and what decides it before."""

import shutil
from dataclasses import replace

import pytest
import torch
from diffusers import DiffusionPipeline

from batch.manifest.values import Size
from batch.memory.profiles import resolve
from batch.records.values import Call
from batch.render import from_files, memory, pipelines, session
from tests import tiny_models
from tests.conftest import DEMO
from tests.helpers import plan
from tests.render.parts import job, modules, parameters, source

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", [*tiny_models.BUILDERS, "demo", "demo-4k"])
def test_weights_read_straight_are_those_the_pipeline_loads(tiny, name):
    found = source(name) if name.startswith("demo") else source(tiny(name))
    expected = DiffusionPipeline.from_pretrained(
        found.location, dtype=torch.bfloat16, **tiny_models.left_out(name)
    )
    pipe = pipelines.load(found, "bfloat16", "cpu")
    # PAG is switched on for a call.
    assert type(pipe).__name__ == type(expected).__name__.replace("PAG", "")
    assert modules(pipe).keys() == modules(expected).keys()
    for part, module in modules(expected).items():
        loaded, own = module.state_dict(), modules(pipe)[part].state_dict()
        assert loaded.keys() == own.keys()
        assert all(
            torch.equal(tensor, own[key]) and tensor.dtype == own[key].dtype for key, tensor in loaded.items()
        )
        assert not modules(pipe)[part].training
        assert not hasattr(modules(pipe)[part], "_hf_hook")
    pipe.to("cpu")
    assert pipe.hf_device_map is None  # nothing that forbids moving or offloading
    weights = sum(
        parameter.numel() * parameter.element_size()
        for module in modules(pipe).values()
        for parameter in module.parameters()
    )
    # T5 keeps a copy of its embedding in the file, SD 3 its table of positions.
    if not name.startswith(("flux", "pixart", "sd3")):
        whole = replace(found, family="generic")
        assert pipelines.burden(whole, "bfloat16").weights == weights


def test_a_variant_is_taken_where_a_component_has_it(work):
    folder = work / "mixed"
    shutil.copytree(DEMO, folder)
    pipe = DiffusionPipeline.from_pretrained(DEMO)
    with torch.no_grad():
        pipe.vae.decoder.conv_out.weight.add_(1)
    pipe.vae.save_pretrained(folder / "vae", variant="bf16")
    found = replace(source("mixed", work), variant="bf16")
    expected = DiffusionPipeline.from_pretrained(folder, variant="bf16")
    made = pipelines.load(found, "float32")
    for part, module in modules(expected).items():
        own = modules(made)[part].state_dict()
        assert all(torch.equal(tensor, own[key]) for key, tensor in module.state_dict().items())
    assert torch.equal(made.vae.decoder.conv_out.weight, pipe.vae.decoder.conv_out.weight)
    names = [path.name for path in from_files._weight_files(folder / "vae", "bf16")]
    assert names == ["diffusion_pytorch_model.bf16.safetensors"]
    names = [path.name for path in from_files._weight_files(folder / "vae", "")]
    assert names == ["diffusion_pytorch_model.safetensors"]


class Card:
    def __init__(self, gib):
        self.total_memory = int(gib * 2**30)


@pytest.fixture
def on_card(monkeypatch):
    """A session that believes it has a card of so much memory, and the devices it loads to."""
    loads = []

    def watched(load):
        def watching(found, dtype, device, steps):
            loads.append(device)
            return load(found, dtype, "cpu", steps)

        return watching

    for name in ("load_without_texts", "load_decoder"):
        monkeypatch.setattr(pipelines, name, watched(getattr(pipelines, name)))

    def session_on(name, gib):
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Card(gib))
        made = session.DiffusersSession(source(name), "float32", "cpu")
        made._device = "cuda:0"
        return made

    session_on.loads = loads
    return session_on


def image(manifest, **settings):
    return plan(manifest(job(**settings))).tasks[0]


OFFLOAD = resolve("group_offload(block, 1)", Size(1, 1))
"""For a card on which not even one component fits: the estimate of activations alone is too much for it."""


@pytest.mark.parametrize("name", ["demo", "random:demo"])
def test_auto_decides_before_loading_and_by_the_same_figures(manifest, on_card, name):
    task = image(manifest, model=name)
    assert on_card(name, 80).prepare("images", task) == ()
    small = on_card(name, 1)
    assert small.prepare("images", task) == OFFLOAD
    assert small.prepare("images", task) == OFFLOAD  # warm, the same
    assert on_card.loads == ["cuda:0", "cpu"]
    forced = image(manifest, model=name, memory="sequential_cpu_offload")
    full = image(manifest, model=name, memory="full")
    assert on_card(name, 80).prepare("decoder", forced) == (Call(name="sequential_cpu_offload"),)
    assert on_card(name, 1).prepare("decoder", full) == ()
    assert on_card.loads[2:] == ["cpu", "cuda:0"]


def test_the_figures_are_those_of_what_is_loaded():
    pipe = pipelines.load_without_texts(source("demo"), "bfloat16")
    sizes = [2 * parameters(module) for module in modules(pipe).values()]
    expected = memory.Burden(weights=sum(sizes), largest=max(sizes), autoencoder="AutoencoderDC")
    assert pipelines.burden(source("demo"), "bfloat16") == expected
    assert pipelines.burden(source("random:demo"), "bfloat16") == expected
    assert pipelines.burden(source("demo"), "bfloat16", decoder_only=True).weights == 2 * parameters(pipe.vae)


def test_what_does_not_fit_while_loading_goes_to_the_host(manifest, on_card, monkeypatch):
    made = on_card("demo", 80)
    load = pipelines.load_without_texts

    def full(found, dtype, device, steps):
        pipe = load(found, dtype, device, steps)
        if device.startswith("cuda"):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return pipe

    monkeypatch.setattr(pipelines, "load_without_texts", full)
    assert made.prepare("images", image(manifest, model="demo")) == ()
    assert on_card.loads == ["cuda:0", "cpu"]
    assert made.take_load_s() > 0
