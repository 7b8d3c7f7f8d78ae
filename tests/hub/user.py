"""What a user of the small Hub has: manifests, repositories, the command line, and what is on the disk."""

import os
import subprocess

from batch.hub.cache import cache_folder
from batch.records.events import Downloading, Received
from tests.conftest import DEMO
from tests.helpers import RUN_BATCH
from tests.small_hub import COMMIT, folder_files

REPO = "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers"
KNOWN = "grid: {model: sana-1.6b-1k, prompt: a fox, steps: 1, dtype: float32}\n"
OTHER = "grid: {model: someone/demo, prompt: a fox, steps: 1}\n"
VAE = "vae/diffusion_pytorch_model.safetensors"
TOKEN = "hf_secret"


def at(url, monkeypatch):
    """The client in this process asks that address; it was imported with another one."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    rest = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "".join(rest[1:]))


def offline(monkeypatch, on=True):
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1" if on else "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", on)


def apart(*arguments, **changes):
    """The command line in a process of its own."""
    return subprocess.run(
        [*RUN_BATCH, *map(str, arguments)], env={**os.environ, **changes},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def in_two_precisions(variant="bf16"):
    """The demo model as a repository with weights in two precisions, and with files no session needs."""
    files = {"README.md": b"#", "assets/teaser.png": b"png", "transformer/diffusion_pytorch_model.bin": b"pickle"}
    for name, data in folder_files(DEMO).items():
        stem, suffix = name.rsplit(".", 1)
        if suffix == "safetensors":
            files |= {f"{stem}.{variant}.{suffix}": data, name: b"twice the size" + data}
        else:
            files[name] = data
    return files


def snapshot(repo=REPO, commit=COMMIT):
    return cache_folder(repo) / "snapshots" / commit


def leftovers(work):
    return list((work / "hub").rglob("*.incomplete"))


class Told:
    """What a user would see of a download."""

    def __init__(self):
        self.lines, self.seen = [], []

    def on(self, event):
        if isinstance(event, Downloading):
            self.lines.append(event.text)
        elif isinstance(event, Received):
            self.seen.append(event.done)


def other_weights(data):
    """As many bytes, with the same header."""
    from safetensors.torch import load, save

    changed = save({name: -tensor for name, tensor in load(data).items()}, {"format": "pt"})
    assert len(changed) == len(data)
    return changed
