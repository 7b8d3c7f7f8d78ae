"""What images need of a node, looked for there."""

import json
import shutil
from dataclasses import replace

import pytest

from batch.base.errors import ModelError
from batch.catalogue.model import Checkpoint, Model
from batch.engines.ray import belongings
from batch.hub.autoencoders import find_vae
from batch.hub.downloads import FetchOptions
from batch.hub.files import Looking
from batch.manifest.values import Size
from batch.records.kinds import Status
from batch.records.receipts import Outcome
from batch.records.tasks import Lora, Vae
from tests.conftest import DEMO
from tests.helpers import Seen, receipts_of

ONE = "grid: {model: demo, prompt: a, steps: 1, size: 512x512}\n"


@pytest.fixture
def vae(work):
    """An autoencoder in a folder."""
    shutil.copytree(DEMO / "vae", work / "vae")
    return find_vae("vae", Looking(base=work, revisions={})).vae


def test_an_autoencoder_in_a_folder(vae, work):
    assert belongings.beside([vae], FetchOptions(listener=Seen())) == {}
    config = work / "vae" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"scaling_factor": 3.0}))
    with pytest.raises(ModelError, match=r"the autoencoder vae: .*vae is another file than"):
        belongings.beside([vae], FetchOptions(listener=Seen()))
    shutil.rmtree(work / "vae")
    with pytest.raises(ModelError, match=r"the autoencoder vae: there is no file .*vae; .* on every machine$"):
        belongings.beside([vae], FetchOptions(listener=Seen()))


def test_a_checkpoint_in_one_file(work):
    file = work / "x.safetensors"
    file.write_bytes(b"weights")
    checkpoint = Checkpoint(path=str(file), sha256="0" * 64, kind="sdxl")
    known = Model(name="x", native=Size(64, 64), checkpoint=checkpoint)
    with pytest.raises(ModelError, match=r"x: .*x\.safetensors is another file than on the machine of the run"):
        belongings.model(known)
    file.unlink()
    with pytest.raises(ModelError, match=r"x: there is no file .*x\.safetensors; .* on every machine$"):
        belongings.model(known)


def test_a_task_goes_to_a_node_with_the_paths_there_and_comes_back_with_its_own(night):
    receipt = receipts_of(night(text=ONE).result.folder)[0]
    task = replace(
        receipt.task,
        loras=(Lora(path="/here/a", sha256="1"), Lora(path="/same/b", sha256="2")),
        vae=Vae(path="/here/v", sha256="3"),
    )
    places = {"/here/a": "/there/a", "/here/v": "/there/v"}
    there = belongings.as_seen_there(task, places)
    assert [item.path for item in (*there.loras, there.vae)] == ["/there/a", "/same/b", "/there/v"]
    made = Outcome(key=task.id, status=Status.DONE, receipt=replace(receipt, task=there))
    assert belongings.as_seen_here(made, places).receipt.task == task
