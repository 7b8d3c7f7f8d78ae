"""Whose tensors lie in a file, by their names."""

import pytest

from batch.catalogue import held

UNET = "model.diffusion_model.input_blocks.0.0.weight"
VAE = ("decoder.conv_in.weight", "encoder.conv_in.weight")
FILES = {
    "sd1": (UNET, "model_ema.decay", "alphas_cumprod", "cond_stage_model.transformer.text_model.a.weight"),
    "sd2": (UNET, "cond_stage_model.model.ln_final.weight", *(f"first_stage_model.{name}" for name in VAE)),
    "sdxl": (UNET, "conditioner.embedders.0.transformer.a.b", "conditioner.embedders.1.model.ln_final.weight"),
    "flux": ("double_blocks.0.img_attn.qkv.weight", "img_in.weight", *(f"vae.{name}" for name in VAE)),
    "all of flux": (
        "model.diffusion_model.img_in.weight", "text_encoders.clip_l.transformer.a.b",
        "text_encoders.t5xxl.transformer.shared.weight",
    ),
    "qwen": ("model.diffusion_model.img_in.weight", "vae.decoder.middle.0.residual.0.gamma"),
    "autoencoder": tuple(f"first_stage_model.{name}" for name in VAE),
}  # fmt: skip


@pytest.mark.parametrize(
    ("file", "component", "kind", "prefix", "count"),
    [
        ("sd1", "unet", "UNet2DConditionModel", "model.diffusion_model.", 1),
        ("sd1", "text_encoder", "CLIPTextModel", "cond_stage_model.transformer.", 1),
        ("sd1", "vae", "AutoencoderKL", None, 0),
        ("sd2", "text_encoder", "CLIPTextModel", "cond_stage_model.model.", 1),
        ("sd2", "vae", "AutoencoderKL", "first_stage_model.", 2),
        ("sdxl", "text_encoder", "CLIPTextModel", "conditioner.embedders.0.transformer.", 1),
        ("sdxl", "text_encoder_2", "CLIPTextModelWithProjection", "conditioner.embedders.1.model.", 1),
        ("flux", "transformer", "FluxTransformer2DModel", "", 2),
        ("flux", "vae", "AutoencoderKL", "vae.", 2),
        ("flux", "text_encoder", "CLIPTextModel", None, 0),
        ("all of flux", "text_encoder", "CLIPTextModel", "text_encoders.clip_l.transformer.", 1),
        ("all of flux", "text_encoder_2", "T5EncoderModel", "text_encoders.t5xxl.transformer.", 1),
        ("qwen", "vae", "AutoencoderKLQwenImage", None, 0),
        ("qwen", "text_encoder", "Qwen2_5_VLForConditionalGeneration", None, 0),
        ("autoencoder", "unet", "UNet2DConditionModel", None, 0),
    ],
)
def test_a_component_is_known_by_how_its_names_begin(file, component, kind, prefix, count):
    found = held.part(component, kind, FILES[file])
    assert (found and found.prefix, len(found.names) if found else 0) == (prefix, count)


def test_an_autoencoder_alone_begins_with_nothing():
    assert held.autoencoder(VAE) == held.Part("", VAE)
    assert held.autoencoder(FILES["sd2"]).prefix == "first_stage_model."
