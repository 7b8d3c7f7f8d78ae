"""Bounded attention is written out, whatever transformers would choose; embeddings know which version it was."""

import json
import shutil

import pytest
import torch
from transformers import Gemma2Config, Gemma2Model, T5Config

from batch.plan import texts
from batch.plan.texts import encode_tasks
from batch.records.spec import ModelSource
from batch.records.tasks import EncodeTask, Task
from batch.render import attention, pipelines
from batch.render.families.table import FAMILIES
from tests.conftest import DEMO


def source(folder, **more):
    return ModelSource(name="x", family="sana", location=str(folder), **more)


@pytest.fixture
def sdpa_allowed(monkeypatch):
    """As transformers was before 5.22."""
    monkeypatch.setattr(Gemma2Model, "_supports_sdpa", True)


def test_a_bound_is_found_where_the_file_leaves_it_out():
    assert attention.implementation(Gemma2Config()) == "eager"
    assert attention.implementation(Gemma2Config(attn_logit_softcapping=None)) is None
    assert attention.implementation(T5Config()) is None


@pytest.mark.parametrize("random", [False, True])
def test_a_capped_text_encoder_gets_attention_written_out(sdpa_allowed, random):
    drawn = {"random": True} if random else {}
    pipe = pipelines.load_text_encoder(source(DEMO, **drawn), "float32", "cpu")
    assert pipe.text_encoder.config._attn_implementation == "eager"


def test_the_bound_is_in_the_embeddings(sdpa_allowed, tmp_path):
    """With scores that reach it: SDPA, which drops it, gives another embedding than ours."""
    folder = tmp_path / "model"
    shutil.copytree(DEMO, folder)
    config = folder / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"attn_logit_softcapping": 0.05}))
    asked = EncodeTask(key="", model="x", dtype="float32", text="a fox", negative=False)
    pipe = pipelines.load_text_encoder(source(folder), "float32", "cpu")
    bounded = FAMILIES["sana"].encode(pipe, asked, "cpu")["prompt_embeds"]
    unbounded = Gemma2Model.from_pretrained(folder / "text_encoder", attn_implementation="sdpa")
    pipe.text_encoder = unbounded.eval()
    try:
        lost = FAMILIES["sana"].encode(pipe, asked, "cpu")["prompt_embeds"]
    except ValueError as error:  # transformers of today refuses instead of leaving it out
        assert "softcap" in str(error)
    else:
        assert not torch.allclose(bounded, lost, atol=1e-5)
    pipe.text_encoder = Gemma2Model.from_pretrained(folder / "text_encoder", attn_implementation="eager").eval()
    assert torch.equal(FAMILIES["sana"].encode(pipe, asked, "cpu")["prompt_embeds"], bounded)


def test_another_version_of_transformers_encodes_anew(monkeypatch):
    task = Task(
        model="x", dtype="float32", prompt="a fox", seed=0, width=512, height=512, rendered_width=512,
        rendered_height=512, steps=1, guidance=1.0,
    )  # fmt: skip
    (text,) = encode_tasks(task, "sana", "cuda:0")
    texts.transformers_version.cache_clear()
    monkeypatch.setattr(texts.metadata, "version", lambda _name: "5.0.0")
    (other,) = encode_tasks(task, "sana", "cuda:0")
    texts.transformers_version.cache_clear()
    assert text.key != other.key
