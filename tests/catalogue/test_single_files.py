"""Checkpoints are known by the names and shapes of their tensors, and what else lies beside them is refused."""

import pytest

from batch.catalogue.denoisers import NotRecognised
from batch.catalogue.layouts import packaged, repository
from batch.catalogue.single_files import KINDS, recognise
from tests.checkpoints import FLUX, REFINER, SD1, SD2, SDXL, header, prefixed, without

D = "model.diffusion_model."
WHOLE = {"unet", "vae", "text_encoder"}

JOINT = {"joint_blocks.0.context_block.adaLN_modulation.1.bias": (9216,)}
TRANSFORMERS = {
    "sd3-medium": JOINT | {"pos_embed": (1, 36864, 1536)},
    "sd3.5-medium": JOINT | {"pos_embed": (1, 147456, 1536)},
    "sd3.5-large": JOINT | {"joint_blocks.37.x_block.mlp.fc1.weight": (9728, 2432)},
    "flux-dev": FLUX,
    "flux-schnell": without(FLUX, "guidance_in"),
    "chroma": FLUX | {"distilled_guidance_layer.in_proj.bias": (5120,)},
    "flux2-dev": {"single_stream_modulation.lin.weight": (18432, 6144), "img_in.weight": (6144, 128)},
    "flux2-klein-4b": {"single_stream_modulation.lin.weight": (9216, 3072), "img_in.weight": (3072, 128)},
    "flux2-klein-9b": {"single_stream_modulation.lin.weight": (12288, 4096), "img_in.weight": (4096, 128)},
    "auraflow": {"double_layers.0.attn.w1q.weight": (3072, 3072)},
    "lumina2": {"cap_embedder.0.weight": (2304,), "layers.0.adaLN_modulation.1.weight": (9216, 1024)},
    "z-image": {"cap_embedder.0.weight": (2560,), "layers.0.adaLN_modulation.0.weight": (15360, 256)},
    "qwen-image": {"transformer_blocks.0.txt_mod.1.weight": (18432, 3072)},
    "qwen-image-2.1": {"txt_in.text_norm.weight": (3584,)},
    "krea2": {"txtfusion.projector.weight": (1, 12)},
    "ernie-image": {"layers.0.self_attention.to_q.weight": (4096, 4096)},
    "hidream": {"double_stream_blocks.0.block.adaLN_modulation.1.bias": (30720,)},
}


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_a_transformer_with_and_without_prefix(kind):
    for shapes in (TRANSFORMERS[kind], prefixed(TRANSFORMERS[kind])):
        found = recognise(header(shapes, "BF16"))
        assert (found.kind, found.holds, found.precision) == (kind, {"transformer"}, "bfloat16")


@pytest.mark.parametrize(
    ("kind", "shapes", "holds"),
    [
        ("sd1", SD1, WHOLE),
        ("sd2-v", SD2, WHOLE),
        ("sdxl", SDXL, WHOLE | {"text_encoder_2"}),
        ("sdxl", without(SDXL, "first_stage_model."), {"unet", "text_encoder", "text_encoder_2"}),
        ("sdxl", without(SDXL, "conditioner.", "first_"), {"unet"}),
        ("playground-v2.5", SDXL | {"edm_mean": (1, 4, 1, 1)}, WHOLE | {"text_encoder_2"}),
    ],
)
def test_a_unet_and_what_lies_beside_it(kind, shapes, holds):
    found = recognise(header(shapes))
    assert (found.kind, found.holds, found.precision) == (kind, holds, "float16")


def test_every_kind_has_a_layout():
    assert {*TRANSFORMERS, "sd1", "sd2", "sd2-v", "sdxl", "playground-v2.5"} == {*KINDS}
    assert all(repository(kind) for kind in KINDS)
    assert all(packaged(kind) is not None for kind in ("sd1", "sd2", "sd2-v", "sdxl"))


def test_what_a_file_says_of_its_prediction():
    plain, v = recognise(header(SDXL)), recognise(header(SDXL | {"v_pred": (0,), "ztsnr": (0,)}))
    assert (plain.v_prediction, plain.zero_snr) == (False, False)
    assert (v.v_prediction, v.zero_snr) == (True, True)
    assert recognise(header(SDXL), {"modelspec.prediction_type": "v"}).v_prediction
    assert "does not say whether" in recognise(header(SD2)).notes[0]
    told = recognise(header(SD2), {"modelspec.prediction_type": "epsilon"})
    assert (told.kind, told.notes) == ("sd2", ())


def test_how_its_weights_are_kept():
    assert recognise(header(FLUX, "F8_E4M3")).precision == "fp8"
    assert not recognise(header(FLUX, "F8_E4M3")).scaled
    for scale in ("scaled_fp8", "double_blocks.0.img_mod.lin.scale_weight", "double_blocks.0.a.weight_scale"):
        assert recognise(header(FLUX | {scale: (1,)}, "F8_E4M3")).scaled, scale
    rows = {"double_blocks.0.a.weight": (8, 16), "double_blocks.0.a.weight_scale": (8,)}
    assert recognise(header(FLUX | rows, "F8_E4M3")).scaled
    with pytest.raises(NotRecognised, match="every block"):
        recognise(header(FLUX | rows | {"double_blocks.0.a.weight_scale": (8, 4)}, "F8_E4M3"))


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (REFINER, "refiner of SDXL"),
        (SD1 | {f"{D}input_blocks.0.0.weight": (320, 9, 3, 3)}, "an inpainting model"),
        (SDXL | {f"{D}input_blocks.0.0.weight": (320, 9, 3, 3)}, "an inpainting model"),
        (SD1 | {f"{D}input_blocks.0.0.weight": (320, 8, 3, 3)}, "edits a picture"),
        (SD2 | {f"{D}input_blocks.0.0.weight": (320, 5, 3, 3)}, "a depth model"),
        (SD2 | {f"{D}input_blocks.0.0.weight": (320, 7, 3, 3)}, "an upscaler"),
        (SD2 | {f"{D}label_emb.0.0.weight": (1, 1)}, "unCLIP"),
        (without(SDXL, f"{D}input_blocks.7"), "fewer layers"),
        (without(SDXL, f"{D}output_blocks.8"), "its last blocks are missing"),
        (without(SD1, f"{D}out.2"), "its last blocks are missing"),
        (SD1 | {"control_model.time_embed.0.weight": (1, 1)}, "ControlNet"),
        (TRANSFORMERS["z-image"] | {"control_layers.0.x": (1,)}, "ControlNet"),
        ({"lora_unet_down_blocks_0_attn.lora_down.weight": (8, 8)}, "write it under lora:"),
        ({"transformer.single_blocks.0.attn.lora_A.weight": (8, 8)}, "write it under lora:"),
        ({"decoder.conv_in.weight": (512, 4, 3, 3), "encoder.conv_in.weight": (1,)}, "write it under vae:"),
        ({"decoder.middle.0.residual.0.gamma": (384, 1, 1, 1)}, "write it under vae:"),
        ({"text_model.embeddings.token_embedding.weight": (1, 1)}, "a text encoder alone"),
        ({"encoder.block.0.layer.0.SelfAttention.q.weight": (1, 1)}, "a text encoder alone"),
        ({"model.layers.0.self_attn.q_proj.weight": (1, 1)}, "a text encoder alone"),
        ({"net.llm_adapter.x": (1,), "net.blocks.0.self_attn.q_proj.weight": (1, 1)}, "model: anima-base"),
        (SD1 | {f"{D}input_blocks.1.1.time_stack.0.norm1.weight": (1,)}, "a model for videos"),
        ({"controlnet_blocks.0.weight": (3072, 3072)} | FLUX, "ControlNet"),
        ({"decoder.layers.0.weight": (64, 4, 3, 3)}, "a small decoder for previews"),
        ({"1.weight": (64, 4, 3, 3), "3.conv.0.weight": (64, 64, 3, 3)}, "a small decoder for previews"),
        ({"emb_params": (4, 768)}, "textual inversion"),
        ({"clip_l": (4, 768), "clip_g": (4, 1280)}, "textual inversion"),
        ({"blocks.0.cross_attn.q_linear.weight": (1, 1)}, "original file of a SANA"),
        ({"blocks.0.self_attn.q.weight": (1, 1), "head.modulation": (1, 2, 1536)}, "a model for videos"),
        ({"down_blocks.0.motion_modules.0.temporal_transformer.norm.bias": (1,)}, "AnimateDiff"),
        ({"down_blocks.0.resnets.0.conv1.weight": (1,), "conv_in.weight": (1,)}, "name the folder around it"),
        (FLUX | {"img_in.weight": (3072, 384)}, "Flux.1 Fill"),
        (FLUX | {"img_in.weight": (3072, 128)}, "Depth or Canny"),
        (without(FLUX, "double_blocks.18"), "18 double blocks instead of 19"),
        (FLUX | {"double_blocks.0.img_attn.proj.weight.absmax": (1,)}, "nf4"),
        (FLUX | {"double_blocks.0.img_attn.proj.qweight": (1,)}, "Nunchaku"),
        ({"whatever": (1,)}, "no checkpoint of a model that is known here"),
        ({}, "no checkpoint of a model that is known here"),
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_says_what_it_is(shapes, said):
    with pytest.raises(NotRecognised, match=said):
        recognise(header(shapes))


def test_weights_in_eight_bits_of_integers_are_refused():
    with pytest.raises(NotRecognised, match="in int8, which is not read"):
        recognise(header(FLUX, "I8"))
