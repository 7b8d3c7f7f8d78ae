"""Autoencoders in place of a model's own: where they lie, what identifies them, and which model takes them."""

import csv
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from batch.base.errors import ModelError
from batch.hub.autoencoders import find_vae
from batch.hub.files import Looking
from batch.records.tasks import Vae
from batch.store.images.reading import read_metadata
from tests.checkpoints import SD1, SDXL, write
from tests.conftest import DEMO
from tests.helpers import grid, images, picture, plan, receipts_of
from tests.small_hub import COMMIT, Repo, folder_files

KL = {"decoder.conv_in.weight": (512, 4, 3, 3), "encoder.conv_in.weight": (128, 3, 3, 3)}
DEMO_VAE = DEMO / "vae"


@pytest.fixture
def other(work):
    """The demo's autoencoder with other weights."""
    folder = work / "vaes" / "pale"
    shutil.copytree(DEMO_VAE, folder)
    file = folder / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor * np.float32(0.9) for name, tensor in load_file(file).items()}, file)
    return folder


def found(name, work, **more):
    return find_vae(name, Looking(base=work, revisions={}, **more))


def config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("shapes", "kind", "channels"),
    [
        (KL, "AutoencoderKL", 4),
        ({"decoder.conv_in.weight": (512, 16, 3, 3)}, "AutoencoderKL", 16),
        (SDXL | {"first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3)}, "AutoencoderKL", 4),
    ],
)
def test_what_a_file_holds(work, shapes, kind, channels):
    write(work / "x.safetensors", shapes)
    vae = found("x.safetensors", work)
    assert (vae.kind, vae.channels, vae.vae.path) == (kind, channels, str(work / "x.safetensors"))


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"lora_unet_x.lora_down.weight": (4, 4)}, "write it under lora:"),
        ({"decoder.middle.0.residual.0.gamma": (384, 1, 1, 1)}, "no autoencoder that is read from files"),
        ({"taesd_decoder.1.weight": (64, 4, 3, 3)}, "a small decoder for previews"),
        ({"x": (1,)}, "no autoencoder that is read from files"),
    ],
)
def test_a_file_that_holds_none(work, shapes, said):
    write(work / "x.safetensors", shapes)
    with pytest.raises(ModelError, match=said):
        found("x.safetensors", work)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vae.safetensor", "there is no file or folder"),
        ("vae.safetensors", "there is no file"),
        (
            "old.pt",
            "is a pickle, which can run any code when it is loaded. Take it as .safetensors, or convert it",
        ),
        (".", "holds no autoencoder"),
        ("transformer", "holds no autoencoder"),
        ("halved", "holds no weights in safetensors"),
        ("leading", "an adapter, which names another model"),
    ],
)
def test_autoencoders_that_are_not_there(work, name, said):
    (work / "old.pt").write_bytes(b"x")
    shutil.copytree(DEMO / "transformer", work / "transformer")
    for folder in ("halved", "leading"):
        shutil.copytree(DEMO_VAE, work / folder)
    (work / "halved/diffusion_pytorch_model.safetensors").rename(work / "halved/diffusion_pytorch_model.bin")
    (work / "leading/adapter_config.json").write_text("{}")
    with pytest.raises(ModelError) as error:
        found(name, work)
    assert said in str(error.value)


def test_a_model_refuses_what_is_another_kinds(work, manifest, cli):
    write(work / "xl.safetensors", SDXL)
    write(work / "sd1.safetensors", SD1)
    write(work / "sixteen.safetensors", {"decoder.conv_in.weight": (512, 16, 3, 3)})
    shutil.copytree(DEMO_VAE, work / "dc")
    shutil.copytree(DEMO_VAE, work / "mse")
    config(work / "mse", _class_name="AutoencoderKL", latent_channels=4, scaling_factor=0.18215)
    text = "grid:\n  prompt: a\n  model: {}\n  vae: {}\n"
    for model, vae, said in (
        ("xl.safetensors", "sixteen.safetensors", "vae: sixteen.safetensors decodes latents of 16 channels"),
        ("xl.safetensors", "dc", "vae: dc is an AutoencoderDC"),
        ("xl.safetensors", "mse", "vae: mse takes latents scaled by 0.18215"),
        ("demo", "sixteen.safetensors", "demo decodes with AutoencoderDC"),
    ):
        outcome = cli("plan", manifest(text.format(model, vae)))
        assert outcome.code == 2, (model, vae)
        assert "job.yaml:4: vae: " in outcome.err
        assert said in outcome.err
    for model, vae in (("xl.safetensors", "xl.safetensors"), ("sd1.safetensors", "mse"), ("demo", "dc")):
        assert cli("plan", manifest(text.format(model, vae))).code == 0, (model, vae)


def test_another_autoencoder_makes_another_picture(work, manifest, cli, other):
    axes = {"model": "demo", "prompt": "a fox", "steps": 1, "seed": 7}
    alone = plan(manifest(grid(**axes))).tasks[0].id
    text = grid(**axes, vae=["default", "vaes/pale"]) + "output: {name: '{vae}'}\n"
    outcome = cli("run", manifest(text), "--out", "run")
    assert outcome.code == 0, outcome.err
    own, pale = sorted(receipts_of("run"), key=lambda item: bool(item.task.vae))
    assert (own.task.id, own.task.vae) == (alone, None)
    assert pale.task.vae.path == str(other)
    assert {path.name[:7] for path in images("run")} == {"default", f"pale-{pale.task.id[:2]}"}
    assert (picture("run", own) != picture("run", pale)).any()
    rows = csv.DictReader((work / "run/results.csv").read_text(encoding="utf-8-sig").splitlines())
    assert sorted(row["vae"] for row in rows) == ["", "vaes/pale"]
    assert cli("verify", "run", "--reproduce", "2").code == 0
    for source in (work / "run", work / "run" / pale.file.path):
        assert "vaes/pale" in cli("manifest", "from", source).out
    assert str(work) not in " ".join(read_metadata(work / "run" / pale.file.path).values())
    shutil.move(other, work / "vaes" / "moved")
    moved = manifest(text.replace("pale", "moved"))
    assert "0 images rendered" in cli("run", moved, "--out", "run").out
    config(work / "vaes" / "moved", scaling_factor=0.5)
    assert "1 image rendered" in cli("run", moved, "--out", "run").out
    assert cli("verify", "run", "--reproduce", "2").code == 0


def test_an_autoencoder_of_the_hub(near, hub, manifest, work, other):
    hub.repos["someone/pale"] = Repo({"README.md": b"#", "extra.safetensors": b"x" * 100, **folder_files(other)})
    hub.repos["someone/whole"] = Repo({f"vae/{name}": data for name, data in folder_files(other).items()})
    path = manifest(grid(model="demo", prompt="a fox", steps=1, vae=["someone/pale", "someone/whole"]))
    before = near("plan", path)
    assert (before.code, hub.requests) == (0, []), before.err
    assert "what is done shows once" in before.out
    fetched = near("fetch", path)
    assert fetched.code == 0, fetched.err
    assert f"someone/pale@{COMMIT} is on this machine" in fetched.out
    names = ["config.json", "diffusion_pytorch_model.safetensors"]
    assert sorted(hub.downloads()) == [*names, *(f"vae/{name}" for name in names)]
    assert near("run", path, "--out", "run").code == 0
    (task,) = {receipt.task for receipt in receipts_of("run")}  # of one content
    assert task.vae.source == f"someone/pale@{COMMIT}/"
    assert json.loads((work / "run/.run/plan.json").read_text())["revisions"]["someone/pale"] == COMMIT
    assert near("verify", "run", "--reproduce", "1").code == 0
    assert f"vae: someone/pale@{COMMIT}" in near("manifest", "from", "run").out
    own = near("run", manifest(grid(model="demo", prompt="a fox", steps=1, vae="vaes/pale")), "--out", "run")
    assert "0 images rendered" in own.out


@pytest.mark.parametrize(
    ("source", "written"),
    [
        (f"someone/pale@{COMMIT}/", f"someone/pale@{COMMIT}"),
        (f"someone/whole@{COMMIT}/vae", f"someone/whole@{COMMIT}"),
        (f"someone/files@{COMMIT}/pale.safetensors", f"someone/files/pale.safetensors@{COMMIT}"),
        ("someone/whole@/", "someone/whole"),
        ("", "someone/whole"),
    ],
)
def test_one_of_the_hub_is_written_as_a_manifest_takes_it(near, work, source, written):
    vae = Vae(name="someone/whole", path="/elsewhere", sha256="1", source=source)
    assert vae.written == written
    assert not found(written, work).vae.known  # it is taken for one of the Hub, which is not on this machine


@pytest.mark.parametrize(
    ("forged", "said"),
    [("null", "was is not known, so it is not loaded"), ('"' + "0" * 32 + '"', "is not the autoencoder that run")],
)
def test_an_autoencoder_of_a_receipt_is_held_to_its_content(work, manifest, cli, other, forged, said):
    path = manifest(grid(model="demo", prompt="a fox", steps=1, vae="vaes/pale"))
    assert cli("run", path, "--out", "run").code == 0
    real = f'"{receipts_of("run")[0].task.vae.sha256}"'
    state = work / "run" / ".run"
    for file in (state / "tasks.jsonl", *state.glob("receipts/*/*.json")):
        assert real in file.read_text(encoding="utf-8")
        file.write_text(file.read_text(encoding="utf-8").replace(real, forged), encoding="utf-8")
    outcome = cli("verify", "run", "--reproduce", "1")
    assert (outcome.code, said in outcome.err) == (2, True), outcome.err
