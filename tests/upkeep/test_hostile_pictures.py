"""``manifest from`` on pictures made to hurt: a manifest or a message, soon."""

import io
import json
import socket
import struct
import sys
import zlib

import numpy as np
import pytest
import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from batch.manifest.read import read_manifest
from batch.store.images import boxes, containers, packets, tiff
from batch.store.images.reading import read_pixels
from batch.store.images.texts import JSON_KEY
from tests.helpers import plan
from tests.hostile import NASTY_LINES, pipe, quick

FOX = {"positive_prompt": "a fox", "seed": 1, "width": 512, "height": 512, "steps": 1}


def png(path, **texts):
    info = PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


def refused(cli, path, *said):
    with quick(4):
        outcome = cli("manifest", "from", path)
    assert outcome.code == 2, outcome.err
    assert all(text in outcome.err for text in (str(path), *said)), outcome.err
    assert len(outcome.err) < 4_000


@pytest.mark.parametrize("kind", ["letters", "pairs", "blanks"])
def test_settings_of_200_000_letters(cli, work, kind):
    text = f"fox\nSteps: 1, {NASTY_LINES[kind][:200_000]}"
    refused(cli, png(work / "x.png", parameters=text), "parameters")


def test_texts_by_the_thousand(cli, work):
    texts = {f"key {number} {'x' * 60}": "a" for number in range(2_000)}
    refused(cli, png(work / "x.png", **texts), "and 1980 more")


def test_what_is_no_file_is_not_waited_for(cli, work):
    refused(cli, pipe(work / "x.png"), "it is a named pipe, not a file")


@pytest.mark.skipif(sys.platform == "win32", reason="sockets and devices are no files there")
def test_sockets_and_devices_are_said(cli, work):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("x.sock")
        refused(cli, work / "x.sock", "cannot be read as an image")
    refused(cli, "/dev/zero", "it is a device, not a file")


# XMP


def webp(path, packet):
    Image.new("RGB", (8, 8)).save(path, xmp=packet)
    return path


@pytest.mark.parametrize(
    "inside",
    ["<a>" * 900_000, "<a/>" * 900_000, "<r:run_batch>" * 300_000, "<a b='c'>" * 100, "x" * 4_000_000],
    ids=["deep", "flat", "ours in ours", "open", "text"],
)
def test_xml_builds_no_tree(cli, work, inside):
    refused(cli, webp(work / "x.webp", f"<x xmlns:r='{packets.NAMESPACE}'>{inside}".encode()), "no metadata")


def test_a_packet_that_is_too_large_is_not_parsed():
    packet = packets.xmp("x" * packets.MAX_PACKET)
    assert packets.read_xmp(packet) == {}
    assert packets.read_xmp(packets.xmp("<x> & \n狐")) == {JSON_KEY: "<x> & \n狐"}


@pytest.mark.parametrize("count", [1, 2_000], ids=["short", "many"])
def test_extended_xmp_of_short_parts(cli, work, count):
    part = b"http://ns.adobe.com/xmp/extension/\0" + b"x" * 10
    segment = b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part
    path = work / "x.jpg"
    Image.new("RGB", (8, 8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[:2] + segment * count + data[2:])
    refused(cli, path, "no metadata")


# Chunks, boxes and directories


def test_chunks_by_the_million(cli, work):
    path = png(work / "x.png")
    chunk = struct.pack(">I4sI", 0, b"teSt", zlib.crc32(b"teSt"))
    path.write_bytes(path.read_bytes()[:33] + chunk * (containers.MAX_PARTS + 1))
    refused(cli, path, "too many parts")


@pytest.mark.parametrize("count", [1, 40])
def test_texts_that_unpack_to_gigabytes(cli, work, count):
    body = b"parameters\0\0" + zlib.compress(bytes(20 * 2**20), 9)
    chunk = struct.pack(">I4s", len(body), b"zTXt") + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    path = png(work / "x.png")
    data = path.read_bytes()
    path.write_bytes(data[:33] + chunk * count + data[33:])
    refused(cli, path, "a text is too large")


def directory(entries, *, start=8):
    table = b"".join(struct.pack(">HHII", *entry) for entry in entries)
    return struct.pack(">2sHI", b"MM", 42, start) + struct.pack(">H", len(entries)) + table + bytes(4)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([(700 + tag, 2, 2**19, 8) for tag in range(30_000)], "its metadata"),
        ([(0x8769, 4, 1, 8)], "no metadata"),  # the EXIF directory is the first one again
        ([(700, 1, 2**32 - 1, 8)], "too large"),
        ([(700, 1, 100, 2**32 - 1)], "no metadata"),
    ],
    ids=["one place for all", "a loop", "a lie", "behind the end"],
)
@pytest.mark.parametrize("form", ["tif", "webp", "jpg", "png", "jxl"])
def test_directories_that_lie(cli, work, form, entries, said):
    data = directory(entries)
    data += bytes(2**20) if form == "tif" else b""
    path = work / f"x.{form}"
    if form == "tif":
        path.write_bytes(data)
    elif form == "jxl":
        box = struct.pack(">I4s", len(data) + 12, b"Exif") + bytes(4) + data
        path.write_bytes(packets.JXL_SIGNATURE + box)
    else:
        Image.new("RGB", (8, 8)).save(path, exif=b"Exif\0\0" + data[:60_000] if form == "jpg" else data)
    refused(cli, path, said)


def test_pixels_of_such_a_file_are_not_unpacked(work):
    path = work / "x.tif"
    Image.new("RGB", (8, 8)).save(path)
    data = path.read_bytes()
    assert read_pixels(path).shape == (8, 8, 3)
    count = struct.unpack("<H", data[8:10])[0]
    assert data[:8] == b"II*\0\x08\0\0\0"
    table = data[10 : 10 + 12 * count]
    more = b"".join(struct.pack("<HHII", 40_000 + tag, 7, 10**6, 8) for tag in range(20_000))
    path.write_bytes(data[:8] + struct.pack("<H", count + 20_000) + table + more + bytes(4) + bytes(2 * 10**6))
    with quick(1), pytest.raises(ValueError, match="claims more than the file has"):
        read_pixels(path)


def test_a_directory_of_a_million_entries_is_read_once(work):
    path = work / "x.tif"
    path.write_bytes(directory([(700, 2, 1, 0)] * 65_535))
    with quick(1), path.open("rb") as file:
        assert tiff.fields(file) == {700: b"\0"}


@pytest.mark.parametrize("size", [2, 2**31, 2**32 - 1, (1, 0), (1, 15), (1, 2**63), (1, 2**64 - 1)], ids=str)
@pytest.mark.parametrize("kind", [b"xml ", b"Exif", b"free"], ids=str)
def test_boxes_that_lie(cli, work, size, kind):
    small, *large = size if isinstance(size, tuple) else (size,)
    head = struct.pack(">I4s", small, kind) + b"".join(struct.pack(">Q", number) for number in large)
    (work / "x.jxl").write_bytes(packets.JXL_SIGNATURE + head + bytes(40))
    refused(cli, work / "x.jxl")


def test_boxes_by_the_million(cli, work):
    (work / "x.jxl").write_bytes(packets.JXL_SIGNATURE + struct.pack(">I4s", 8, b"free") * 300_000)
    refused(cli, work / "x.jxl", "too many boxes")


# What comes out


LITERAL = [
    "{a|b} whale", "__colour__ fox", "a {random: 3} fox", "0..9", "[a, b]", "null", "- a", "# a", "'a' \"b\"",
    "a: b", "tab\tline\nend\r\nreturn\rend",
    "esc \x1b[2J bell \x07 nul \0 del \x7f", "next \x85 line \u2028 mark \ufeff",
    "turned \u202e round", "*alias &anchor !tag", "%YAML 1.1", "$(rm -rf /) `ls`", "a \\ b \\{c\\}", "🦊 狐 ü",
]  # fmt: skip


def test_prompts_come_out_as_they_were(cli, work):
    files = [
        png(work / f"{number}.png", invokeai_metadata=json.dumps(FOX | {"positive_prompt": text}))
        for number, text in enumerate(LITERAL)
    ]
    outcome = cli("manifest", "from", *files, "--model", "demo", "-o", "all.yaml")
    assert outcome.code == 0, outcome.err
    assert [task.prompt for task in plan(work / "all.yaml").tasks] == LITERAL
    printed = cli("manifest", "from", *files, "--model", "demo")
    assert printed.out == (work / "all.yaml").read_text(encoding="utf-8")
    assert not {"\x1b", "\x07", "\u202e", "\u2028", "\x7f"} & set(printed.out)


@pytest.mark.parametrize("name", ["../../x", "/etc", "https://example.org/x", "\\\\host\\share"])
def test_places_are_said_and_not_opened(cli, work, name):
    path = png(work / "x.png", invokeai_metadata=json.dumps(FOX | {"model": name}))
    outcome = cli("manifest", "from", path)
    assert yaml.safe_load(outcome.out)["grid"]["model"] == name
    assert f"look at the places that the pictures name before you run it: {name}" in outcome.err


def test_a_file_name_cannot_end_its_comment(cli, work):
    path = png(work / "x\x1b[1m\n  grid.png", invokeai_metadata=json.dumps(FOX | {"model": "demo"}))
    outcome = cli("manifest", "from", path, "-o", "x.yaml")
    assert outcome.code == 0, outcome.err
    assert read_manifest(work / "x.yaml").grids
    assert "\x1b" not in (work / "x.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("size", [(512, 512), (640, 480), (1600, 900), (1000, 500), (9, 1200), (77, 5)])
def test_the_size_of_a_jpeg_xl_picture_is_read_from_its_head(size):
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    data = bytes(imagecodecs.jpegxl_encode(pixels, lossless=True, effort=1, usecontainer=False))
    assert boxes.jxl_size(io.BytesIO(data)) == size
    assert boxes.jxl_size(io.BytesIO(packets.jxl(data, b"", b""))) == size


def test_a_small_file_of_very_many_pixels_is_not_unpacked(tmp_path):
    pytest.importorskip("imagecodecs")
    # 2**18 each way: not small; U32 with 18 bits, no ratio, and the same again.
    side = 0b10 << 1 | (2**18 - 1) << 3
    bits = side | (0b10 | (2**18 - 1) << 2) << 24
    (tmp_path / "bomb.jxl").write_bytes(packets.JXL_BARE + bits.to_bytes(10, "little"))
    with pytest.raises(ValueError, match="262144x262144 pixels, more than are read here"):
        read_pixels(tmp_path / "bomb.jxl")
