"""Layouts that ship: those of the original checkpoints, with CLIP's vocabulary, offline, from an empty cache."""

import json
from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from batch.base.errors import UserError
from batch.catalogue import configs, layouts
from batch.records.spec import ModelSource
from batch.render import pipelines, random_weights
from tests.render.parts import parameters

CLIP_L, OPEN_CLIP_H, OPEN_CLIP_G, VAE = 123_060_480, 340_387_840, 694_659_840, 83_653_863
COUNTS = {
    "sd1": {"unet": 859_520_964, "text_encoder": CLIP_L, "vae": VAE},
    "sd2": {"unet": 865_910_724, "text_encoder": OPEN_CLIP_H, "vae": VAE},
    "sdxl": {"unet": 2_567_463_684, "text_encoder": CLIP_L, "text_encoder_2": OPEN_CLIP_G, "vae": VAE},
}
"""Of the models' makers; without the last layer of OpenCLIP-H, which Stable Diffusion 2 leaves out."""

PACKAGED = ("sd1", "sd2", "sd2-v", "sdxl")


def source_of(kind):
    return ModelSource(name=kind, family="generic", location=str(layouts.packaged(kind)))


@pytest.mark.parametrize("kind", PACKAGED)
def test_a_layout_has_the_parameters_of_its_model(kind, own_cache):
    found = dict(random_weights.empty(source_of(kind), lambda _: False))
    expected = COUNTS[kind.removesuffix("-v")]
    assert {part: parameters(module) for part, module in found.items()} == expected
    assert Path(source_of(kind).location).is_relative_to(own_cache)


SHAPES = {
    "sd1": {"down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight": (640, 768)},
    "sd2": {"down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight": (640, 1024)},
    "sdxl": {
        "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight": (640, 2048),
        "down_blocks.2.attentions.0.transformer_blocks.9.ff.net.2.weight": (1280, 5120),
        "add_embedding.linear_1.weight": (1280, 2816),
    },
}
"""What is known of the shapes in the original checkpoints."""


@pytest.mark.parametrize("kind", SHAPES)
def test_a_layout_has_the_shapes_of_its_checkpoints(kind):
    own = dict(random_weights.empty(source_of(kind), lambda part: part != "unet"))["unet"].state_dict()
    assert {name: tuple(own[name].shape) for name in SHAPES[kind]} == SHAPES[kind]


@pytest.mark.parametrize(
    ("kind", "pipeline", "native", "prediction"),
    [
        ("sd1", "StableDiffusionPipeline", 512, "epsilon"),
        ("sd2", "StableDiffusionPipeline", 512, "epsilon"),
        ("sd2-v", "StableDiffusionPipeline", 768, "v_prediction"),
        ("sdxl", "StableDiffusionXLPipeline", 1024, "epsilon"),
    ],
)
def test_a_layout_is_described_and_loaded_as_a_folder(kind, pipeline, native, prediction):
    folder = layouts.packaged(kind)

    def read(path):
        return json.loads((folder / path).read_text()) if (folder / path).is_file() else None

    model = configs.describe(kind, read)
    assert (model.pipeline, model.native.width) == (pipeline, native)
    pipe = pipelines.load(
        source_of(kind), "float32", leave_out=lambda part: part.startswith(("unet", "vae", "text_encoder"))
    )
    assert pipe.scheduler.config.prediction_type == prediction
    assert pipe.scheduler.config.steps_offset == 1


WORDS = [49406, 320, 1125, 539, 550, 18376, 6765, 320, 4558, 525, 7496, 49407]
"""As CLIP's own tokenizer numbers "a photo of an astronaut riding a horse on mars"."""


def test_the_vocabulary_is_clips():
    folder = layouts.packaged("sdxl")
    first, second = (CLIPTokenizer.from_pretrained(folder / name) for name in ("tokenizer", "tokenizer_2"))
    asked = {"padding": "max_length", "max_length": 77}
    for words, padding in ((first, 49407), (second, 0)):
        assert len(words) == 49408
        ids = words("A photo of an astronaut  riding a horse on mars", **asked).input_ids
        assert ids == WORDS + [padding] * (77 - len(WORDS))
    assert (
        first.decode(first("naïve café's 北京 🦊 don't", add_special_tokens=False).input_ids)
        == ("naïve café 's 北京 🦊 don 't ").strip()
    )
    assert CLIPTokenizer.from_pretrained(layouts.packaged("sd2") / "tokenizer").pad_token_id == 0
    assert CLIPTokenizer.from_pretrained(layouts.packaged("sd1") / "tokenizer").pad_token_id == 49407


def test_a_file_that_is_gone_is_written_again(own_cache):
    folder = layouts.packaged("sd1")
    whole = (folder / "tokenizer" / "vocab.json").read_bytes()
    written = (folder / "unet" / "config.json").stat().st_mtime_ns
    (folder / "tokenizer" / "vocab.json").unlink()
    assert layouts.packaged("sd1") == folder
    assert (folder / "tokenizer" / "vocab.json").read_bytes() == whole
    assert (folder / "unet" / "config.json").stat().st_mtime_ns == written


@pytest.mark.parametrize("damage", [b"", b"{}", None])
def test_a_damaged_layout_is_written_again(own_cache, monkeypatch, damage):
    file = layouts.packaged("sdxl") / "tokenizer" / "merges.txt"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"a", b"b", 1) if damage is None else damage)
    monkeypatch.setattr(layouts, "_read", set())  # another process
    layouts.packaged("sdxl")
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_said(own_cache):
    own_cache.write_text("no folder")
    with pytest.raises(UserError, match=r"layout of sd1 cannot be written.*RUN_BATCH_CACHE names another folder"):
        layouts.packaged("sd1")


def test_every_kind_has_a_repository():
    for kind in (*PACKAGED, "sd3-medium", "sd3.5-large", "flux-dev", "flux2-dev", "chroma", "z-image"):
        assert layouts.repository(kind).count("/") == 1
    assert layouts.packaged("flux-dev") is None
