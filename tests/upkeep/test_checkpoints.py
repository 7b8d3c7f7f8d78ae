"""Pictures of other programs name their checkpoint: it is found beside the manifest by its name, or its hash."""

import os
import time
from dataclasses import replace

import pytest

from batch.base import checksums
from batch.store.images.texts import rerun_json
from tests.checkpoints import SDXL, write
from tests.helpers import grid, plan
from tests.upkeep.foreign_pictures import png

LINE = "Steps: 20, Sampler: Euler, CFG scale: 5, Seed: 7, Size: 1024x1024, Model hash: {}, Model: {}"


def told(cli, work, model, digits="0123456789"):
    png(work / "x.png", {"parameters": f"a fox\n{LINE.format(digits, model)}"})
    made = cli("manifest", "from", "x.png")
    assert made.code == 0, made.err
    return made


@pytest.fixture
def file(work):
    path = write(work / "models" / "Stable-diffusion" / "juggernautXL_v9.safetensors", SDXL)
    os.utime(path, (time.time() - 60,) * 2)
    return path


def test_a_checkpoint_is_found_by_its_name(cli, work, file):
    made = told(cli, work, "juggernautXL_v9")
    assert "model: models/Stable-diffusion/juggernautXL_v9.safetensors" in made.out
    assert "is taken for its model, by its name" in made.out
    (work / "made.yaml").write_text(made.out)
    assert cli("plan", "made.yaml").code == 0


def test_a_checkpoint_is_found_by_its_hash(cli, work, file):
    digits = checksums.of(file)[:10]
    made = told(cli, work, "its name there", digits)
    assert "model: models/Stable-diffusion/juggernautXL_v9.safetensors" in made.out
    assert "by its name" not in made.out
    other = told(cli, work, "juggernautXL_v9", "0123456789")
    assert f"another hash than its text says, {digits} and 0123456789" in other.out


def test_a_renamed_checkpoint_is_found_by_its_whole_hash(cli, work, file, manifest):
    made = plan(manifest(grid(model="models/Stable-diffusion/juggernautXL_v9.safetensors", prompt="a fox")))
    png(work / "ours.png", {"run_batch": rerun_json(made.tasks[0])})
    renamed = file.rename(work / "models" / "jugger.safetensors")
    before = cli("manifest", "from", "ours.png")  # nobody has read it yet under this name
    assert "model: models/Stable-diffusion/juggernautXL_v9.safetensors" in before.out
    digits = checksums.of(renamed)
    write(work / "models" / "juggernautXL_v9.safetensors", SDXL)
    assert "model: models/jugger.safetensors" in cli("manifest", "from", "ours.png").out
    near = f"{digits[:10]}{'0' * 54}"
    told_otherwise = replace(made.tasks[0], revision=f"sha256:{near}")
    png(work / "ours.png", {"run_batch": rerun_json(told_otherwise)})
    assert "jugger.safetensors" not in cli("manifest", "from", "ours.png").out


@pytest.mark.parametrize("name", ["../y", "..", "none", "demo"])
def test_a_name_that_is_no_file_here_stays(cli, work, file, name):
    write(work.parent / "y.safetensors", SDXL)
    made = told(cli, work, name)
    assert "y.safetensors" not in made.out


@pytest.mark.parametrize("place", ["", "models/VAE/"])
def test_an_autoencoder_is_found_by_its_name(cli, work, file, place):
    write(work / f"{place}fine.safetensors", {"decoder.conv_in.weight": (512, 4, 3, 3)})
    made = told(cli, work, "juggernautXL_v9, VAE hash: 012345, VAE: fine.safetensors")
    assert f"vae: {place}fine.safetensors" in made.out
    assert "left out" not in made.out
    (work / "made.yaml").write_text(made.out)
    assert cli("plan", "made.yaml").code == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [("gone.safetensors", True), ("../x.safetensors", True), ("Automatic", False), ("None", False)],
)
def test_an_autoencoder_that_is_not_here_is_left_out(cli, work, file, name, said):
    write(work.parent / "x.safetensors", {"decoder.conv_in.weight": (512, 4, 3, 3)})
    made = told(cli, work, f"juggernautXL_v9, VAE: {name}")
    assert (f"left out: VAE {name}: there is no such file" in made.out) is said
    assert "vae:" not in made.out
