"""Texts, steps and pixels of a source, one after the other, as a session goes through them."""

import torch

from batch.plan.texts import encode_tasks
from batch.records.tasks import Task
from batch.render.backend import Loads
from batch.render.session import DiffusersSession
from tests.helpers import nothing
from tests.render.parts import modules


def task(**changes):
    given = {
        "model": "x", "dtype": "float32", "prompt": "a fox 7", "seed": 7, "width": 64, "height": 64,
        "rendered_width": 64, "rendered_height": 64, "steps": 2, "guidance": 3.0,
    }  # fmt: skip
    return Task(**{**given, **changes})


def latents_of(found, asked):
    """What a session denoises, with the session and the setting under which it renders."""
    made = DiffusersSession(found, asked.dtype, "cpu")
    embeds = [made.encode(item, nothing).value for item in encode_tasks(asked, found.family, "cpu")]
    steps = made.prepare(Loads.IMAGES, asked)
    return made, made.denoise([asked], [embeds], steps, nothing).value, steps


def rendered(found, asked=None):
    asked = asked or task()
    if found.family == "generic":
        made = DiffusersSession(found, asked.dtype, "cpu")
        return made.whole(asked, made.prepare(Loads.IMAGES, asked), nothing).value
    made, latents, steps = latents_of(found, asked)
    return made.decode(asked, latents, steps, nothing).value


def same_weights(one, other):
    assert modules(one).keys() == modules(other).keys()
    for name, part in modules(one).items():
        own, found = part.state_dict(), modules(other)[name].state_dict()
        assert own.keys() == found.keys()
        for key, tensor in own.items():
            assert (key, tensor.dtype) == (key, found[key].dtype)
            assert torch.equal(tensor, found[key]), key
        assert not modules(other)[name].training
