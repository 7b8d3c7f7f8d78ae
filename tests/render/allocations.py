"""What rendering on the CPU allocates, beside what is predicted for it."""

from dataclasses import replace
from functools import partial

import torch
from torch._C._profiler import _EventType

from batch.manifest.values import Size
from batch.memory import profiles
from batch.plan.texts import encode_tasks
from batch.records.tasks import Task
from batch.render import foresight, pipelines, positions
from batch.render import memory as steps_at_work
from batch.render.families.table import FAMILIES
from batch.render.foresight import Foresight
from batch.render.loading import quiet


def task(side=512, setting="full", **changes):
    size = Size(*side) if isinstance(side, tuple) else Size(side, side)
    given = {
        "model": "x", "dtype": "float32", "prompt": "a fox", "seed": 0, "width": size.width, "height": size.height,
        "rendered_width": size.width, "rendered_height": size.height, "steps": 2, "guidance": 4.5,
        "memory_steps": profiles.resolve(setting, size),
    }  # fmt: skip
    return Task(**{**given, **changes})


OWN = (
    "aten::mkldnn_convolution",
    "aten::slow_conv3d_forward/aten::empty",
    "aten::_scaled_dot_product_flash_attention_for_cpu/aten::empty",
)
"""Kernels of a CPU that take memory for themselves: it is in the allowance, not in the activations."""


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
            walk(node.children, f"{kernel.rpartition('/')[2]}/{node.name}")

    walk(profile.profiler.kineto_results.experimental_event_tree())
    now = peak = 0
    own = set()
    for _, place, size, kernel in sorted(events, key=lambda event: event[0]):
        if size > 0 and kernel.endswith(OWN):
            own.add(place)
        elif size < 0 and place in own:
            own.remove(place)
        else:
            now += size
            peak = max(peak, now)
    return peak, made


def real(source, task, tilings):
    """Peaks of a real denoising, and of a real decoding for each setting."""
    quiet()
    family = FAMILIES[source.family]
    pipe = pipelines.load_text_encoder(source, task.dtype, "cpu")
    texts = [family.encode(pipe, text, "cpu") for text in encode_tasks(task, source.family, "cpu")]
    pipe = pipelines.load_without_texts(source, task.dtype)
    positions.put(pipe, task, "cpu")
    work = partial(family.denoise, pipe, [task], [texts], "cpu", lambda _step: None)
    peaks, latents = allocated(work)
    found = {"denoise": peaks}
    for setting in tilings:
        steps_at_work.apply(pipe, profiles.resolve(setting, Size(task.width, task.height)), "cpu")
        found[setting], _ = allocated(lambda: foresight._taken(family.decode(pipe, task, latents)))
    return found


def activations(source, asked):
    """Of denoising and of decoding, whole and in tiles: what is predicted, and what a run allocates."""
    predicted = Foresight(source, "float32")
    found = {"denoise": predicted.denoising(asked)[1].activations}
    settings = ["full", "vae_tiling(160, 128)"]
    for setting in settings:
        tiled = replace(asked, memory_steps=profiles.resolve(setting, Size(asked.width, asked.height)))
        found[setting] = predicted.decoding(tiled).activations
    return found, real(source, asked, settings)
