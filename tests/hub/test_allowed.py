"""Pickles and code: refused unless the manifest allows them."""

import io
import json
import re

import pytest

from tests.conftest import DEMO
from tests.helpers import only_receipt
from tests.hub.user import KNOWN, OTHER, VAE
from tests.small_hub import COMMIT, Repo, folder_files


def with_pickle():
    import torch
    from safetensors.torch import load

    files = folder_files(DEMO)
    written = io.BytesIO()
    torch.save(load(files.pop(VAE)), written)
    return {**files, "vae/diffusion_pytorch_model.bin": written.getvalue(), "vae/openvino_model.bin": b"other"}


def with_code():
    files = folder_files(DEMO)
    index = json.loads(files["model_index.json"]) | {"_class_name": ["pipeline", "MyPipeline"]}
    code = b"from diffusers import SanaPipeline\n\n\nclass MyPipeline(SanaPipeline):\n    pass\n"
    return {**files, "model_index.json": json.dumps(index).encode(), "pipeline.py": code, "train.sh": b"#"}


@pytest.mark.parametrize(
    ("key", "files", "own"),
    [
        ("allow_pickle", with_pickle, "vae/diffusion_pytorch_model.bin"),
        ("trust_remote_code", with_code, "pipeline.py"),
    ],
)
def test_what_could_run_code_is_refused_unless_allowed(near, hub, manifest, work, key, files, own):
    hub.repos["someone/demo"] = Repo(files())
    text = OTHER.replace("}", ", guidance: 4.5}") + "run: {max_consecutive_failures: 1}\n"
    for command in (["fetch", manifest(text)], ["run", manifest(text), "--out", "run"]):
        refused = near(*command)
        assert refused.code == 2
        assert f"{key}: [someone/demo]" in refused.err or f"allow it with {key}" in refused.err
        assert own not in hub.downloads()
    allowed = manifest(text + f"{key}: [someone/demo]\n")
    if files is with_code:  # what its call does by default, only its code knows
        for axis in ("steps: 1", "guidance: 4.5"):
            unsaid = allowed.read_text(encoding="utf-8").replace(f", {axis}", "")
            planned = near("run", manifest(unsaid, "unsaid.yaml"), "--out", "run")
            assert planned.code == 2
            assert f"unsaid.yaml:1: {axis.split(':')[0]}: someone/demo runs code of its own" in planned.err
    of_a_commit = near("plan", allowed, "--set", f"model=someone/demo@{COMMIT}")
    assert "no model of the grid" not in of_a_commit.err
    fetched = near("fetch", allowed, "--set", f"model=someone/demo@{COMMIT}")
    assert fetched.code == 0, fetched.err
    assert own in hub.downloads()
    assert not {"vae/openvino_model.bin", "train.sh"}.intersection(hub.downloads())
    run = near("run", allowed, "--out", "run")
    assert (run.code, hub.requests) == (0, []), run.err
    assert only_receipt("run").allowed == (key,)
    page = (work / "run" / "report.html").read_text(encoding="utf-8")
    assert re.search(rf'"allowed": ?"{key}"', page)


def test_what_is_allowed_names_models(cli, manifest):
    text = "allow_pickle: true\ntrust_remote_code: someone/demo\n" + OTHER
    outcome = cli("plan", manifest(text))
    assert outcome.code == 2
    assert "job.yaml:1: allow_pickle: it names the models for which that is accepted: allow_pickle: [MODEL]" in (
        outcome.err
    )
    assert "job.yaml:2: trust_remote_code: it names" in outcome.err
    assert "trust_remote_code: [someone/demo]" in outcome.err


def test_a_permission_that_was_not_needed_is_in_no_receipt(cli, manifest):
    path = manifest(
        "allow_pickle: [demo]\ntrust_remote_code:\n  - demo\n  - dmeo\n" + KNOWN.replace("sana-1.6b-1k", "demo")
    )
    outcome = cli("run", path, "--out", "run")
    assert outcome.code == 0
    assert "job.yaml:4: trust_remote_code: no model of the grid is called 'dmeo'" in outcome.err
    assert "allow_pickle" not in outcome.err
    assert only_receipt("run").allowed == ()


@pytest.mark.parametrize(
    ("key", "files", "command"),
    [
        ("allow_pickle", with_pickle, "verify run --reproduce 1"),
        ("trust_remote_code", with_code, "verify run --reproduce 1"),
        ("allow_pickle", with_pickle, "redecode run --memory vae_tiling(256,192)"),
    ],
)
def test_a_run_folder_alone_allows_no_code(cli, manifest, work, key, files, command):
    for name, data in files().items():
        (work / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "model" / name).write_bytes(data)
    text = KNOWN.replace("sana-1.6b-1k", "model").replace("}", ", guidance: 4.5}")
    kept = str(files is with_pickle).lower()  # a pipeline of its own is called whole
    path = manifest(f"{text}{key}: [model]\noutput: {{keep_latents: {kept}}}\n")
    rendered = cli("run", path, "--out", "run", "--quiet")
    assert rendered.code == 0, rendered.err
    refused = cli(*command.split())
    assert (refused.code, "--allow-code" in refused.err) == (2, True), refused.err
    assert "--allow-code" not in cli(*command.split(), "--allow-code").err
