"""A pipeline taken to parts, and the job of a random model."""

import json
from dataclasses import replace

import safetensors.torch
import torch

from batch.cli.progress import Silent
from batch.engines.base import Helm
from batch.engines.local import LocalEngine
from batch.hub import models
from batch.hub.models import find_model
from batch.plan.texts import encode_tasks
from batch.records.spec import RunSpec
from batch.render import pipelines
from batch.render.diffusers_backend import Diffusers
from tests.conftest import ROOT


def source(name, base=ROOT):
    return models.source(find_model(str(name), base, {}, online=False))


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def tensors(module):
    """Name to shape and dtype of everything a module holds, parameters and buffers."""
    found = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers())
    # Gemma casts this number when it is used, so that its own dtype is nobody's business.
    return {
        name: (tuple(tensor.shape), tensor.dtype) for name, tensor in found.items() if "embed_scale" not in name
    }


def modules(pipe):
    return {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}


def job(**settings):
    grid = {"model": "random:demo", "prompt": "a fox", "steps": 1, "size": "512x512"} | settings
    return f"grid: {json.dumps(grid)}\n"


def spec(work, folder, **changes):
    model = find_model(str(folder), work, {}, online=False)
    return RunSpec(
        root=str(work / "run"), device="cpu", cache=str(work / "cache"), runner="test",
        models={model.name: models.source(model)}, **changes,
    )  # fmt: skip


def redecoded(work, folder, task, monkeypatch):
    """What became of a task rendered with its latents kept and decoded from them alone, and without them."""
    keeping = spec(work, folder, keep_latents=True)
    (work / "run").mkdir()
    texts = encode_tasks(task, keeping.models[str(folder)].family, "cpu")
    outcomes = LocalEngine(Diffusers()).execute([*texts, task], keeping, Silent(), stop=Helm())
    assert {outcome.status for outcome in outcomes} == {"done"}
    kept = work / "run" / "latents" / f"{task.id}.safetensors"
    assert set(safetensors.torch.load_file(kept)) == {"latents"}

    for part in ("load_text_encoder", "load_without_texts"):
        monkeypatch.setattr(pipelines, part, None)
    again, gone = replace(task, id="1" * 16), replace(task, id="2" * 16)
    decoding = spec(work, folder, latents={again.id: str(kept), gone.id: "nowhere"})
    made = LocalEngine(Diffusers()).execute([again, gone], decoding, Silent(), stop=Helm())
    return sorted(made, key=lambda outcome: outcome.status)
