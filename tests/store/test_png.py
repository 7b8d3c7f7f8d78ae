"""The PNG writer: every pixel comes back in every decoder, and the file is what the standard asks for."""

import io
import struct
import sys
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from batch.store.images import deflate, png

TEXTS = {"parameters": "a fox\nSteps: 3", "run_batch": '{"prompt": "ünïcødé"}'}
EDGE = png.STRIP_ROWS
SIZES = [
    (1, 1), (1, 2), (2, 1), (1, 700), (700, 1), (17, 33), (33, 17),
    (EDGE - 1, 5), (EDGE, 5), (EDGE + 1, 5), (2 * EDGE, 7), (2 * EDGE + 1, 7), (301, 353),
]  # fmt: skip
DECODERS = {
    "Pillow": lambda data: np.asarray(Image.open(io.BytesIO(data))),
    "libpng": imagecodecs.png_decode,
    "libspng": imagecodecs.spng_decode,
}


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def flat(height, width, seed=0):
    return np.full((height, width, 3), (seed % 256, 77, 255), np.uint8)


def gradient(height, width, seed=0):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x + seed, y * 3, x * 5 - y], axis=-1).astype(np.uint8)


def grainy(height, width, seed=0):
    grain = np.random.default_rng(seed).normal(0, 3, (height, width, 3))
    return np.clip(gradient(height, width) / 4 + 90 + grain, 0, 255).astype(np.uint8)


PICTURES = [noise, flat, gradient, grainy]


def chunks(data):
    """Kind and content of every chunk; each checksum holds and nothing stands behind the last."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, place = [], 8
    while place < len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        body = data[place + 8 : place + 8 + size]
        assert struct.unpack_from(">I", data, place + 8 + size) == (zlib.crc32(kind + body),)
        found.append((kind, body))
        place += 12 + size
    assert place == len(data)
    return found


def unpacked(data):
    """The filtered rows, filter numbers first. Python's own zlib refuses a stream of a wrong checksum."""
    stream = zlib.decompressobj()
    rows = stream.decompress(b"".join(body for kind, body in chunks(data) if kind == b"IDAT"))
    assert stream.eof and not stream.unused_data
    return rows


def filters(data, width):
    return set(unpacked(data)[:: 1 + 3 * width])


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("picture", PICTURES)
def test_every_decoder_gives_the_pixels_back(picture, size):
    pixels = picture(*size)
    data = png.write(pixels, TEXTS)
    for decode in DECODERS.values():
        assert np.array_equal(decode(data), pixels)
    assert len(unpacked(data)) == pixels.size + len(pixels)


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(1, 150), width=st.integers(1, 150), seed=st.integers(0, 2**32 - 1),
    picture=st.sampled_from(PICTURES), view=st.sampled_from(["whole", "reversed", "turned", "every other"]),
)  # fmt: skip
def test_any_picture_survives(height, width, seed, picture, view):
    """Also those whose bytes do not lie in order, and those of more than one kind."""
    pixels = picture(height, width, seed)
    pixels[height // 2 :] = noise(height - height // 2, width, seed)
    pixels = {
        "whole": pixels, "reversed": pixels[::-1, ::-1], "turned": pixels.transpose(1, 0, 2),
        "every other": pixels[::2, ::2],
    }[view]  # fmt: skip
    before = pixels.copy()
    data = png.write(pixels, {})
    assert all(np.array_equal(decode(data), pixels) for decode in DECODERS.values())
    assert np.array_equal(pixels, before)


def test_chunks_stand_in_order_and_the_header_tells_the_picture():
    found = chunks(png.write(noise(200, 50), TEXTS))
    kinds = [kind for kind, _ in found]
    assert kinds[:3] == [b"IHDR", b"tEXt", b"tEXt"]
    assert set(kinds[3:-1]) == {b"IDAT"}
    assert found[0][1] == struct.pack(">IIBBBBB", 50, 200, 8, 2, 0, 0, 0)
    assert found[-1] == (b"IEND", b"")


@pytest.mark.parametrize("text", ["plain", "ünïcødé in Latin-1", "狐 and 🦊", "л\nиса\r\n", "", "\x0b\x7f"])
def test_texts_stand_as_pillow_writes_them(text):
    info = PngInfo()
    info.add_text("parameters", text)
    buffer = io.BytesIO()
    Image.fromarray(flat(4, 4)).save(buffer, "PNG", pnginfo=info)
    data = png.write(flat(4, 4), {"parameters": text})
    assert [item for item in chunks(data) if item[0].lower().endswith(b"ext")] == [
        item for item in chunks(buffer.getvalue()) if item[0].lower().endswith(b"ext")
    ]
    with Image.open(io.BytesIO(data)) as image:
        assert image.info == {"parameters": text}


def test_each_strip_has_the_filter_that_suits_it():
    """Rows alike want Up, columns alike want Sub, grain the average; a picture's halves choose apart."""
    alike = noise(1, 200)
    assert filters(png.write(np.repeat(alike, 64, axis=0)[1:], {}), 200) == {2}
    assert filters(png.write(np.repeat(alike.transpose(1, 0, 2), 99, axis=1), {}), 99) == {1}
    grain = np.random.default_rng(0).normal(128, 9, (300, 200, 3)).astype(np.uint8)
    assert filters(png.write(grain, {}), 200) == {3}
    both = np.concatenate([grain[:EDGE], np.repeat(alike, EDGE, axis=0)])
    rows = unpacked(png.write(both, {}))[:: 1 + 3 * 200]
    assert (set(rows[:EDGE]), set(rows[EDGE:])) == ({3}, {2})


def test_a_picture_with_grain_is_no_larger_than_pillow_makes_it():
    pixels = grainy(600, 500)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    assert len(png.write(pixels, {})) <= len(buffer.getvalue())


@pytest.mark.parametrize("picture", PICTURES)
def test_the_bytes_depend_on_the_pixels_alone(picture, monkeypatch):
    """Not on the library, not on what else runs, not on how the pixels lie in memory."""
    pixels = picture(301, 353)
    data = png.write(pixels, TEXTS)
    assert deflate.library is not zlib
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: png.write(pixels, TEXTS), range(8))) == {data}
    assert png.write(np.asfortranarray(pixels), TEXTS) == data
    monkeypatch.setattr(deflate, "library", zlib)
    assert png.write(pixels, TEXTS) == data


def test_the_next_image_gets_its_turn_meanwhile():
    """No thread is ever asked to give way here: whatever another gets, the writer lets go of by itself."""
    pixels, ticks, before = noise(EDGE * 16, 1000), 0, sys.getswitchinterval()
    writer = Thread(target=png.write, args=(pixels, {}))
    sys.setswitchinterval(600)
    try:
        writer.start()
        while writer.is_alive():
            time.sleep(0.0001)
            ticks += 1
    finally:
        sys.setswitchinterval(before)
        writer.join()
    assert ticks >= 16


def test_a_large_picture_takes_a_few_megabytes_beside_its_file():
    pixels = gradient(1536, 4096)  # 19 MB
    tracemalloc.start()
    try:
        size = len(png.write(pixels, {}))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * size + 6e6
