"""Decoding in tiles and the way to bytes, against diffusers' own; positional embeddings once per size."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import cpu_offload, cpu_offload_with_hook
from diffusers import AutoencoderDC, AutoencoderKLQwenImage
from diffusers.image_processor import PixArtImageProcessor
from diffusers.models import embeddings

from batch.base.errors import UserError
from batch.records.tasks import Task
from batch.records.values import Call
from batch.render import memory, pipelines, pixels, positions, session, tiles
from batch.render.failures import StageFailed
from batch.render.families import common
from benchmarks.decode import Watch
from tests import tiny_models
from tests.render.parts import source

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def autoencoder(work):
    return pipelines.load_decoder(source("demo", work), "float32").vae


class Stub(torch.nn.Module):
    """A decoder without the work: each tile has a tone of its own, as with attention over the whole tile."""

    def __init__(self):
        super().__init__()
        self.grain = torch.randn(1, 3, 512, 512, generator=torch.Generator().manual_seed(1))

    def forward(self, latents):
        image = latents[:, :3].repeat_interleave(32, 2).repeat_interleave(32, 3) + latents.mean()
        return image + self.grain[:, :, : image.shape[2], : image.shape[3]].to(image.dtype) / 4


def random(height, width, dtype=torch.float32):
    return torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(0)).to(dtype)


GEOMETRIES = [
    # Tile height and width, then the strides, in pixels.
    (128, 128, 96, 96),
    (128, 128, 64, 64),
    (256, 256, 224, 224),
    (96, 256, 64, 160),
    (256, 128, 32, 96),
    (128, 128, 128, 128),
    (512, 64, 448, 32),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("geometry", GEOMETRIES)
@torch.no_grad()
def test_tiles_are_bit_identical_to_tiled_decode(work, dtype, geometry):
    vae = autoencoder(work).to(dtype)
    vae.decoder = Stub()
    vae.enable_tiling(*geometry)
    # Beside whole tiles: a last tile of one latent, and one that ends inside the overlap of the one before.
    for height, width in [(9, 7), (7, 13), (10, 4), (3, 16), (16, 5), (17, 9)]:
        latents = random(height, width, dtype)
        expected = vae.decode(latents).sample
        found = list(tiles.decode(vae, latents).each)
        for part in found:
            rows, columns = part.image.shape[2:]
            cut = expected[:, :, part.top : part.top + rows, part.left : part.left + columns]
            assert torch.equal(part.image, cut)
        assert sum(part.image.numel() for part in found) == expected.numel()
        assert torch.equal(tiles.decode(vae, latents).whole(), expected)
        picture = pixels.assemble(tiles.decode(vae, latents))
        assert picture.finite
        assert np.array_equal(
            picture.pixels, np.asarray(PixArtImageProcessor().postprocess(expected, output_type="pil")[0])
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("geometry", GEOMETRIES)
@torch.no_grad()
def test_tiles_of_an_autoencoder_of_videos_are_bit_identical(tiny, dtype, geometry):
    vae = AutoencoderKLQwenImage.from_pretrained(tiny("qwen_image"), subfolder="vae").to(dtype)
    vae.enable_tiling(*(side // 2 for side in geometry))
    for height, width in [(18, 14), (7, 29), (5, 4)]:
        latents = random(height, width, dtype)[:, :, None]
        expected = vae.decode(latents).sample[:, :, 0]
        parts = tiles.decode(vae, latents)
        assert (parts.height, parts.width) == tuple(expected.shape[2:])
        found = parts.whole()
        assert torch.equal(found, expected)
        assert vae._feat_map == [None] * len(vae._feat_map)


@pytest.mark.parametrize("offload", ["none", "model", "sequential"])
@torch.no_grad()
def test_the_real_decoder_with_offloading(work, offload):
    vae, latents = autoencoder(work), random(6, 9)
    vae.enable_tiling(128, 128, 96, 96)
    expected = vae.decode(latents).sample
    beats = []
    vae.decoder.register_forward_pre_hook(lambda _, inputs: beats.append(tuple(inputs[0].shape[2:])))
    if offload == "model":
        cpu_offload_with_hook(vae, torch.device("cpu"))
        asked = []
        vae._hf_hook.pre_forward = asked.append
    elif offload == "sequential":
        cpu_offload(vae, torch.device("cpu"))
        assert all(parameter.is_meta for parameter in vae.parameters())
    assert torch.equal(tiles.decode(vae, latents).whole(), expected)
    assert beats == [(min(4, 6 - top), min(4, 9 - left)) for top in (0, 3) for left in (0, 3, 6)]
    if offload == "model":
        assert asked == [vae]


@torch.no_grad()
def test_no_tiles_where_the_autoencoder_would_make_none(work):
    vae, latents = autoencoder(work), random(4, 4)
    expected = vae.decode(latents).sample
    assert len(list(tiles.decode(vae, latents).each)) == 1
    vae.enable_tiling(128, 128, 96, 96)
    (part,) = tiles.decode(vae, latents).each
    assert torch.equal(part.image, expected)
    assert len(list(tiles.decode(vae, random(4, 5)).each)) == 4


def test_a_stride_that_the_autoencoder_cannot_take_is_refused(work):
    pipe = pipelines.load_decoder(source("demo", work), "float32")
    pipe.vae.spatial_compression_ratio = 64
    sides = {"tile_height": 128, "tile_width": 128, "stride_height": 64, "stride_width": 96}
    with pytest.raises(UserError, match="multiples of 64"):
        memory.apply(pipe, (Call(name="vae_tiling", arguments=tuple(sides.items())),), "cpu")


@torch.no_grad()
def test_fewer_operations_and_less_memory(work):
    """The 24 tiles of 5376x3072 at a quarter of its size."""
    vae = autoencoder(work)
    vae.enable_tiling(256, 256, 224, 224)
    latents = random(24, 42)
    tiles._weights.cache_clear()
    with Watch() as alone:
        for top in range(0, 24, 7):
            for left in range(0, 42, 7):
                vae.decoder(latents[:, :, top : top + 8, left : left + 8])
    with Watch() as theirs:
        assert vae.decode(latents).sample.shape == (1, 3, 768, 1344)
    with Watch() as ours:
        covered = 0
        for part in tiles.decode(vae, latents).each:
            covered += part.image.numel()
            del part
    assert covered == 3 * 768 * 1344
    edges, tile, picture = 18 + 20, 3 * 256 * 256 * 4, 3 * 768 * 1344 * 4
    # Beside the decoder: four operations a row or column there, and what joins the picture; here three an
    # edge and two copies a tile, and the weights.
    assert theirs.operations - alone.operations >= 4 * 32 * edges
    assert ours.operations - alone.operations <= 3 * edges + 2 * 24 + 16
    # They keep all the tiles and join them row by row, then the rows. Of ours the overlaps stay.
    assert theirs.peak > 24 * tile * 0.8 + 2 * picture
    assert ours.peak < alone.peak + 2 * tile < theirs.peak / 3
    assert theirs.live == 0
    assert ours.live <= 2**11  # the weights


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_value_that_is_not_finite_is_noticed(dtype, value):
    image = torch.zeros(1, 3, 700, 900, dtype=dtype)
    assert pixels.assemble(tiles.of(image)).finite
    image[0, 1, 699, 450] = value
    assert not pixels.assemble(tiles.of(image)).finite


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_value_of_a_half_and_the_borders_between_levels(dtype):
    if dtype == torch.float32:
        borders = (torch.arange(256, dtype=torch.float64) + 0.5) / 255 * 2 - 1
        near = borders.float().view(torch.int32)[:, None] + torch.arange(-8, 8, dtype=torch.int32)
        values = near.view(torch.float32)
    else:
        values = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    values = values[values.isfinite()]
    image = values.reshape(1, 1, 1, -1).expand(1, 3, 2, -1)
    expected = PixArtImageProcessor().postprocess(image, output_type="pil")[0]
    assert np.array_equal(pixels.to_uint8(image), np.asarray(expected))


def test_parts_that_are_elsewhere_leave_row_by_row(monkeypatch):
    """A device is stood in for by tensors that say they are not on the CPU."""

    class Elsewhere(torch.Tensor):
        @property
        def device(self):
            return Away(super().device)

    class Away:
        type = "away"

        def __init__(self, real):
            self.real = real

    made, copied = torch.empty, []

    def empty(*given, device=None, **named):
        row = made(*given, device=getattr(device, "real", device), **named)
        if isinstance(device, Away):
            copied.append(tuple(row.shape))
        return row

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch, "full", lambda *given, device, **named: torch.tensor(0.5))
    image = torch.randn(1, 3, 60, 100, generator=torch.Generator().manual_seed(0))
    cuts = [(0, 0, 40, 70), (0, 70, 40, 30), (40, 0, 20, 70), (40, 70, 20, 30)]
    each = (
        tiles.Piece(
            top=top, left=left,
            image=image[:, :, top : top + rows, left : left + columns].as_subclass(Elsewhere),
        )
        for top, left, rows, columns in cuts
    )  # fmt: skip
    picture = pixels.assemble(tiles.Pieces(height=60, width=100, each=each))
    assert copied == [(40, 100, 3), (20, 100, 3)]
    assert np.array_equal(picture.pixels, pixels.to_uint8(image))
    assert picture.finite


@torch.no_grad()
def test_tiles_that_are_resampled(work):
    pipe = pipelines.load_decoder(source("demo", work), "bfloat16")
    pipe.vae.enable_tiling(256, 256, 192, 192)
    task, latents = replace(sized(384, 640), width=300, height=200), random(12, 20)
    image = pipe.vae.decode(latents.to(torch.bfloat16) / pipe.vae.config.scaling_factor).sample
    image = pipe.image_processor.resize_and_crop_tensor(image, 300, 200)
    assert torch.equal(common.decode_scaled(pipe, task, latents).whole(), image)


def decoding(work, monkeypatch, change):
    """The session's own failure for a decoder that gives something else."""
    made = session.DiffusersSession(source("demo", work), "float32", "cpu")
    task = sized(512, 512)
    made.prepare("decoder", task)
    decode = AutoencoderDC._decode
    with monkeypatch.context() as patch:
        patch.setattr(AutoencoderDC, "_decode", lambda self, latents: change(decode(self, latents)))
        with pytest.raises(StageFailed) as failed:
            made.decode(task, random(16, 16), (), lambda *_: None)
    return failed.value.info


def test_what_is_no_picture_fails_when_all_of_it_is_there(work, monkeypatch):
    info = decoding(work, monkeypatch, lambda image: image * float("nan"))
    assert (info.kind, info.stage, "not finite" in info.message) == ("InvalidPicture", "decode", True)
    info = decoding(work, monkeypatch, lambda image: image[:, :, :-1])
    assert (info.kind, "512x511 pixels instead of 512x512" in info.message) == ("InvalidPicture", True)


# Positional embeddings


@pytest.fixture
def computed(monkeypatch):
    """Sizes for which the transformer itself computes an embedding."""
    seen, original = [], embeddings.get_2d_sincos_pos_embed

    def counted(*given, **named):
        if not given:  # the module's own, when it is made, comes by position
            seen.append(named["grid_size"])
        return original(*given, **named)

    monkeypatch.setattr(embeddings, "get_2d_sincos_pos_embed", counted)
    return seen


def models(name, work):
    if name == "demo-2k":
        return source(name, work), "patch_embed", (96, 160)
    tiny_models.build("pixart", work / "model")
    return source("model", work), "pos_embed", (96, 160)


def sized(height, width):
    return Task(
        model="m", dtype="float32", prompt="a", seed=0, width=width, height=height, rendered_width=width,
        rendered_height=height, steps=1, guidance=1.0,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["demo-2k", "pixart"])
@pytest.mark.parametrize("offload", ["none", "model", "sequential"])
@torch.no_grad()
def test_an_embedding_is_the_one_the_transformer_computes(work, computed, name, offload, dtype):
    found, attribute, (height, width) = models(name, work)
    pipe = pipelines.load_without_texts(found, dtype)
    embed = getattr(pipe.transformer, attribute)
    rows, columns = height // pipe.vae_scale_factor, width // pipe.vae_scale_factor
    given = torch.randn(1, 4, rows, columns).to(pipelines.DTYPES[dtype])
    base = torch.randn(1, 4, embed.height * embed.patch_size, embed.width * embed.patch_size).to(given.dtype)
    expected, expected_base = embed(given), embed(base)
    assert computed == [(rows // embed.patch_size, columns // embed.patch_size)]
    if offload == "model":
        cpu_offload_with_hook(pipe.transformer, torch.device("cpu"))
    elif offload == "sequential":
        cpu_offload(pipe.transformer, torch.device("cpu"), offload_buffers=True)
    side = embed.height * embed.patch_size * pipe.vae_scale_factor
    for task, latents, result in [
        (sized(height, width), given, expected),
        (sized(side, side), base, expected_base),
        (sized(height, width), given, expected),
    ]:
        positions.put(pipe, task, "cpu")
        assert torch.equal(embed(latents), result)
    assert len(computed) == 1
    memory.apply(pipe, (), "cpu")
    assert torch.equal(embed(given), expected)
    assert "pos_embed" not in embed.state_dict()
    assert len(computed) == 1


def test_it_is_put_once_per_size(work, monkeypatch):
    found, attribute, _ = models("demo-2k", work)
    pipe = pipelines.load_without_texts(found, "float32")
    made, original = [], positions.get_2d_sincos_pos_embed
    monkeypatch.setattr(
        positions, "get_2d_sincos_pos_embed", lambda **given: made.append(given["grid_size"]) or original(**given)
    )
    for task in [sized(96, 160), sized(96, 160), sized(160, 96), replace(sized(160, 96), seed=1)]:
        positions.put(pipe, task, "cpu")
    assert made == [(3, 5), (5, 3)]
    embed = getattr(pipe.transformer, attribute)
    assert (embed.base_size, tuple(embed.pos_embed.shape[:2])) == (64, (1, 15))


def test_a_run_computes_none_at_its_steps(cli, manifest, work, computed):
    tiny_models.build("pixart", work / "model")
    grid = "model: model, prompt: a, steps: 2, guidance: [1, 4.5], size: [300x200, 256x256, 200x300]"
    outcome = cli("run", manifest(f"resize: true\ngrid: {{{grid}}}\n"), "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.err
    assert computed == []
