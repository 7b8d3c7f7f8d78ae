"""Formats: what an option may be, what the files hold, and what is read back, ours and other programs'."""

import io
import json
import sys
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from batch.base.errors import UserError
from batch.manifest import formats
from batch.plan.identity import identify
from batch.plan.pins import Pins
from batch.records.receipts import Machine, Measurement, Receipt
from batch.report.write import write_report
from batch.store.folder import RunFolder
from batch.store.images.encoders import ENCODERS, encode, jxl_distance, require
from batch.store.images.reading import read_metadata
from batch.store.job import Origin
from tests.conftest import ROOT, SMALL
from tests.store.small_task import task

LOSSLESS = [
    ("png", {}), ("png", {"level": 6}), ("webp-lossless", {}), ("webp-lossless", {"effort": 3}),
    ("jxl", {}), ("jxl", {"effort": 1}), ("tiff", {}), ("tiff", {"compression": "none"}),
]  # fmt: skip
LOSSY = [("jpeg", {}), ("webp", {}), ("avif", {}), ("jxl", {"quality": 90})]


@pytest.fixture(scope="module")
def smooth():
    """A picture with colour, soft edges and a little grain."""
    y, x = np.mgrid[0:300, 0:352] / 40
    waves = np.stack([np.sin(x + y), np.cos(x - y / 2), np.sin(x * y / 3)], axis=-1) * 90 + 128
    grain = np.random.default_rng(1).normal(0, 2, waves.shape)
    return np.clip(waves + grain, 0, 255).astype(np.uint8)


def decoded(data, name):
    if name == "jxl":
        return imagecodecs.jpegxl_decode(data)
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def psnr(first, second):
    error = np.mean((first.astype(float) - second) ** 2)
    return 10 * np.log10(255**2 / error)


# The table


def test_every_format_has_an_encoder_and_stands_in_the_docs():
    assert set(ENCODERS) == set(formats.FORMATS)
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    for name, entry in formats.FORMATS.items():
        assert f"| `{name}` | `.{entry.suffix}` | {entry.about} |" in text
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
    assert encode(np.zeros((1, side, 3), np.uint8), task(name))
    assert formats.fits(name, side, 1) is None
    with pytest.raises((ValueError, OSError)):
        encode(np.zeros((1, side + 1, 3), np.uint8), task(name))
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
        assert np.array_equal(decoded(encode(pixels, task(name, options)), name), pixels)
    assert formats.FORMATS[name].lossless


@pytest.mark.parametrize(("name", "options"), LOSSY)
def test_lossy_formats_come_close_and_quality_counts(name, options, smooth):
    sizes, ratios = [], []
    for quality in (30, None, 99):
        data = encode(smooth, task(name, options if quality is None else {"quality": quality}))
        sizes.append(len(data))
        ratios.append(psnr(decoded(data, name), smooth))
    assert sizes == sorted(sizes)
    assert ratios == sorted(ratios)
    assert 36 < ratios[1] < 60


@pytest.mark.parametrize("name", ["jpeg", "avif"])
def test_colour_keeps_its_resolution_unless_asked(name, noise):
    full, half = (encode(noise, task(name, {"subsampling": value})) for value in ("4:4:4", "4:2:0"))
    assert encode(noise, task(name)) != half
    assert psnr(decoded(full, name), noise) > psnr(decoded(half, name), noise) + 2


def test_jxl_distances():
    assert [jxl_distance(quality) for quality in (100, 99, 90)] == pytest.approx([0, 0.19, 1.0])
    assert jxl_distance(29) == pytest.approx(jxl_distance(30), abs=0.2)
    assert 14 < jxl_distance(1) < 25


@pytest.mark.parametrize("name", list(formats.FORMATS))
def test_the_same_task_gives_the_same_bytes(name, noise, monkeypatch):
    first = encode(noise, task(name))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert encode(noise, task(name, id="other", name="other", source="other.yaml:3")) == first


# Runs


def test_a_run_folder_of_every_format(tmp_path, smooth):
    tasks = [identify(task(name, seed=3)) for name in formats.FORMATS]
    tasks = [replace(item, name=f"fox-{item.format}") for item in tasks]
    folder = RunFolder(tmp_path / "run", "test")
    folder.begin("run", "render", Origin(), tasks, Pins())
    for work in tasks:
        file = folder.save_image(work, smooth)
        folder.commit(
            Receipt(task=work, file=file, measurement=Measurement(), machine=Machine(), attempts=1, started_at="")
        )
    names = {path.name for path in (folder.root / "images").iterdir()}
    assert names == {f"fox-{name}.{entry.suffix}" for name, entry in formats.FORMATS.items()}
    assert len(folder.scan().receipts) == len(tasks)
    assert write_report(folder).sheets


def test_a_missing_package_is_said_with_the_command(monkeypatch):
    require("jxl")
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(UserError, match=r"format jxl needs the imagecodecs package .* pip install imagecodecs"):
        require("jxl")
    for name in set(formats.FORMATS) - {"jxl"}:
        require(name)


def test_a_pillow_without_a_format_is_said(monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda feature: feature != "avif")
    with pytest.raises(UserError, match="format avif: this Pillow"):
        require("avif")
    require("webp")


@pytest.fixture
def output(manifest):
    """A manifest of one image with that output section."""
    one = SMALL.replace("[a fox, a whale]", "a fox").replace("0..1", "0")
    return lambda section: manifest(f"{one}output: {section}\n")


@pytest.mark.parametrize(
    ("name", "options"),
    [("jpeg", {"quality": 80}), ("webp", {}), ("webp-lossless", {}), ("avif", {}), ("jxl", {}), ("tiff", {})],
)
def test_formats_on_the_command_line(cli, output, work, name, options):
    keys = ", ".join(f"{key}: {value}" for key, value in {"format": name, **options}.items())
    first = cli("run", output(f"{{{keys}}}"), "--out", "run", "--quiet")
    assert first.code == 0, first.err
    (image,) = (work / "run" / "images").iterdir()
    assert image.suffix == f".{formats.FORMATS[name].suffix}"
    found = json.loads(read_metadata(image)["run_batch"])["task"]
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
