"""A small Hub that answers the real client and the real fast path, and a user of it.

Most tests call the command line in this process, with the client's constants set to that Hub; the download itself
always is a process of its own.
"""

import pytest

from batch.catalogue import denoisers, layouts, single_files
from batch.hub import fetch
from tests import single_files as tiny_files
from tests.conftest import DEMO
from tests.hub.user import TOKEN, at
from tests.small_hub import serve


@pytest.fixture
def hub():
    with serve() as hub:
        yield hub


@pytest.fixture
def place(work, hub, monkeypatch):
    """The environment of a user whose Hub is the small one, with a cache of its own; no pause between attempts."""
    from huggingface_hub import constants

    given = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(work / "hub"), "HF_HOME": str(work / "home"),
             "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0"}  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    at(hub.url, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(fetch, "PAUSES_S", (0.0, 0.0, 0.0))
    return work


@pytest.fixture
def near(place, hub, cli):
    """The command line in this process."""

    def call(*arguments):
        hub.requests.clear()
        outcome = cli(*arguments)
        assert TOKEN not in outcome.out + outcome.err
        assert "Traceback" not in outcome.err
        return outcome

    return call


@pytest.fixture(scope="session")
def lora(tmp_path_factory):
    """A LoRA of the demo model's transformer, as the bytes of its file."""
    from diffusers import SanaPipeline
    from peft import LoraConfig, get_peft_model_state_dict

    pipe = SanaPipeline.from_pretrained(DEMO)
    pipe.transformer.add_adapter(LoraConfig(r=2, init_lora_weights=False, target_modules=["to_q", "to_v"]))
    folder = tmp_path_factory.mktemp("lora")
    layers = get_peft_model_state_dict(pipe.transformer)
    SanaPipeline.save_lora_weights(folder, transformer_lora_layers=layers)
    return (folder / "pytorch_lora_weights.safetensors").read_bytes()


@pytest.fixture
def small_kinds(monkeypatch, tiny, work):
    """Tiny checkpoints count as SDXL, whose layout is that of the tiny folder."""
    layout = tiny_files.layout(tiny("sdxl"), work / "layouts" / "sdxl")
    monkeypatch.setattr(
        single_files, "kind_of", lambda inside: "sdxl" if denoisers.is_unet(inside) else "flux-dev"
    )
    monkeypatch.setattr(layouts, "packaged", lambda kind: layout if kind == "sdxl" else None)


@pytest.fixture
def xl(small_kinds, tiny, work):
    return tiny_files.save(tiny_files.tensors(tiny("sdxl"), "sdxl"), work / "models" / "castles_v1.safetensors")
