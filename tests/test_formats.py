"""Formats: what an option may be, what the files hold, and what is read back, ours and other programs'."""

import io
import json
import struct
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sd_parsers import ParserManager

from batch.errors import UserError
from batch.plan import Pins, formats
from batch.plan.identity import identify
from batch.records import Call, Machine, Measurement, Receipt, Task, task_from_json
from batch.report import write_report
from batch.store import images
from batch.store.folder import RunFolder
from batch.store.images import packets
from batch.store.images.encoders import ENCODERS, jxl_distance

from .conftest import ROOT, SMALL

HARD = 'a fox, ünïcødé 狐 🦊 (red:1.2)\nsecond line <b>&amp;</b> ]]> "quoted" \\ \r\x0b\x7f\ufffe end'
LOSSLESS = [
    ("png", {}), ("png", {"level": 6}), ("webp-lossless", {}), ("webp-lossless", {"effort": 3}),
    ("jxl", {}), ("jxl", {"effort": 1}), ("tiff", {}), ("tiff", {"compression": "none"}),
]  # fmt: skip
LOSSY = [("jpeg", {}), ("webp", {}), ("avif", {}), ("jxl", {"quality": 90})]


def task(kind="png", options=None, **changes):
    given = formats.check_options(kind, options or {})
    first = Task(
        model="demo", dtype="float32", prompt="a fox", negative_prompt="fog, smoke", seed=2**63, width=353,
        height=301, rendered_width=352, rendered_height=320, steps=3, guidance=4.5,
        scheduler=Call(name="flow-euler"), pixel_steps=(Call(name="vae_tiling", arguments=(("tile", 512),)),),
        format=kind, format_options=given,
    )  # fmt: skip
    return replace(first, **changes)


@pytest.fixture(scope="module")
def noise():
    """The hardest picture for an encoder, with odd sides."""
    return np.random.default_rng(0).integers(0, 256, (301, 353, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def smooth():
    """A picture with colour, soft edges and a little grain."""
    y, x = np.mgrid[0:300, 0:352] / 40
    waves = np.stack([np.sin(x + y), np.cos(x - y / 2), np.sin(x * y / 3)], axis=-1) * 90 + 128
    grain = np.random.default_rng(1).normal(0, 2, waves.shape)
    return np.clip(waves + grain, 0, 255).astype(np.uint8)


def decoded(data, name):
    if name == "jxl":
        return sys.modules["imagecodecs"].jpegxl_decode(data)
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def psnr(first, second):
    error = np.mean((first.astype(float) - second) ** 2)
    return 10 * np.log10(255**2 / error)


def saved(tmp_path, pixels, work):
    path = tmp_path / f"picture.{formats.FORMATS[work.format].suffix}"
    path.write_bytes(images.encode(pixels, work))
    return path


# The table


def test_every_format_has_an_encoder_and_stands_in_the_docs():
    assert set(ENCODERS) == set(formats.FORMATS)
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    for name, entry in formats.FORMATS.items():
        assert f"`{name}`" in text
        for key, option in entry.options.items():
            row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` | `{key}` |"))
            assert f"| {option.values} | `{option.default}` |" in row
            assert option.help in row


def test_spellings():
    assert [formats.canonical(name) for name in ("jpg", "JPEG", "tif", " png ")] == ["jpeg", "jpeg", "tiff", "png"]
    with pytest.raises(ValueError, match=r"'wepb' is unknown; did you mean webp\? \(possible are png, jpeg, "):
        formats.canonical("wepb")
    with pytest.raises(ValueError, match="'bmp' is unknown; possible are png"):
        formats.canonical("bmp")


def test_only_what_differs_from_the_defaults_counts():
    for name, entry in formats.FORMATS.items():
        assert formats.check_options(name, {key: option.default for key, option in entry.options.items()}) == ()
    assert formats.check_options("jpeg", {"subsampling": "4:2:0", "quality": 80}) == (
        ("quality", 80), ("subsampling", "4:2:0"),
    )  # fmt: skip
    assert formats.settings("jpeg", (("quality", 80),)) == {"quality": 80, "subsampling": "4:4:4"}
    assert identify(task("jpeg")).id == identify(task("jpeg", {"quality": 95})).id
    assert identify(task("jpeg")).id != identify(task("jpeg", {"quality": 94})).id


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("jpeg", {"qualtiy": 90}, r"qualtiy: jpeg has no such option; did you mean quality\?"),
        ("png", {"quality": 90}, "quality: png has no such option; possible are level"),
        ("jpeg", {"quality": 101}, "quality: 101 is out of bounds; 1 to 100 is possible"),
        ("jpeg", {"quality": "high"}, "quality: 'high' is not a whole number"),
        ("jpeg", {"quality": True}, "quality: True is not a whole number"),
        ("jpeg", {"subsampling": "4:4:0"}, "subsampling: '4:4:0' is unknown; possible are 4:4:4, 4:2:2, 4:2:0"),
        ("jpeg", {"subsampling": ["4:4:4"]}, r"subsampling: \['4:4:4'\] is unknown"),
        ("webp", {"method": 0}, "method: 0 is out of bounds; 2 to 6 is possible"),
        ("tiff", {"compression": "lzw"}, "compression: 'lzw' is unknown; possible are deflate, none"),
    ],
)
def test_wrong_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        formats.check_options(name, options)


@pytest.mark.parametrize("name", ["jpeg", "webp", "webp-lossless"])
def test_max_side_is_what_the_encoder_takes(name):
    side = formats.FORMATS[name].max_side
    assert images.encode(np.zeros((1, side, 3), np.uint8), task(name))
    assert formats.fits(name, side, 1) is None
    with pytest.raises((ValueError, OSError)):
        images.encode(np.zeros((1, side + 1, 3), np.uint8), task(name))
    assert f"at most {side:,} pixels a side, 1x{side + 1} is larger" in formats.fits(name, 1, side + 1)


def test_too_many_pixels():
    assert formats.fits("tiff", 65_536, 16_384) is None
    assert "at most 1409 megapixels" in formats.fits("tiff", 65_536, 32_768)
    assert formats.fits("jxl", 16_384, 16_384) is None
    assert "jxl holds at most" in formats.fits("jxl", 16_384, 16_385)
    assert formats.fits("png", 65_536, 65_536) is None


# Pixels


@pytest.mark.parametrize(("name", "options"), LOSSLESS)
def test_lossless_formats_keep_every_pixel(name, options, noise):
    for pixels in (noise, noise[:1, :1], noise[:, :1], noise[::2, ::-1]):
        assert np.array_equal(decoded(images.encode(pixels, task(name, options)), name), pixels)
    assert formats.FORMATS[name].lossless


@pytest.mark.parametrize(("name", "options"), LOSSY)
def test_lossy_formats_come_close_and_quality_counts(name, options, smooth):
    sizes, ratios = [], []
    for quality in (30, None, 99):
        data = images.encode(smooth, task(name, options if quality is None else {"quality": quality}))
        sizes.append(len(data))
        ratios.append(psnr(decoded(data, name), smooth))
    assert sizes == sorted(sizes)
    assert ratios == sorted(ratios)
    assert 36 < ratios[1] < 60


@pytest.mark.parametrize("name", ["jpeg", "avif"])
def test_colour_keeps_its_resolution_unless_asked(name, noise):
    full, half = (images.encode(noise, task(name, {"subsampling": value})) for value in ("4:4:4", "4:2:0"))
    assert images.encode(noise, task(name)) != half
    assert psnr(decoded(full, name), noise) > psnr(decoded(half, name), noise) + 2


def test_jxl_distances():
    assert [jxl_distance(quality) for quality in (100, 99, 90)] == pytest.approx([0, 0.19, 1.0])
    assert jxl_distance(29) == pytest.approx(jxl_distance(30), abs=0.2)
    assert 14 < jxl_distance(1) < 25


@pytest.mark.parametrize("name", list(formats.FORMATS))
def test_the_same_task_gives_the_same_bytes(name, noise, monkeypatch):
    first = images.encode(noise, task(name))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert images.encode(noise, task(name, id="other", name="other", source="other.yaml:3")) == first


# Metadata of ours


@pytest.mark.parametrize("name", list(formats.FORMATS))
@pytest.mark.parametrize("prompt", ["a fox", HARD, "狐a\n" * 12_500], ids=["plain", "hard", "long"])
def test_both_texts_come_back(name, prompt, noise, tmp_path):
    work = task(name, prompt=prompt)
    found = images.read_metadata(saved(tmp_path, noise, work))
    wanted = {images.JSON_KEY: images.rerun_json(work), images.PARAMETERS_KEY: images.parameters(work)}
    if name == "jpeg" and len(prompt) > 30_000:
        del wanted[images.PARAMETERS_KEY]  # EXIF has 64 KiB in JPEG
    assert found == wanted
    again = task_from_json(json.loads(found[images.JSON_KEY])["task"])
    assert again == work


def test_the_json_holds_the_options(noise, tmp_path):
    work = task("jpeg", {"quality": 80, "subsampling": "4:2:0"})
    found = images.read_metadata(saved(tmp_path, noise, work))
    again = task_from_json(json.loads(found["run_batch"])["task"])
    assert again.format_options == work.format_options
    assert images.encode(noise, again) == images.encode(noise, work)


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
    text = packets.comment(images.parameters(task(name)))
    kind_and_count = struct.pack(">HHI", 0x9286, 7, len(text))
    assert kind_and_count in images.encode(noise, task(name))


@pytest.mark.parametrize(
    ("scheduler", "sampler"),
    [
        (Call(name="dpm++"), "DPM++ 2M"),
        (Call(name="FlowMatchEulerDiscreteScheduler"), "Euler"),
        (Call(name="sa-solver"), "sa-solver"),
        (Call(name="brand-new"), "brand-new"),
        (None, "DPM++ 2M"),
    ],
)
def test_sampler_names(scheduler, sampler):
    assert f"Sampler: {sampler}, " in images.parameters(task(scheduler=scheduler))


def test_half_characters_fail_no_picture(noise, tmp_path):
    for name in formats.FORMATS:
        path = saved(tmp_path, noise, task(name, model="folder \udcff"))
        again = json.loads(images.read_metadata(path)["run_batch"])["task"]
        assert again["model"] == "folder \udcff"


def test_extended_xmp_that_lost_a_part_is_not_there(noise, tmp_path):
    data = images.encode(noise, task("jpeg", prompt="x" * 150_000))
    parts = data.split(b"http://ns.adobe.com/xmp/extension/\0")
    assert len(parts) == 4
    path = tmp_path / "damaged.jpg"
    path.write_bytes(data.replace(b"x" * 100, b"y" * 100, 1))
    assert images.read_metadata(path) == {}


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
    assert images.read_metadata(path) == texts
    assert images.read_metadata(png(tmp_path, behind=[(b"tEXt", b"parameters\0behind")])) == {
        "parameters": "behind"
    }
    assert images.read_metadata(png(tmp_path)) == {}


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
    assert images.read_metadata(path) == {"parameters": "a fox 狐\nSteps: 3"}


def test_comfyui_in_webp(tmp_path):
    exif = Image.Exif()
    exif[0x0110], exif[0x010F] = 'prompt:{"3": {"a": "\\u00fc"}}', 'workflow:{"nodes": []}'
    path = tmp_path / "comfy.webp"
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    assert images.read_metadata(path) == {"prompt": '{"3": {"a": "\\u00fc"}}', "workflow": '{"nodes": []}'}


def test_a_bare_jxl_has_none(tmp_path, smooth):
    path = tmp_path / "bare.jxl"
    path.write_bytes(sys.modules["imagecodecs"].jpegxl_encode(smooth))
    assert images.read_metadata(path) == {}


# Damage and malice


def test_what_is_no_image_is_said(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png is not there"):
        images.read_metadata(tmp_path / "gone.png")
    for text in (b"", b"hello", b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBP"):
        (tmp_path / "text.png").write_bytes(text)
        with pytest.raises(UserError, match=r"text\.png "):
            images.read_metadata(tmp_path / "text.png")
    with pytest.raises(UserError, match="cannot be read as an image"):
        images.read_metadata(tmp_path)


@pytest.mark.parametrize("name", list(formats.FORMATS))
def test_a_file_cut_short_gives_its_texts_or_a_message(name, noise, tmp_path):
    path = saved(tmp_path, noise, task(name))
    data, whole = path.read_bytes(), images.read_metadata(path)
    for keep in (*range(0, 700, 23), len(data) // 2, len(data) - 5):
        path.write_bytes(data[:keep])
        try:
            found = images.read_metadata(path)
        except UserError:
            continue
        assert found.items() <= whole.items()


@pytest.mark.parametrize("name", list(formats.FORMATS))
def test_damaged_bytes_never_give_a_traceback(name, noise, tmp_path):
    data = bytearray(images.encode(noise[:20, :20], task(name)))
    path = tmp_path / "damaged"
    random = np.random.default_rng(3)
    for _ in range(60):
        copy = bytearray(data)
        for place in random.integers(0, min(len(copy), 1500), 4):
            copy[place] = random.integers(0, 256)
        path.write_bytes(copy)
        try:
            images.read_metadata(path)
        except UserError as error:
            assert "damaged" in str(error)


def test_texts_that_unpack_to_a_flood_are_refused(tmp_path):
    bomb = zlib.compress(bytes(200 * 2**20), 9)
    with pytest.raises(UserError, match="too large"):
        images.read_metadata(png(tmp_path, [(b"zTXt", b"parameters\0\0" + bomb)]))
    with pytest.raises(UserError, match="too large"):
        images.read_metadata(png(tmp_path, [(b"iTXt", b"parameters\0\1\0\0\0" + bomb)]))


def test_xmp_with_entities_is_not_read(tmp_path):
    lines = ["<!DOCTYPE x [<!ENTITY a0 'aaaaaaaaaa'>"]
    lines += [f"<!ENTITY a{level} '{f'&a{level - 1};' * 10}'>" for level in range(1, 10)]
    packet = "".join(lines) + f"]><x xmlns:r='{packets.NAMESPACE}'><r:run_batch>&a9;</r:run_batch></x>"
    path = tmp_path / "laughs.webp"
    Image.new("RGB", (8, 8)).save(path, xmp=packet.encode())
    assert images.read_metadata(path) == {}


def test_a_jxl_box_that_claims_too_much(tmp_path):
    path = tmp_path / "claims.jxl"
    for size in (2**31, 2**62):
        head = struct.pack(">I4sQ", 1, b"xml ", size)
        path.write_bytes(packets.JXL_SIGNATURE + head)
        with pytest.raises(UserError, match=r"claims\.jxl cannot be read"):
            images.read_metadata(path)


# Runs


def test_a_run_folder_of_every_format(tmp_path, smooth):
    tasks = [identify(task(name, seed=3)) for name in formats.FORMATS]
    tasks = [replace(item, name=f"fox-{item.format}") for item in tasks]
    folder = RunFolder(tmp_path / "run", "test")
    folder.begin("run", "render", "", tasks, Pins())
    for work in tasks:
        file = folder.save_image(work, smooth, 0)
        folder.commit(
            Receipt(task=work, file=file, measurement=Measurement(), machine=Machine(), attempts=1, started_at="")
        )
    names = {path.name for path in (folder.root / "images").iterdir()}
    assert names == {f"fox-{name}.{entry.suffix}" for name, entry in formats.FORMATS.items()}
    assert len(folder.scan().receipts) == len(tasks)
    assert write_report(folder).sheets


def test_a_missing_package_is_said_with_the_command(monkeypatch):
    images.require("jxl")
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(UserError, match=r"format jxl needs the imagecodecs package .* pip install imagecodecs"):
        images.require("jxl")
    for name in set(formats.FORMATS) - {"jxl"}:
        images.require(name)


def test_a_pillow_without_a_format_is_said(monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda feature: feature != "avif")
    with pytest.raises(UserError, match="format avif: this Pillow"):
        images.require("avif")
    images.require("webp")


@pytest.fixture
def output(cli, manifest):
    """A manifest of one image with that output section; skips where the manifest takes png only."""
    one = SMALL.replace("[a fox, a whale]", "a fox").replace("0..1", "0")
    if cli("plan", manifest(one + "output: {format: tif}\n", "try.yaml")).code:
        pytest.skip("the manifest takes png only")
    return lambda section: manifest(f"{one}output: {section}\n")


@pytest.mark.parametrize(("name", "options"), [*LOSSY, ("webp-lossless", {}), ("tiff", {}), ("jxl", {})])
def test_formats_on_the_command_line(cli, output, work, name, options):
    keys = ", ".join(f"{key}: {value}" for key, value in {"format": name, **options}.items())
    first = cli("run", output(f"{{{keys}}}"), "--out", "run", "--quiet")
    assert first.code == 0, first.err
    (image,) = (work / "run" / "images").iterdir()
    assert image.suffix == f".{formats.FORMATS[name].suffix}"
    found = json.loads(images.read_metadata(image)["run_batch"])["task"]
    assert (found["prompt"], found["format"]) == ("a fox", name)
    assert dict(found["format_options"]) == options
    again = cli("run", "job.yaml", "--out", "run")
    assert "0 images rendered" in again.out


def test_nothing_is_rendered_when_a_package_is_missing(cli, output, work, monkeypatch):
    path = output("{format: jxl}")
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    outcome = cli("run", path, "--out", "run")
    assert outcome.code == 2
    assert "pip install imagecodecs" in outcome.err
    assert not (work / "run").exists()
