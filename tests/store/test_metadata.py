"""What stands in an image file beside its pixels: ours in every format, and what other programs write."""

import io
import json
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sd_parsers import ParserManager

from batch.base.errors import UserError
from batch.manifest import formats
from batch.records.reading import from_json
from batch.records.tasks import Task
from batch.records.values import Call
from batch.store.images import packets
from batch.store.images.encoders import encode
from batch.store.images.reading import read_metadata
from batch.store.images.texts import JSON_KEY, PARAMETERS_KEY, parameters, rerun_json
from tests.store.small_task import task

HARD = 'a fox, ünïcødé 狐 🦊 (red:1.2)\nsecond line <b>&amp;</b> ]]> "quoted" \\ \r\x0b\x7f\ufffe end'


def saved(tmp_path, pixels, work):
    path = tmp_path / f"picture.{formats.FORMATS[work.format].suffix}"
    path.write_bytes(encode(pixels, work))
    return path


@pytest.mark.parametrize("name", list(formats.FORMATS))
@pytest.mark.parametrize("prompt", ["a fox", HARD, "狐a\n" * 12_500], ids=["plain", "hard", "long"])
def test_both_texts_come_back(name, prompt, noise, tmp_path):
    work = task(name, prompt=prompt)
    found = read_metadata(saved(tmp_path, noise, work))
    wanted = {JSON_KEY: rerun_json(work), PARAMETERS_KEY: parameters(work)}
    if name == "jpeg" and len(prompt) > 30_000:
        del wanted[PARAMETERS_KEY]  # EXIF has 64 KiB in JPEG
    assert found == wanted
    again = from_json(Task, json.dumps(json.loads(found[JSON_KEY])["task"]))
    assert again == work


def test_the_json_holds_the_options(noise, tmp_path):
    work = task("jpeg", {"quality": 80, "subsampling": "4:2:0"})
    found = read_metadata(saved(tmp_path, noise, work))
    again = from_json(Task, json.dumps(json.loads(found["run_batch"])["task"]))
    assert again.format_options == work.format_options
    assert encode(noise, again) == encode(noise, work)


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "webp-lossless"])
def test_galleries_read_prompt_seed_and_size(name, noise, tmp_path):
    prompt = "a fox, ünïcødé 狐 (red:1.2)\nat dusk"
    info = ParserManager().parse(saved(tmp_path, noise, task(name, prompt=prompt)))
    (sampler,) = info.samplers
    assert info.prompts[0].value == prompt
    assert info.negative_prompts[0].value == "fog, smoke"
    assert sampler.name == "Euler"
    assert sampler.parameters["seed"] == str(2**63)
    assert sampler.parameters["steps"] == "3"
    assert info.metadata["Size"] == "353x301"


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif", "jxl", "tiff"])
def test_the_comment_has_the_type_that_a1111_reads(name, noise):
    text = packets.comment(parameters(task(name)))
    kind_and_count = struct.pack(">HHI", 0x9286, 7, len(text))
    assert kind_and_count in encode(noise, task(name))


@pytest.mark.parametrize(
    ("scheduler", "sampler"),
    [
        (Call(name="dpm++"), "DPM++ 2M"),
        (Call(name="FlowMatchEulerDiscreteScheduler"), "Euler"),
        (Call(name="sa-solver"), "sa-solver"),
        (Call(name="brand-new"), "brand-new"),
        (None, "default"),
    ],
)
def test_sampler_names(scheduler, sampler):
    assert f"Sampler: {sampler}, " in parameters(task(scheduler=scheduler))


def test_half_characters_fail_no_picture(noise, tmp_path):
    for name in formats.FORMATS:
        path = saved(tmp_path, noise, task(name, model="folder \udcff"))
        again = json.loads(read_metadata(path)["run_batch"])["task"]
        assert again["model"] == "folder \udcff"


def test_extended_xmp_that_lost_a_part_is_not_there(noise, tmp_path):
    data = encode(noise, task("jpeg", prompt="x" * 150_000))
    parts = data.split(b"http://ns.adobe.com/xmp/extension/\0")
    assert len(parts) == 4
    path = tmp_path / "damaged.jpg"
    path.write_bytes(data.replace(b"x" * 100, b"y" * 100, 1))
    assert read_metadata(path) == {}


# Metadata of others


def png(tmp_path, chunks=(), behind=()):
    """A PNG with chunks before and behind its pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    data = buffer.getvalue()

    def packed(items):
        return b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in items
        )

    start, end = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
    path = tmp_path / "other.png"
    path.write_bytes(data[:start] + packed(chunks) + data[start:end] + packed(behind) + data[end:])
    return path


def test_texts_of_other_programs_in_png(tmp_path):
    texts = {"invokeai_metadata": '{"seed": 1}', "workflow": '{"nodes": []}', "prompt": "{}", "parameters": "ü狐"}
    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text, zip=key == "workflow")
    path = tmp_path / "other.png"
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    assert read_metadata(path) == texts
    assert read_metadata(png(tmp_path, behind=[(b"tEXt", b"parameters\0behind")])) == {"parameters": "behind"}
    assert read_metadata(png(tmp_path)) == {}


@pytest.mark.parametrize("suffix", ["jpg", "webp", "avif", "tif"])
@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + "a fox 狐\nSteps: 3".encode("utf-16-be"),
        b"UNICODE\0" + "a fox 狐\nSteps: 3".encode("utf-16-le"),
        b"UNICODE\0" + "\ufeffa fox 狐\nSteps: 3".encode("utf-16-le"),
        b"ASCII\0\0\0" + "a fox 狐\nSteps: 3".encode(),
        bytes(8) + "a fox 狐\nSteps: 3\0\0".encode(),
    ],
    ids=["big", "little", "mark", "ascii", "none"],
)
def test_comments_of_other_programs(suffix, comment, tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = comment
    path = tmp_path / f"other.{suffix}"
    Image.new("RGB", (8, 8)).save(path, exif=exif.tobytes())
    assert read_metadata(path) == {"parameters": "a fox 狐\nSteps: 3"}


def test_an_avif_of_another_brand(tmp_path, noise):
    work = task("avif")
    path = saved(tmp_path, noise, work)
    path.write_bytes(path.read_bytes().replace(b"ftypavif", b"ftypmif1", 1))
    assert read_metadata(path) == {JSON_KEY: rerun_json(work), PARAMETERS_KEY: parameters(work)}


def test_comfyui_in_webp(tmp_path):
    exif = Image.Exif()
    exif[0x0110], exif[0x010F] = 'prompt:{"3": {"a": "\\u00fc"}}', 'workflow:{"nodes": []}'
    path = tmp_path / "comfy.webp"
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    assert read_metadata(path) == {"prompt": '{"3": {"a": "\\u00fc"}}', "workflow": '{"nodes": []}'}


def test_a_bare_jxl_has_none(tmp_path, noise):
    path = tmp_path / "bare.jxl"
    path.write_bytes(imagecodecs.jpegxl_encode(noise))
    assert read_metadata(path) == {}


# Damage and malice


def test_what_is_no_image_is_said(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png is not there"):
        read_metadata(tmp_path / "gone.png")
    for text in (b"", b"hello", b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBP"):
        (tmp_path / "text.png").write_bytes(text)
        with pytest.raises(UserError, match=r"text\.png "):
            read_metadata(tmp_path / "text.png")
    with pytest.raises(UserError, match="cannot be read as an image"):
        read_metadata(tmp_path)


@pytest.mark.parametrize("name", list(formats.FORMATS))
def test_a_file_cut_short_gives_its_texts_or_a_message(name, noise, tmp_path):
    path = saved(tmp_path, noise, task(name))
    data, whole = path.read_bytes(), read_metadata(path)
    for keep in (*range(0, 700, 23), len(data) // 2, len(data) - 5):
        path.write_bytes(data[:keep])
        try:
            found = read_metadata(path)
        except UserError:
            continue
        assert found.items() <= whole.items()


@pytest.mark.parametrize("name", list(formats.FORMATS))
def test_damaged_bytes_never_give_a_traceback(name, noise, tmp_path):
    data = bytearray(encode(noise[:20, :20], task(name)))
    path = tmp_path / "damaged"
    random = np.random.default_rng(3)
    for _ in range(60):
        copy = bytearray(data)
        for place in random.integers(0, min(len(copy), 1500), 4):
            copy[place] = random.integers(0, 256)
        path.write_bytes(copy)
        try:
            read_metadata(path)
        except UserError as error:
            assert "damaged" in str(error)


def test_texts_that_unpack_to_a_flood_are_refused(tmp_path):
    bomb = zlib.compress(bytes(200 * 2**20), 9)
    with pytest.raises(UserError, match="too large"):
        read_metadata(png(tmp_path, [(b"zTXt", b"parameters\0\0" + bomb)]))
    with pytest.raises(UserError, match="too large"):
        read_metadata(png(tmp_path, [(b"iTXt", b"parameters\0\1\0\0\0" + bomb)]))


def test_xmp_with_entities_is_not_read(tmp_path):
    lines = ["<!DOCTYPE x [<!ENTITY a0 'aaaaaaaaaa'>"]
    lines += [f"<!ENTITY a{level} '{f'&a{level - 1};' * 10}'>" for level in range(1, 10)]
    packet = "".join(lines) + f"]><x xmlns:r='{packets.NAMESPACE}'><r:run_batch>&a9;</r:run_batch></x>"
    path = tmp_path / "laughs.webp"
    Image.new("RGB", (8, 8)).save(path, xmp=packet.encode())
    assert read_metadata(path) == {}


def test_a_jxl_box_that_claims_too_much(tmp_path):
    path = tmp_path / "claims.jxl"
    for size in (2**31, 2**62):
        head = struct.pack(">I4sQ", 1, b"xml ", size)
        path.write_bytes(packets.JXL_SIGNATURE + head)
        with pytest.raises(UserError, match=r"claims\.jxl cannot be read"):
            read_metadata(path)
