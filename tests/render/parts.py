"""A pipeline taken to parts, and the job of a random model."""

import json

import torch
from torch._C._profiler import _EventType

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


OWN = {"aten::mkldnn_convolution"}
"""Kernels that take memory for themselves: it is in the allowance, not in the activations."""


def allocated(work):
    """What a real run on the CPU had allocated for tensors at once, by torch's profiler; and what it gave."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.no_grad(), torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        made = work()
    events = []

    def walk(nodes, kernel=""):
        for node in nodes:
            if node.tag == _EventType.Allocation:
                events.append((node.start_time_ns, node.typed[1].ptr, node.typed[1].alloc_size, kernel))
            walk(node.children, node.name)

    walk(profile.profiler.kineto_results.experimental_event_tree())
    now = peak = 0
    own = set()
    for _, place, size, kernel in sorted(events, key=lambda event: event[0]):
        if size > 0 and kernel in OWN:
            own.add(place)
        elif size < 0 and place in own:
            own.remove(place)
        else:
            now += size
            peak = max(peak, now)
    return peak, made
