"""Models whose configuration names other models, or code that is fetched by its name."""

import json
import os
import shutil

import pytest

from batch.records.receipts import Machine
from batch.render.backend import Offered
from tests.conftest import DEMO

SMALL = "grid: {model: model, prompt: a fox, steps: 1}\n"


@pytest.fixture
def model(work):
    shutil.copytree(DEMO, work / "model")
    return work / "model"


def refused(cli, manifest, *words, name="model"):
    path = manifest(SMALL.replace("model: model", f"model: {name}"))
    for command in (["plan", path], ["run", path, "--out", "run", "--quiet"]):
        outcome = cli(*command)
        assert outcome.code == 2, outcome.err
        assert all(word in outcome.err for word in words), outcome.err


@pytest.mark.parametrize("part", ["text_encoder", "tokenizer", "transformer", ""])
@pytest.mark.parametrize("configured", [True, False])
def test_an_adapter_is_no_component(cli, manifest, model, part, configured):
    place = model / part
    (place / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "someone/evil"}))
    if not configured:
        (place / "config.json").unlink(missing_ok=True)
    weighted = part in ("text_encoder", "transformer")
    refused(
        cli, manifest, "holds no config.json" if weighted and not configured else "adapter_config.json: an adapter"
    )


@pytest.mark.parametrize(
    "keys",
    [
        {"_attn_implementation": "someone/kernel"},
        {"attn_implementation": "someone/kernel@v1:function"},
        {"attn_implementation": {"text_config": "paged|someone/kernel"}},
        {"_experts_implementation": "someone/kernel"},
        {"text_config": {"inner": [{"_attn_implementation": "someone/kernel"}]}},
        {"backbone": "hf-hub:someone/evil"},
        {"backbone_config": {"use_pretrained_backbone": True}},
        {"configuration_files": ["config.4.0.0.json"]},
    ],
)
def test_a_configuration_that_leads_elsewhere_is_refused(cli, manifest, model, keys):
    path = model / "text_encoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))
    refused(cli, manifest, "model leads elsewhere: ", "in text_encoder/config.json")
    assert cli("run", manifest(SMALL.replace("model: model", "model: random:model")), "--out", "random").code == 2


def test_words_that_name_nothing_elsewhere_are_taken(cli, manifest, model):
    path = model / "text_encoder" / "config.json"
    keys = {"_attn_implementation": "eager", "_name_or_path": "google/gemma-2-2b-it", "backbone": None}
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))
    assert cli("plan", manifest(SMALL)).code == 0


class Looks:
    """A backend that says what its process would ask."""

    def devices(self, _asked):
        return Offered((" ".join(os.environ[name] for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")),))

    def describe(self, _device):
        return Machine()


def test_the_process_that_renders_asks_nobody(tmp_path, monkeypatch):
    from batch.engines.base import Helm
    from batch.engines.process import ProcessEngine

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    (tmp_path / ".run").mkdir()
    engine = ProcessEngine(tmp_path / ".run", Looks())
    try:
        assert engine.start(None, Helm(), most=1).seats[0].device == "1 1"
    finally:
        engine.close()
