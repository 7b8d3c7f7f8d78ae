"""Pipelines from files: pickles, one variant only, the cache of the Hub."""

import shutil
from dataclasses import replace

import huggingface_hub.constants
import numpy as np
import pytest
import safetensors.torch
import torch

from batch.base.errors import ModelError
from batch.hub import models as hub
from batch.hub.permissions import Permissions
from batch.render import from_files, pipelines
from tests.helpers import picture
from tests.render.direct import direct, job

pytestmark = pytest.mark.usefixtures("one_thread")


def test_pickles_and_code_are_refused_unless_allowed(work, tiny):
    folder = work / "model"
    shutil.copytree(tiny("sd1"), folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(safetensors.torch.load_file(weights), folder / "unet" / "diffusion_pytorch_model.bin")
    weights.unlink()
    trusted = frozenset({"model"})
    with pytest.raises(ModelError, match=r"unet of model is there as .* only: a pickle"):
        hub.find_model("model", work, {}, online=False)
    allowed = hub.find_model("model", work, {}, online=False, permissions=Permissions(pickles=trusted))
    assert pipelines.load(hub.source(allowed), "float32").unet is not None
    with pytest.raises(OSError, match="safetensors"):
        pipelines.load(replace(hub.source(allowed), allow_pickle=False), "float32")
    (folder / "unet" / "diffusers.py").write_text("")
    with pytest.raises(ModelError, match="runs code of its own"):
        hub.find_model("model", work, {}, online=False, permissions=Permissions(pickles=trusted))
    found = hub.find_model("model", work, {}, online=False, permissions=Permissions(pickles=trusted, code=trusted))
    assert hub.source(found).trust_remote_code
    assert "trust_remote_code" not in from_files.where(replace(hub.source(found), trust_remote_code=False))


def test_a_folder_that_holds_one_variant_only_is_loaded_as_it_is(cli, manifest, work, tiny):
    shutil.copytree(tiny("sd1"), work / "model")
    for path in (work / "model").rglob("*.safetensors"):
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    outcome = cli("run", manifest(job("model", size="64x64")), "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.err
    assert np.array_equal(picture(work / "run"), direct(tiny("sd1"), width=64, height=64))


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument")
def test_a_hub_repository_is_read_from_the_cache(cli, manifest, cache, tiny, work, monkeypatch):
    for name, value in (("HF_HUB_CACHE", str(cache / "hub")), ("HF_HUB_OFFLINE", True)):
        monkeypatch.setattr(huggingface_hub.constants, name, value)  # read when it was imported
    commit = "a" * 40
    repo = cache / "hub" / "models--someone--tiny"
    shutil.copytree(tiny("flux"), repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    path = manifest(job("someone/tiny", size="64x64"))
    assert f"someone/tiny at {commit[:12]}" in cli("plan", path).out
    outcome = cli("run", path, "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.err
    assert np.array_equal(picture(work / "run"), direct(tiny("flux"), width=64, height=64))
    missing = cli("plan", manifest(job("someone/other")))
    assert (missing.code, "someone/other is not on this machine" in missing.err) == (2, True)
    missing = cli("run", manifest(job("someone/other")))
    assert (missing.code, "HF_HUB_OFFLINE forbids asking the Hub" in missing.err) == (2, True)
