"""Checkpoints that are pickles: refused unless they are allowed, then converted once and rendered as any other."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from batch.base.errors import CannotGoOn, Interrupted, ModelError
from batch.hub import conversion
from batch.hub.downloads import FetchOptions
from batch.hub.models import find_model, source
from batch.hub.permissions import Permissions
from batch.run import runner
from batch.run.options import Options
from batch.run.steering import Steering
from tests.checkpoints import REFINER, SD1
from tests.conftest import ROOT
from tests.fake_session import FakeBackend
from tests.helpers import Seen, grid, only_receipt, receipts_of
from tests.hub.test_rendered_files import swapped
from tests.hub.user import snapshot
from tests.small_hub import COMMIT, Repo

pytestmark = pytest.mark.usefixtures("one_thread")

AXES = {"prompt": "a fox", "steps": 1, "size": "64x64", "dtype": "float32"}
ALLOWED = "allow_pickle: [%s]\n"


def hash_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pickled(path, shapes=SD1):
    import torch

    path.parent.mkdir(exist_ok=True)
    state = {name: torch.zeros(shape, dtype=torch.float16) for name, shape in shapes.items()}
    torch.save({"state_dict": state, "global_step": 3}, path)
    return path


@pytest.fixture
def old(xl):
    """The tiny checkpoint as a pickle beside itself."""
    import torch

    path = xl.with_name("old.ckpt")
    torch.save({"state_dict": load_file(xl), "global_step": 3}, path)
    return path


def allowing(*names):
    return Permissions(pickles=frozenset(names))


def found(name, work, **more):
    return find_model(name, work, {}, online=False, permissions=allowing(name), **more)


def test_a_pickle_renders_as_its_weights_in_safetensors(cli, manifest, old, xl, own_cache):
    text = grid(model="models/old.ckpt", **AXES)
    for command in ("plan", "run"):
        refused = cli(command, manifest(text))
        assert refused.code == 2
        assert "job.yaml:2: model: models/old.ckpt is a pickle, which can run any code" in refused.err
        assert "accept it with allow_pickle: [models/old.ckpt]" in refused.err
    assert not (own_cache / "converted").exists()
    path = manifest(text + ALLOWED % "models/old.ckpt")
    first = cli("run", path, "--out", "run")
    assert first.code == 0, first.err
    assert "converting old.ckpt" in first.out + first.err
    receipt = only_receipt("run")
    assert (receipt.allowed, receipt.task.revision) == (("allow_pickle",), f"sha256:{hash_of(old)}")
    again = cli("plan", path, "--out", "run")
    assert (again.code, "converting" in again.out + again.err) == (0, False)
    assert f"[{hash_of(old)[:10]}]" in again.out
    assert cli("run", manifest(grid(model=str(xl), **AXES)), "--out", "plain").code == 0
    assert only_receipt("plain").file.pixels_sha256 == receipt.file.pixels_sha256
    assert only_receipt("plain").allowed == ()


def test_a_run_folder_alone_converts_no_pickle(cli, manifest, old, own_cache):
    path = manifest(grid(model="models/old.ckpt", **AXES) + ALLOWED % "models/old.ckpt")
    assert cli("run", path, "--out", "run").code == 0
    (made,) = (own_cache / "converted").glob("*/*")
    made.unlink()
    refused = cli("verify", "run", "--reproduce", "1")
    assert (refused.code, "--allow-code" in refused.err) == (2, True), refused.err
    assert not made.exists()
    assert cli("verify", "run", "--reproduce", "1", "--allow-code").code == 0
    assert made.exists()
    assert "0 images rendered" in cli("run", path, "--out", "run").out


def test_what_was_made_of_a_pickle_must_stay_as_it_is(work):
    pickled(work / "old.ckpt")
    model = found("old.ckpt", work)
    made = source(model)
    assert (made.file, made.allowed) == (model.checkpoint.converted, ("allow_pickle",))
    assert made.converted == hash_of(Path(made.file))
    pickled(work / "old.ckpt", REFINER)
    with pytest.raises(ModelError, match="has changed since it was looked at"):
        source(model)
    with pytest.raises(ModelError, match=r"old\.ckpt: it is the refiner of SDXL"):
        found("old.ckpt", work)


def test_one_that_is_swapped_in_the_cache_ends_the_run(manifest, old, own_cache, monkeypatch):
    text = grid(model="models/old.ckpt", prompt=["a fox", "a whale"]) + ALLOWED % "models/old.ckpt"
    backend = FakeBackend(())
    opened = backend.open

    def swap(*given, **named):
        session = opened(*given, **named)
        (made,) = (own_cache / "converted").glob("*/*.safetensors")
        swapped(made)
        return session

    monkeypatch.setattr(type(backend), "open", lambda _self, *given, **named: swap(*given, **named))
    result = runner.run(manifest(text), Options(backend=backend), Seen(), Steering())
    assert isinstance(result.stopped, CannotGoOn)
    assert "has changed since this run began" in str(result.stopped)


def test_one_that_is_cut_off_in_the_cache_is_made_again(work, own_cache):
    pickled(work / "old.ckpt")
    made = Path(found("old.ckpt", work).checkpoint.converted)
    whole = made.read_bytes()
    made.write_bytes(whole[:-1])
    assert found("old.ckpt", work).checkpoint.converted == str(made)
    assert made.read_bytes() == whole


@pytest.mark.usefixtures("own_cache")
def test_planning_a_pickle_does_not_load_torch(work, manifest):
    pickled(work / "old.ckpt")
    code = (
        "import sys; from batch.cli.main import main; code = main(sys.argv[1:]);"
        "sys.exit('torch' if 'torch' in sys.modules else code)"
    )
    path = manifest(grid(model="old.ckpt", prompt="a fox") + ALLOWED % "old.ckpt")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RUN_BATCH_PREDICT": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code, "plan", path], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "converting old.ckpt (" in done.stderr
    assert "Stable Diffusion 1 in one file" in done.stdout


def test_an_entry_of_ones_own_is_allowed_by_its_name(work, monkeypatch, cli):
    pickled(work / "old.ckpt")
    (work / "models.yaml").write_text("my-old: {file: old.ckpt, like: sd-1.5}\n")
    monkeypatch.setenv("RUN_BATCH_MODELS", str(work / "models.yaml"))
    (listed,) = (item for item in cli("models", "--json").json() if item["name"] == "my-old")
    assert listed["here"] is True
    with pytest.raises(ModelError, match=r"allow_pickle: \[my-old\]"):
        find_model("my-old", work, {}, online=False, permissions=allowing("old.ckpt"))
    assert found("my-old", work).checkpoint.kind == "sd1"


# What is no checkpoint, and what goes wrong on the way


@pytest.mark.parametrize("name", ["old.ckpt", "old.pt", "old.PTH", "old.bin"])
def test_no_pickle_is_read_that_is_not_allowed(work, name):
    (work / name).write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(
        ModelError, match=rf"{name} is a pickle.*convert it, or accept it with allow_pickle: \[{name}\]"
    ):
        find_model(name, work, {}, online=False)


def test_a_page_in_place_of_a_pickle_is_told_as_none(work):
    (work / "old.ckpt").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(ModelError, match=r"old\.ckpt: it is no checkpoint that torch has saved"):
        found("old.ckpt", work)


def test_what_is_not_what_its_hash_says_is_not_kept(work, own_cache):
    blob = work / "models--someone--old" / "blobs" / ("a" * 64)  # the Hub's cache, which names files by their hash
    blob.parent.mkdir(parents=True)
    pickled(blob)
    (work / "old.ckpt").symlink_to(blob)
    with pytest.raises(ModelError, match="was written to while it was read, or is damaged"):
        found("old.ckpt", work)
    assert not list((own_cache / "converted").glob("*/*"))


def test_a_cache_that_cannot_be_written_is_said(work, monkeypatch):
    pickled(work / "old.ckpt")
    (work / "file").write_text("")
    monkeypatch.setenv("RUN_BATCH_CACHE", str(work / "file" / "cache"))
    with pytest.raises(ModelError, match=r"cannot be converted into .*RUN_BATCH_CACHE names another folder"):
        found("old.ckpt", work)


def test_a_conversion_can_be_interrupted(work, own_cache):
    pickled(work / "old.ckpt")
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        found("old.ckpt", work, fetching=FetchOptions(listener=Seen(), stop=stop))
    assert not list((own_cache / "converted").glob("*/.*"))


def test_what_a_killed_conversion_left_is_removed(work, own_cache):
    place = own_cache / "converted" / "of another"
    place.mkdir(parents=True)
    for name, age in (("left", conversion.ABANDONED_S + 60), ("at-work", 60)):
        (place / f".{name}.convert.part").write_bytes(b"x")
        os.utime(place / f".{name}.convert.part", (time.time() - age,) * 2)
    pickled(work / "old.ckpt")
    assert found("old.ckpt", work)
    assert [path.name for path in place.iterdir()] == [".at-work.convert.part"]


# The Hub


def test_a_pickle_of_the_hub_is_downloaded_where_it_is_allowed(near, hub, manifest, old):
    hub.repos["someone/old"] = Repo({"v1/old.ckpt": old.read_bytes(), "other.ckpt": b"x"})
    old.unlink()
    name = "someone/old/v1/old.ckpt"
    for command in ("fetch", "plan"):
        refused = near(command, manifest(grid(model=name, **AXES)))
        assert (refused.code, hub.downloads()) == (2, [])
        assert f"accept it with allow_pickle: [{name}]" in refused.err
    path = manifest(grid(model=name, **AXES) + ALLOWED % name)
    fetched = near("fetch", path)
    assert (fetched.code, hub.downloads()) == (0, ["v1/old.ckpt"]), fetched.err
    assert "converting old.ckpt" in fetched.out + fetched.err
    run = near("run", path, "--out", "run")
    assert (run.code, "no model of the grid" in run.err) == (0, False), run.err
    assert only_receipt("run").task.revision == f"sha256:{hash_of(snapshot('someone/old') / 'v1/old.ckpt')}"
    for allowed, asked in ((name, f"{name}@{COMMIT}"), (f"someone/old@{COMMIT}", name)):
        again = near("run", manifest(grid(model=asked, **AXES) + ALLOWED % allowed), "--out", "run")
        assert (again.code, "no model of the grid" in again.err) == (0, False), again.err
        assert "0 images rendered" in again.out
    assert len(receipts_of("run")) == 1


def test_a_pickle_of_a_commit_that_a_folder_pins_is_not_allowed(near, hub, manifest, old, work):
    hub.repos["someone/old"] = Repo({"old.ckpt": old.read_bytes()})
    name = "someone/old/old.ckpt"
    path = manifest(grid(model=name, **AXES) + ALLOWED % name)
    assert near("run", path, "--out", "run").code == 0
    place = work / "run/.run/plan.json"
    kept = json.loads(place.read_text())
    place.write_text(json.dumps({**kept, "revisions": {name: "b" * 40}}))
    refused = near("run", path, "--out", "run")
    assert refused.code == 2
    assert f"allow_pickle: [someone/old@{'b' * 40}]" in refused.err
