"""Checkpoints in one file under everything else: 8 bits, memory settings, LoRAs, kept latents, real sizes."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from accelerate import init_empty_weights
from diffusers import FluxTransformer2DModel, StableDiffusionXLPipeline, UNet2DConditionModel
from peft import LoraConfig, get_peft_model_state_dict

from batch.base.errors import UserError
from batch.catalogue import layouts
from batch.manifest.values import Size
from batch.memory import profiles
from batch.records.spec import ModelSource
from batch.records.tasks import Lora
from batch.render import eight_bit, pipelines, random_weights, single_file
from batch.render import memory as carried_out
from batch.render.backend import Loads
from batch.render.foresight import Foresight
from batch.render.session import DiffusersSession
from tests import single_files
from tests.helpers import nothing
from tests.render.allocations import allocated
from tests.render.parts import modules, source
from tests.render.stages import latents_of, rendered, task

pytestmark = pytest.mark.usefixtures("one_thread", "narrow_flux", "aligned")

FLUX = ("transformer",)


# With everything else


@pytest.mark.parametrize(
    "setting", ["model_cpu_offload", "group_offload(block, 1, stream=false)", "fp8_weights", "vae_cpu"]
)
@pytest.mark.parametrize("kind", ["sdxl", "flux"])
def test_memory_settings_do_to_a_file_what_they_do_to_a_folder(folder, single, monkeypatch, kind, setting):
    monkeypatch.setattr(carried_out, "has_card", lambda _device: True)
    asked = task(memory_steps=profiles.resolve(setting, Size(64, 64)))
    assert np.array_equal(rendered(single(kind), asked), rendered(source(folder(kind)), asked))


def adapter(folder, place):
    """A LoRA of the tiny SDXL, which changes its first text encoder too."""
    torch.manual_seed(1)
    pipe = StableDiffusionXLPipeline.from_pretrained(folder)
    layers = {}
    for part, targets in (("unet", ["to_q", "to_v"]), ("text_encoder", ["q_proj", "v_proj"])):
        model = getattr(pipe, part)
        model.add_adapter(LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=targets))
        layers[f"{part}_lora_layers"] = get_peft_model_state_dict(model)
    pipe.save_lora_weights(place, **layers)
    return Lora(path=str(place / "pytorch_lora_weights.safetensors"), sha256="1", in_text=True)


def test_a_lora_on_a_file_is_that_on_its_folder(folder, single, tmp_path):
    found = single("sdxl")
    asked = task(loras=(adapter(folder("sdxl"), tmp_path / "lora"),))
    made = rendered(found, asked)
    assert np.array_equal(made, rendered(source(folder("sdxl")), asked))
    assert not np.array_equal(made, rendered(found))


@pytest.mark.parametrize("kind", ["sd1", "flux"])
def test_a_quantised_file_is_a_quantised_folder(folder, single, kind):
    pytest.importorskip("torchao")
    steps = profiles.resolve("quantize(torchao_int8)", Size(64, 64))
    one, other = (
        pipelines.load(found, "float32", leave_out=lambda part: part not in ("unet", "transformer"), steps=steps)
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
    pipelines.load(found, dtype)  # what is made once and kept
    peak, pipe = allocated(lambda: pipelines.load(found, dtype))
    weights = sum(item.nbytes for part in modules(pipe).values() for item in part.state_dict().values())
    largest = max(item.numel() * 4 for item in safetensors.torch.load_file(found.file).values())
    mapped = Path(found.file).stat().st_size  # counted too, though it is no memory
    assert peak < mapped + weights + 2 * largest


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
    made = pipelines.load(found, str(dtype).removeprefix("torch.")).transformer
    expected = source(folder("flux"))
    exact = pipelines.load(expected, "float32").transformer
    assert made.dtype == dtype
    for name, item in exact.state_dict().items():
        near = made.state_dict()[name]
        assert near.dtype == dtype
        # Three bits behind the first one, and three more in bfloat16.
        assert torch.allclose(near.float(), item, rtol=0.07, atol=0.02 if how else 0.002), name
    assert pipelines.burden(found, "bfloat16") == pipelines.burden(expected, "bfloat16")


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
    held = single_file.InFile(path=Path(found.name), prefix="", shapes={})
    made = single_file._fitting(held, part, module, single_file._converted(held, part, module, dict(own)))
    assert made.keys() == module.state_dict().keys()
