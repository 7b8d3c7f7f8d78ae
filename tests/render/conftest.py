"""Tiny models as one file, beside the folders they are made of."""

import pytest
import torch
from diffusers import StableDiffusionPipeline

from batch.render import pipelines
from tests import single_files, tiny_models
from tests.render.parts import modules


@pytest.fixture
def narrow_flux(monkeypatch):
    """diffusers reads a Flux as narrow as the tiny one."""
    single_files.narrow_flux(monkeypatch)


@pytest.fixture
def aligned(monkeypatch):
    """Weights at addresses that all kernels like: where a file happens to have them, a CPU may round otherwise."""
    load = pipelines.load

    def loaded(*given, **named):
        pipe = load(*given, **named)
        for part in modules(pipe).values():
            for parameter in part.parameters():
                parameter.data = parameter.data.clone()
        return pipe

    monkeypatch.setattr(pipelines, "load", loaded)


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    """Tiny models by kind: Stable Diffusion 2 is 1 with linear projections and another text encoder's numbers."""
    second = tmp_path_factory.mktemp("folders") / "sd2"

    def build(kind):
        if kind == "sd2" and not second.is_dir():
            torch.manual_seed(2)
            pipe = StableDiffusionPipeline.from_pretrained(tiny("sd1"))
            pipe.unet = tiny_models.unet(cross_attention_dim=16, use_linear_projection=True)
            pipe.text_encoder = tiny_models.clip()
            pipe.save_pretrained(second)
        return second if kind == "sd2" else tiny(kind)

    return build


@pytest.fixture
def single(folder, tmp_path):
    """The source of a kind's folder as one file."""
    return lambda kind, **more: single_files.of_folder(folder(kind), tmp_path / kind, kind, **more)
