"""Text encoders that stay beside what renders: the same bytes, and nothing is loaded twice."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from batch.plan.texts import encode_tasks
from batch.records.values import Call
from batch.render import pipelines
from batch.render.backend import Loads
from batch.render.session import DiffusersSession
from tests.helpers import nothing
from tests.render.parts import source
from tests.render.stages import task


def through(session, family, prompts):
    """Every prompt's embeddings and picture, one after the other."""
    for prompt in prompts:
        asked = task(prompt=prompt)
        embeds = [session.encode(item, nothing).value for item in encode_tasks(asked, family, "cpu")]
        steps = session.prepare(Loads.IMAGES, asked)
        latents = session.denoise([asked], [embeds], steps, nothing).value
        yield embeds, session.decode(asked, latents, steps, nothing).value


@pytest.fixture
def loads(monkeypatch):
    """Which halves are loaded."""
    found = []
    for name in ("load_text_encoder", "load_without_texts"):
        real = getattr(pipelines, name)

        def load(*given, real=real, name=name, **named):
            found.append(name)
            return real(*given, **named)

        monkeypatch.setattr(pipelines, name, load)
    return found


@pytest.mark.parametrize("kind", ["sana", "sdxl", "flux"])
def test_going_back_and_forth_gives_the_same_bytes(folder, loads, kind):
    found = source(folder(kind))
    prompts = ["a fox 7", "a lighthouse", "two birds"]
    keeping = DiffusersSession(replace(found, keeps_encoders=True), "float32", "cpu")
    kept = list(through(keeping, found.family, prompts))
    assert loads == ["load_text_encoder", "load_without_texts"]
    assert keeping.take_load_s() > 0
    assert keeping.take_load_s() is None
    anew = list(through(DiffusersSession(found, "float32", "cpu"), found.family, prompts))
    assert len(loads) == 2 + 6
    for (embeds, pixels), (others, expected) in zip(kept, anew, strict=True):
        assert embeds == others
        assert np.array_equal(pixels, expected)


def test_encoders_that_run_out_beside_the_other_half_go_alone(folder, loads, monkeypatch):
    found = source(folder("sana"))
    session = DiffusersSession(replace(found, keeps_encoders=True), "float32", "cpu")
    ((first, _),) = through(session, found.family, ["a fox 7"])
    from batch.render import session as module

    real, struck = module.encode, []

    def short(*given):
        if not struck:
            struck.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*given)

    monkeypatch.setattr(module, "encode", short)
    (text, *_) = encode_tasks(task(), found.family, "cpu")
    assert session.encode(text, nothing).value == first[0]
    assert loads == ["load_text_encoder", "load_without_texts", "load_text_encoder"]


def test_another_setting_of_texts_loads_them_anew(folder, loads):
    found = source(folder("sana"))
    session = DiffusersSession(replace(found, keeps_encoders=True), "float32", "cpu")
    ((first, _),) = through(session, found.family, ["a fox 7"])
    (text, *_) = encode_tasks(task(memory_steps=(Call(name="text_encoder_cpu"),)), found.family, "cpu")
    assert session.encode(text, nothing).value == first[0]
    assert loads[2:] == ["load_text_encoder"]
