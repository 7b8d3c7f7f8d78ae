"""Runs with checkpoints in one file: rendered, moved, swapped, fetched, and rendered again."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from batch.base.errors import CannotGoOn
from batch.run import runner
from batch.run.options import Options
from batch.run.steering import Steering
from tests import single_files as tiny_files
from tests.fake_session import FakeBackend
from tests.helpers import Seen, grid, only_receipt, receipts_of
from tests.hub.user import snapshot
from tests.small_hub import COMMIT, Repo, folder_files

pytestmark = pytest.mark.usefixtures("one_thread")

FLUX_DEV = "black-forest-labs/FLUX.1-dev"
AXES = {"prompt": "a fox", "steps": 1, "size": "64x64", "dtype": "float32"}


def swapped(path):
    """Other weights in the same place."""
    changed = {name: np.asarray((tensor / 2).astype(tensor.dtype)) for name, tensor in load_file(path).items()}
    other = path.with_suffix(".new")
    save_file(changed, other)
    other.replace(path)


def test_a_checkpoint_renders_and_may_be_moved(cli, manifest, work, xl):
    text = grid(model="models/castles_v1.safetensors", **AXES) + "output: {name: '{model}'}\n"
    run = cli("run", manifest(text), "--out", "run")
    assert run.code == 0, run.err
    first = only_receipt("run")
    assert first.file.path.startswith("images/castles-v1-")
    assert first.task.revision == f"sha256:{single_hash(xl)}"
    assert cli("verify", "run", "--reproduce", "1").code == 0
    shutil.move(xl, work / "renamed.safetensors")
    gone = cli("verify", "run", "--reproduce", "1")
    assert gone.code == 2
    assert "there is no file" in gone.err
    renamed = manifest(text.replace("models/castles_v1", "renamed"))
    again = cli("run", renamed, "--out", "run")
    assert "0 images rendered" in again.out, again.err
    assert cli("verify", "run", "--reproduce", "1").code == 0
    made = cli("manifest", "from", "run")
    assert "model: renamed.safetensors" in made.out
    swapped(work / "renamed.safetensors")
    other = cli("verify", "run", "--reproduce", "1")
    assert other.code == 2
    assert f"its revision was {first.task.revision[7:17]}" in other.err
    assert "1 image rendered" in cli("run", renamed, "--out", "run").out
    assert len({receipt.file.pixels_sha256 for receipt in receipts_of("run")}) == 2


def single_hash(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_picture_says_which_checkpoint_it_is_of(cli, manifest, xl):
    assert cli("run", manifest(grid(model=str(xl), **AXES)), "--out", "run").code == 0
    text = Image.open(Path("run", only_receipt("run").file.path)).text["parameters"]
    assert f"Model hash: {single_hash(xl)[:10]}" in text


def test_a_file_that_is_swapped_while_a_run_is_on_ends_it(manifest, work, xl, monkeypatch):
    seen = Seen()
    path = manifest(grid(model="models/castles_v1.safetensors", prompt=["a fox", "a whale"], seed=[1, 2]))
    backend = FakeBackend(())
    opened = backend.open

    def swap(source, *arguments, **named):
        session = opened(source, *arguments, **named)
        swapped(xl)
        return session

    monkeypatch.setattr(type(backend), "open", lambda _self, *given, **named: swap(*given, **named))
    result = runner.run(path, Options(backend=backend), seen, Steering())
    assert isinstance(result.stopped, CannotGoOn)
    assert "has changed since this run began" in str(result.stopped)
    assert result.done <= 1


# fetch


def test_what_a_file_lacks_is_fetched_and_nothing_else(near, hub, manifest, work, tiny, small_kinds):
    hub.repos[FLUX_DEV] = Repo(folder_files(tiny("flux")))
    file = tiny_files.tensors(tiny("flux"), "flux", ["transformer"])
    tiny_files.save(file, work / "flux_v2.safetensors")
    path = manifest(grid(model="flux_v2.safetensors", **AXES))
    plan = near("plan", path)
    assert (plan.code, hub.requests) == (0, []), plan.err
    assert f"the rest of {FLUX_DEV}" in plan.out
    assert "`fetch` downloads it" in plan.out
    fetched = near("fetch", path)
    assert fetched.code == 0, fetched.err
    assert f"flux_v2.safetensors: {FLUX_DEV} at {COMMIT[:12]}: downloading" in fetched.out + fetched.err
    got = hub.downloads()
    assert not [name for name in got if name.startswith("transformer/") and name.endswith(".safetensors")]
    assert "transformer/config.json" in got
    assert {name.split("/")[0] for name in got if name.endswith(".safetensors")} == {
        "text_encoder",
        "text_encoder_2",
        "vae",
    }
    assert "only a part of it" not in near("plan", path).err
    again = near("fetch", path)
    assert "is a file of this machine, what it lacks of" in again.out
    assert near("plan", path).code == 0
    assert f"at {COMMIT[:12]}" in near("plan", path).out


def test_a_checkpoint_of_the_hub(near, hub, manifest, work, tiny, small_kinds):
    data = tiny_files.save(tiny_files.tensors(tiny("sdxl"), "sdxl"), work / "x.safetensors").read_bytes()
    (work / "x.safetensors").unlink()
    hub.repos["someone/xl"] = Repo(
        {"README.md": b"#", "v1/castles.safetensors": data, "v1/other.safetensors": b"x"}
    )
    name = "someone/xl/v1/castles.safetensors"
    path = manifest(grid(model=name, **AXES))
    missing = near("plan", path)
    assert (missing.code, hub.requests) == (2, [])
    assert "is not on this machine, so it is not known what it is: `fetch` the manifest first" in missing.err
    fetched = near("fetch", path)
    assert fetched.code == 0, fetched.err
    assert hub.downloads() == ["v1/castles.safetensors"]
    assert near("run", path, "--out", "run").code == 0
    receipt = only_receipt("run")
    content = single_hash(snapshot("someone/xl") / "v1/castles.safetensors")
    assert (receipt.task.model, receipt.task.revision) == (name, f"sha256:{content}")
    assert json.loads((work / "run/.run/plan.json").read_text())["revisions"] == {name: COMMIT}
    kept = snapshot("someone/xl") / "v1/castles.safetensors"
    kept.resolve().write_bytes(data[:-9])
    repaired = near("fetch", path)
    assert repaired.code == 0, repaired.err
    assert kept.read_bytes() == data
    hub.repos["someone/xl"].move({"v1/castles.safetensors": b"other"})
    assert "0 images rendered" in near("run", path, "--out", "run").out
    assert near("verify", "run", "--reproduce", "1").code == 0
    address = f"https://huggingface.co/{name.replace('/v1/', '/blob/main/v1/')}"
    assert "0 images rendered" in near("run", manifest(grid(model=address, **AXES)), "--out", "run").out
    (work / "own.safetensors").write_bytes(data)
    assert "0 images rendered" in near("run", manifest(grid(model="own.safetensors", **AXES)), "--out", "run").out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("someone/xl/castle.safetensors", "did you mean someone/xl/castles.safetensors?"),
        ("someone/xl/old.ckpt", "is a pickle"),
        ("someone/none/x.safetensors", "is not on the Hub"),
    ],
)
def test_checkpoints_that_the_hub_does_not_have(near, hub, manifest, name, said):
    hub.repos["someone/xl"] = Repo({"castles.safetensors": b"x", "old.ckpt": b"x"})
    outcome = near("fetch", manifest(f"grid:\n  prompt: a\n  model: {name}\n"))
    assert outcome.code == 2
    assert "job.yaml:3: model: " in outcome.err
    assert said in outcome.err
    assert hub.downloads() == []
