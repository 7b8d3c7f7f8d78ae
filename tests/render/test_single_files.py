"""Checkpoints in one file: the bits of the folder that each was made of, whatever it holds and how it is saved."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, FluxTransformer2DModel, StableDiffusionPipeline, UNet2DConditionModel

from batch.base.errors import LoadFailed, UserError
from batch.catalogue import layouts
from batch.manifest.values import Size
from batch.memory import profiles
from batch.plan.texts import encode_tasks
from batch.records.spec import ModelSource
from batch.records.tasks import Task
from batch.render import eight_bit, random_weights, single_file
from batch.render import memory as carried_out
from batch.render.backend import Loads
from batch.render.families import common
from batch.render.foresight import Foresight
from batch.render.session import DiffusersSession
from tests import single_files, tiny_models
from tests.helpers import nothing
from tests.render.allocations import allocated, modules, source

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = ("sd1", "sd2", "sdxl", "flux", "z_image")
FLUX = ("transformer",)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    single_files.narrow_flux(monkeypatch)


@pytest.fixture(autouse=True)
def aligned(monkeypatch):
    """Weights at addresses that all kernels like: where a file happens to have them, a CPU may round otherwise."""
    load = common.load

    def loaded(*given, **named):
        pipe = load(*given, **named)
        for part in modules(pipe).values():
            for parameter in part.parameters():
                parameter.data = parameter.data.clone()
        return pipe

    monkeypatch.setattr(common, "load", loaded)


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    """Tiny models by kind: Stable Diffusion 2 is 1 with linear projections and another text encoder's numbers."""
    second = tmp_path_factory.mktemp("folders") / "sd2"

    def build(kind):
        if kind == "sd2" and not second.is_dir():
            torch.manual_seed(2)
            pipe = StableDiffusionPipeline.from_pretrained(tiny("sd1"))
            pipe.unet = tiny_models.unet(cross_attention_dim=16, use_linear_projection=True)
            pipe.text_encoder = tiny_models.clip()
            pipe.save_pretrained(second)
        return second if kind == "sd2" else tiny(kind)

    return build


@pytest.fixture
def single(folder, tmp_path):
    """The source of a kind's folder as one file."""
    return lambda kind, **more: single_files.of_folder(folder(kind), tmp_path / kind, kind, **more)


def task(**changes):
    given = {
        "model": "x", "dtype": "float32", "prompt": "a fox 7", "seed": 7, "width": 64, "height": 64,
        "rendered_width": 64, "rendered_height": 64, "steps": 2, "guidance": 3.0,
    }  # fmt: skip
    return Task(**{**given, **changes})


def latents_of(found, asked):
    """Texts and steps, as a session goes through them; the session, and how it renders."""
    made = DiffusersSession(found, asked.dtype, "cpu")
    embeds = [made.encode(item, nothing).value for item in encode_tasks(asked, found.family, "cpu")]
    steps = made.prepare(Loads.IMAGES, asked)
    return made, made.denoise([asked], [embeds], steps, nothing).value, steps


def rendered(found, asked=None):
    asked = asked or task()
    if found.family == "generic":
        made = DiffusersSession(found, asked.dtype, "cpu")
        return made.whole(asked, made.prepare(Loads.IMAGES, asked), nothing).value
    made, latents, steps = latents_of(found, asked)
    return made.decode(asked, latents, steps, nothing).value


def same_weights(one, other):
    assert modules(one).keys() == modules(other).keys()
    for name, part in modules(one).items():
        own, found = part.state_dict(), modules(other)[name].state_dict()
        assert own.keys() == found.keys()
        for key, tensor in own.items():
            assert (key, tensor.dtype) == (key, found[key].dtype)
            assert torch.equal(tensor, found[key]), key
        assert not modules(other)[name].training


# The same picture


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_renders_the_picture_of_its_folder(folder, single, kind):
    assert np.array_equal(rendered(single(kind)), rendered(source(folder(kind))))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_another_dtype_the_weights_are_the_folders(folder, single, kind, dtype):
    found = single(kind)
    same_weights(common.load(source(folder(kind)), dtype), common.load(found, dtype))
    # Some files hold a few numbers more, which are not read.
    own, of_folder = (common.burden(item, dtype) for item in (found, source(folder(kind))))
    assert own.weights == pytest.approx(of_folder.weights, rel=0.002)
    assert own.autoencoder == of_folder.autoencoder == "AutoencoderKL"


def test_a_file_in_halves_is_read_as_what_it_holds(folder, single):
    found = single("sdxl")
    halves = {name: item.half() for name, item in safetensors.torch.load_file(found.file).items()}
    single_files.save(halves | {"conditioner.embedders.1.model.logit_scale": torch.ones(())}, Path(found.file))
    expected = common.load(source(folder("sdxl")), "float16")
    for part in modules(expected).values():
        part.float()
    same_weights(expected, common.load(found, "float32"))


def test_texts_alone_read_no_tensor_of_the_unet(single, monkeypatch):
    read, own = [], eight_bit.read

    def watched(path, names, *rest, **more):
        read.extend(names)
        return own(path, names, *rest, **more)

    monkeypatch.setattr(eight_bit, "read", watched)
    common.load_text_encoder(single("sdxl"), "float32", "cpu")
    assert {name.split(".")[0] for name in read} == {"conditioner"}


def test_ema_and_other_strays_change_nothing(folder, single):
    found = single("sd1")
    weights = safetensors.torch.load_file(found.file)
    ema = {"model_ema." + name.removeprefix("model.").replace(".", ""): item + 1 for name, item in weights.items()}
    strays = {"alphas_cumprod": torch.ones(1000), "cond_stage_model.logit_scale": torch.ones(())}
    single_files.save(weights | ema | strays, Path(found.file))
    same_weights(common.load(source(folder("sd1")), "float32"), common.load(found, "float32"))


def test_an_old_text_encoder_without_its_outer_name(folder, single):
    found = single("sd1")
    weights = safetensors.torch.load_file(found.file)
    old = {name.replace("transformer.text_model.", "transformer."): item for name, item in weights.items()}
    assert old.keys() != weights.keys()
    single_files.save(old, Path(found.file))
    same_weights(common.load(source(folder("sd1")), "float32"), common.load(found, "float32"))


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model.", ""])
def test_a_transformer_alone_takes_the_rest_from_its_layout(folder, single, prefix):
    found = single("flux", parts=FLUX)
    weights = safetensors.torch.load_file(found.file)
    named = {prefix + name.removeprefix("model.diffusion_model."): item for name, item in weights.items()}
    single_files.save(named, Path(found.file))
    assert np.array_equal(rendered(found), rendered(source(folder("flux"))))
    assert common.burden(found, "float32") == common.burden(source(folder("flux")), "float32")


@pytest.mark.parametrize("kind", ["flux", "sdxl"])
def test_a_denoiser_under_diffusers_own_names(folder, single, kind):
    part = "unet" if kind == "sdxl" else "transformer"
    found = single(kind, parts=(part,))
    shutil.copy(folder(kind) / part / "diffusion_pytorch_model.safetensors", found.file)
    same_weights(common.load(source(folder(kind)), "float32"), common.load(found, "float32"))


# Eight bits


def in_fp8(weights, *, scale=None, rows=False, name="scale_weight"):
    """As ComfyUI saves it: matrices in 8 bits, each divided by its largest number where they are scaled."""
    made = {}
    for key, item in weights.items():
        if not (key.endswith(".weight") and item.ndim == 2 and "blocks" in key):
            made[key] = item
            continue
        most = item.abs().amax(dim=1 if rows else (0, 1), keepdim=True)
        factor = most / 448 if scale else torch.ones(())
        made[key] = (item / factor).to(torch.float8_e4m3fn)
        if scale:
            stem = key.removesuffix("weight")
            made[stem + name] = factor if rows else factor.reshape(())
            made[stem + name.replace("weight", "input")] = torch.ones(())
    return made | (
        {"model.diffusion_model.scaled_fp8": torch.empty(0, dtype=torch.float8_e4m3fn)} if scale else {}
    )


@pytest.mark.parametrize(
    "how", [{}, {"scale": True}, {"scale": True, "rows": True}, {"scale": True, "name": "weight_scale"}]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_eight_bits_become_numbers_of_the_dtype(folder, single, how, dtype):
    found = single("flux", parts=FLUX)
    own = single_files.tensors(folder("flux"), "flux", FLUX)
    single_files.save(in_fp8(own, **how), Path(found.file))
    made = common.load(found, str(dtype).removeprefix("torch.")).transformer
    expected = source(folder("flux"))
    exact = common.load(expected, "float32").transformer
    assert made.dtype == dtype
    for name, item in exact.state_dict().items():
        near = made.state_dict()[name]
        assert near.dtype == dtype
        # Three bits behind the first one, and three more in bfloat16.
        assert torch.allclose(near.float(), item, rtol=0.07, atol=0.02 if how else 0.002), name
    assert common.burden(found, "bfloat16") == common.burden(expected, "bfloat16")


def test_a_scale_multiplies_what_was_divided_by_it(tmp_path):
    weight = torch.tensor([[1.0, -2.0], [0.5, 4.0]]).to(torch.float8_e5m2)
    path = single_files.save({"a.weight": weight, "a.scale_weight": torch.tensor(3.0)}, tmp_path / "x.safetensors")
    made = eight_bit.read(path, ["a.weight", "a.scale_weight"], torch.float16, "cpu", all_in_it=False)
    assert made.keys() == {"a.weight"}
    assert torch.equal(made["a.weight"], torch.tensor([[3.0, -6.0], [1.5, 12.0]], dtype=torch.float16))


@pytest.mark.parametrize(
    ("weight", "scale", "said"),
    [
        (torch.zeros(4, 8, dtype=torch.uint8), torch.ones(4, 1), "packed as uint8"),
        (torch.zeros(4, 64).to(torch.float8_e4m3fn), torch.ones(4, 2), "packed as float8_e4m3fn in blocks"),
    ],
)
def test_packed_weights_are_refused_in_words(tmp_path, weight, scale, said):
    path = single_files.save({"a.weight": weight, "a.weight_scale": scale}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=rf"a\.weight is {said}.*float8, float16 or bfloat16"):
        eight_bit.read(path, ["a.weight", "a.weight_scale"], torch.float16, "cpu", all_in_it=True)


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
        made = common.load_decoder(given, "float32").vae.state_dict()
        assert all(torch.equal(made[name], item) for name, item in expected.items())
        assert common.burden(given, "float32", decoder_only=True).weights == size


def test_another_autoencoder_decodes_the_picture(folder, single, other, tmp_path):
    shutil.copytree(folder("sdxl"), tmp_path / "whole")
    shutil.copytree(other, tmp_path / "whole" / "vae", dirs_exist_ok=True)
    given = replace(single("sdxl"), vae=str(as_file(other, tmp_path, "original")))
    assert np.array_equal(rendered(given), rendered(source(tmp_path / "whole")))


def test_a_folders_autoencoder_brings_its_own_configuration(single, other):
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"scaling_factor": 0.5, "force_upcast": False}))
    given = replace(single("sdxl"), vae=str(other))
    for pipe in (common.load_decoder(given, "float16"), Foresight(given, "float16")._renderers):
        assert (pipe.vae.config.scaling_factor, pipe.vae.config.force_upcast) == (0.5, False)


# What is wrong with a file


def test_what_a_file_lacks_is_named(single):
    found = single("sd1")
    weights = safetensors.torch.load_file(found.file)
    del weights["model.diffusion_model.middle_block.1.proj_in.weight"]
    single_files.save(weights, Path(found.file))
    with pytest.raises(UserError, match=r"model\.safetensors holds no whole unet: it lacks mid_block.*proj_in"):
        common.load(found, "float32")


def test_what_a_flux_lacks_is_named_as_the_file_calls_it(single):
    found = single("flux", parts=FLUX)
    weights = safetensors.torch.load_file(found.file)
    del weights["model.diffusion_model.img_in.bias"]
    single_files.save(weights, Path(found.file))
    with pytest.raises(UserError, match=r"holds no whole transformer: it lacks 'img_in\.bias'"):
        common.load(found, "float32")


def test_a_file_of_another_width_does_not_fit_its_layout(single):
    found = single("sdxl")
    weights = safetensors.torch.load_file(found.file)
    key = "model.diffusion_model.time_embed.0.weight"
    single_files.save(weights | {key: torch.zeros(7, 4)}, Path(found.file))
    with pytest.raises(UserError, match=r"its unet's time_embedding\.linear_1\.weight is \[7, 4\], not \[16, 4\]"):
        common.load(found, "float32")


def test_a_torn_or_absent_file_cannot_be_loaded(single):
    found = single("sdxl")
    Path(found.file).write_bytes(Path(found.file).read_bytes()[:-100])
    with pytest.raises(LoadFailed, match="cannot be loaded"):
        rendered(found)
    Path(found.file).unlink()
    with pytest.raises(LoadFailed, match=r"cannot be loaded.*No such file"):
        rendered(found)


# At the sizes of the real models, without numbers


@pytest.mark.parametrize(("kind", "attention_up"), [("sd1", (1, 2, 3)), ("sd2", (1, 2, 3)), ("sdxl", (0, 1))])
def test_every_tensor_of_a_real_unet_finds_its_place(kind, attention_up):
    found = ModelSource(name=kind, family="generic", location=str(layouts.packaged(kind)))
    module = random_weights.hollow(found, "unet", UNet2DConditionModel)
    own = single_files.unet(module.state_dict(), 2, attention_up)
    assert f"{'output_blocks.8' if kind == 'sdxl' else 'output_blocks.11'}.0.skip_connection.weight" in own
    assert "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight" in own
    converted(found, module, "unet", own)


def test_every_tensor_of_a_real_flux_finds_its_place(monkeypatch):
    monkeypatch.undo()
    with init_empty_weights():
        module = FluxTransformer2DModel(num_layers=2, num_single_layers=2, guidance_embeds=True)
    own = single_files.flux(module.state_dict())
    shapes = {name: tuple(own[name].shape) for name in FLUX_SHAPES}
    assert shapes == FLUX_SHAPES
    converted(ModelSource(name="flux", family="flux", location=""), module, "transformer", own)


FLUX_SHAPES = {
    "img_in.weight": (3072, 64),
    "double_blocks.1.img_attn.qkv.weight": (9216, 3072),
    "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
    "single_blocks.1.linear1.weight": (21504, 3072),
    "single_blocks.0.linear2.weight": (3072, 15360),
    "final_layer.adaLN_modulation.1.weight": (6144, 3072),
    "guidance_in.in_layer.weight": (3072, 256),
}
"""Of the original checkpoint."""


def converted(found, module, part, own):
    """Raises where a tensor has no place, or does not fit into it."""
    held = single_file.Held(path=Path(found.name), prefix="", shapes={})
    made = single_file._fitting(held, part, module, single_file._converted(held, part, module, dict(own)))
    assert made.keys() == module.state_dict().keys()


# With everything else


@pytest.mark.parametrize(
    "setting", ["model_cpu_offload", "group_offload(block, 1, stream=false)", "fp8_weights", "vae_cpu"]
)
@pytest.mark.parametrize("kind", ["sdxl", "flux"])
def test_memory_settings_do_to_a_file_what_they_do_to_a_folder(folder, single, monkeypatch, kind, setting):
    monkeypatch.setattr(carried_out, "has_card", lambda _device: True)
    asked = task(memory_steps=profiles.resolve(setting, Size(64, 64)))
    assert np.array_equal(rendered(single(kind), asked), rendered(source(folder(kind)), asked))


@pytest.mark.parametrize("kind", ["sd1", "flux"])
def test_a_quantised_file_is_a_quantised_folder(folder, single, kind):
    pytest.importorskip("torchao")
    steps = profiles.resolve("quantize(torchao_int8)", Size(64, 64))
    one, other = (
        common.load(found, "float32", leave_out=lambda part: part not in ("unet", "transformer"), steps=steps)
        for found in (source(folder(kind)), single(kind))
    )
    for part, module in modules(one).items():
        found = modules(other)[part].state_dict()
        for name, item in module.state_dict().items():
            assert type(item) is type(found[name])
            plain = [getattr(part, "dequantize", lambda part=part: part)() for part in (item, found[name])]
            assert torch.equal(*plain)


def test_kept_latents_of_a_file_decode_to_the_same_picture(single):
    found = single("sdxl")
    made, latents, steps = latents_of(found, task())
    data, expected = made.latents_bytes(latents), made.decode(task(), latents, steps, nothing).value
    again = DiffusersSession(found, "float32", "cpu")
    steps = again.prepare(Loads.DECODER, task())
    assert again.pipe.unet is None
    assert np.array_equal(again.decode(task(), again.latents_from(data), steps, nothing).value, expected)


@pytest.mark.parametrize("kind", ["sdxl", "flux"])
def test_a_file_is_foreseen_as_its_folder(folder, single, kind):
    one, other = (Foresight(found, "bfloat16") for found in (single(kind), source(folder(kind))))
    asked = task(dtype="bfloat16")
    assert one.encoding(asked) == other.encoding(asked)
    assert one.denoising(asked) == other.denoising(asked)
    assert one.decoding(asked) == other.decoding(asked)


@pytest.mark.parametrize(("kind", "dtype"), [("sdxl", "float32"), ("sdxl", "float16"), ("flux", "bfloat16")])
def test_host_memory_never_holds_a_file_twice(single, kind, dtype):
    found = single(kind)
    common.load(found, dtype)  # what is made once and kept
    peak, pipe = allocated(lambda: common.load(found, dtype))
    weights = sum(item.nbytes for part in modules(pipe).values() for item in part.state_dict().values())
    largest = max(item.numel() * 4 for item in safetensors.torch.load_file(found.file).values())
    mapped = Path(found.file).stat().st_size  # counted too, though it is no memory
    assert peak < mapped + weights + 2 * largest
