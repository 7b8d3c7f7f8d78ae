"""Checkpoints in one file: the bits of the folder that each was made of, whatever it holds and how it is saved."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from diffusers import AutoencoderKL

from batch.base.errors import LoadFailed, NeverLoads, UserError
from batch.render import eight_bit, pipelines
from batch.render.foresight import Foresight
from tests import single_files
from tests.render.parts import modules, source
from tests.render.stages import rendered, same_weights

pytestmark = pytest.mark.usefixtures("one_thread", "narrow_flux", "aligned")

KINDS = ("sd1", "sd2", "sdxl", "flux", "z_image", "sd3")
FLUX = ("transformer",)


# The same picture


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_renders_the_picture_of_its_folder(folder, single, kind):
    assert np.array_equal(rendered(single(kind)), rendered(source(folder(kind))))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_another_dtype_the_weights_are_the_folders(folder, single, kind, dtype):
    found = single(kind)
    same_weights(pipelines.load(source(folder(kind)), dtype), pipelines.load(found, dtype))
    # Some files hold a few numbers more, which are not read.
    own, of_folder = (pipelines.burden(item, dtype) for item in (found, source(folder(kind))))
    assert own.weights == pytest.approx(of_folder.weights, rel=0.002)
    assert own.autoencoder == of_folder.autoencoder == "AutoencoderKL"


def test_a_file_in_halves_is_read_as_what_it_holds(folder, single):
    found = single("sdxl")
    halves = {name: item.half() for name, item in safetensors.torch.load_file(found.file).items()}
    single_files.save(halves | {"conditioner.embedders.1.model.logit_scale": torch.ones(())}, Path(found.file))
    expected = pipelines.load(source(folder("sdxl")), "float16")
    for part in modules(expected).values():
        part.float()
    same_weights(expected, pipelines.load(found, "float32"))


def test_texts_alone_read_no_tensor_of_the_unet(single, monkeypatch):
    read, own = [], eight_bit.read

    def watched(path, names, *rest, **more):
        read.extend(names)
        return own(path, names, *rest, **more)

    monkeypatch.setattr(eight_bit, "read", watched)
    pipelines.load_text_encoder(single("sdxl"), "float32", "cpu")
    assert {name.split(".")[0] for name in read} == {"conditioner"}


def test_ema_and_other_strays_change_nothing(folder, single):
    found = single("sd1")
    weights = safetensors.torch.load_file(found.file)
    ema = {"model_ema." + name.removeprefix("model.").replace(".", ""): item + 1 for name, item in weights.items()}
    strays = {"alphas_cumprod": torch.ones(1000), "cond_stage_model.logit_scale": torch.ones(())}
    single_files.save(weights | ema | strays, Path(found.file))
    same_weights(pipelines.load(source(folder("sd1")), "float32"), pipelines.load(found, "float32"))


def test_an_old_text_encoder_without_its_outer_name(folder, single):
    found = single("sd1")
    weights = safetensors.torch.load_file(found.file)
    old = {name.replace("transformer.text_model.", "transformer."): item for name, item in weights.items()}
    assert old.keys() != weights.keys()
    single_files.save(old, Path(found.file))
    same_weights(pipelines.load(source(folder("sd1")), "float32"), pipelines.load(found, "float32"))


def test_a_projection_that_is_left_out_changes_nothing(single):
    found = single("sd3")
    weights = safetensors.torch.load_file(found.file)
    del weights["text_encoders.clip_l.transformer.text_projection.weight"]
    single_files.save(weights, Path(found.file))
    made = pipelines.load_text_encoder(found, "float32", "cpu").text_encoder
    assert torch.equal(made.text_projection.weight, torch.eye(16))


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model.", ""])
def test_a_transformer_alone_takes_the_rest_from_its_layout(folder, single, prefix):
    found = single("flux", parts=FLUX)
    weights = safetensors.torch.load_file(found.file)
    named = {prefix + name.removeprefix("model.diffusion_model."): item for name, item in weights.items()}
    single_files.save(named, Path(found.file))
    assert np.array_equal(rendered(found), rendered(source(folder("flux"))))
    assert pipelines.burden(found, "float32") == pipelines.burden(source(folder("flux")), "float32")


@pytest.mark.parametrize("kind", ["flux", "sdxl"])
def test_a_denoiser_under_diffusers_own_names(folder, single, kind):
    part = "unet" if kind == "sdxl" else "transformer"
    found = single(kind, parts=(part,))
    shutil.copy(folder(kind) / part / "diffusion_pytorch_model.safetensors", found.file)
    same_weights(pipelines.load(source(folder(kind)), "float32"), pipelines.load(found, "float32"))


# Another autoencoder


@pytest.fixture
def other(tmp_path, folder):
    """An autoencoder with other numbers, alone in a folder."""
    vae = AutoencoderKL.from_pretrained(folder("sdxl"), subfolder="vae")
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.mul_(1.5)
    vae.save_pretrained(tmp_path / "other vae")
    return tmp_path / "other vae"


def as_file(other, place, form):
    """The same autoencoder in one of the forms people have."""
    weights = safetensors.torch.load_file(other / "diffusion_pytorch_model.safetensors")
    if form == "folder":
        return other
    if form == "whole model":
        shutil.copytree(other, place / "vae")
        return place
    if form == "diffusers":
        return other / "diffusion_pytorch_model.safetensors"
    if form == "older diffusers":
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            weights = {name.replace(new, old): item for name, item in weights.items()}
        return single_files.save(weights, place / "older.safetensors")
    original = single_files.vae(weights)
    prefix = "first_stage_model." if form == "checkpoint" else ""
    named = {prefix + name: item.contiguous() for name, item in original.items()}
    return single_files.save(named, place / "kl-f8.safetensors")


@pytest.mark.parametrize(
    "form", ["folder", "whole model", "diffusers", "older diffusers", "original", "checkpoint"]
)
def test_another_autoencoder_takes_the_place_of_the_models(folder, single, other, tmp_path, form):
    place = as_file(other, tmp_path / "given", form)
    expected = AutoencoderKL.from_pretrained(other).state_dict()
    size = sum(item.numel() * 4 for item in expected.values())
    for found in (single("sdxl"), source(folder("sdxl"))):
        given = replace(found, vae=str(place))
        made = pipelines.load_decoder(given, "float32").vae.state_dict()
        assert all(torch.equal(made[name], item) for name, item in expected.items())
        assert pipelines.burden(given, "float32", decoder_only=True).weights == size


def test_another_autoencoder_decodes_the_picture(folder, single, other, tmp_path):
    shutil.copytree(folder("sdxl"), tmp_path / "whole")
    shutil.copytree(other, tmp_path / "whole" / "vae", dirs_exist_ok=True)
    given = replace(single("sdxl"), vae=str(as_file(other, tmp_path, "original")))
    assert np.array_equal(rendered(given), rendered(source(tmp_path / "whole")))


def test_a_folders_autoencoder_brings_its_own_configuration(single, other):
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"scaling_factor": 0.5, "force_upcast": False}))
    given = replace(single("sdxl"), vae=str(other))
    for pipe in (pipelines.load_decoder(given, "float16"), Foresight(given, "float16")._renderers):
        assert (pipe.vae.config.scaling_factor, pipe.vae.config.force_upcast) == (0.5, False)


# What is wrong with a file


def test_what_a_file_lacks_is_named(single):
    found = single("sd1")
    weights = safetensors.torch.load_file(found.file)
    del weights["model.diffusion_model.middle_block.1.proj_in.weight"]
    single_files.save(weights, Path(found.file))
    with pytest.raises(UserError, match=r"model\.safetensors holds no whole unet: it lacks mid_block.*proj_in"):
        pipelines.load(found, "float32")


def test_what_a_flux_lacks_is_named_as_the_file_calls_it(single):
    found = single("flux", parts=FLUX)
    weights = safetensors.torch.load_file(found.file)
    del weights["model.diffusion_model.img_in.bias"]
    single_files.save(weights, Path(found.file))
    with pytest.raises(UserError, match=r"holds no whole transformer: it lacks 'img_in\.bias'"):
        pipelines.load(found, "float32")


def test_a_file_of_another_width_does_not_fit_its_layout(single):
    found = single("sdxl")
    weights = safetensors.torch.load_file(found.file)
    key = "model.diffusion_model.time_embed.0.weight"
    single_files.save(weights | {key: torch.zeros(7, 4)}, Path(found.file))
    with pytest.raises(UserError, match=r"its unet's time_embedding\.linear_1\.weight is \[7, 4\], not \[16, 4\]"):
        pipelines.load(found, "float32")


def test_a_torn_or_absent_file_cannot_be_loaded(single):
    found = single("sdxl")
    Path(found.file).write_bytes(Path(found.file).read_bytes()[:-100])
    with pytest.raises(NeverLoads, match=f"the model {found.name} cannot be loaded: SafetensorError"):
        rendered(found)
    Path(found.file).unlink()
    with pytest.raises(LoadFailed, match=r"cannot be loaded.*No such file"):
        rendered(found)


@pytest.mark.parametrize("form", ["folder", "original"])
def test_a_broken_autoencoder_is_said_to_be_that(single, other, tmp_path, form):
    place = as_file(other, tmp_path, form)
    file = place / "diffusion_pytorch_model.safetensors" if place.is_dir() else place
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(NeverLoads, match=f"the autoencoder {re.escape(str(place))} cannot be loaded: "):
        rendered(replace(single("sdxl"), vae=str(place)))
