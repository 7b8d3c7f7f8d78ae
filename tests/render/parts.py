"""A pipeline taken to parts, and the job of a random model."""

import json

import torch

from batch.hub import models
from batch.hub.models import find_model
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
