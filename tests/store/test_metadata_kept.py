"""How much text an image carries: all, A1111's alone, or none; and the template of a prompt that was drawn."""

import json

import numpy as np
import pytest
from PIL import Image

from batch.manifest import formats
from batch.records.kinds import TextsKept
from batch.records.reading import from_json
from batch.records.tasks import Task
from batch.store.images.encoders import encode
from batch.store.images.reading import read_metadata, read_pixels
from batch.store.images.texts import JSON_KEY, PARAMETERS_KEY, parameters, rerun_json
from tests.store.small_task import task


def saved(tmp_path, pixels, work, metadata):
    path = tmp_path / f"{metadata}.{formats.FORMATS[work.format].suffix}"
    path.write_bytes(encode(pixels, work, {"repaired": "x"}, metadata))
    return path


@pytest.mark.parametrize("name", list(formats.FORMATS))
def test_every_format_carries_what_it_is_told_to(name, noise, tmp_path):
    work = task(name, prompt="a fox, 狐")
    full, only, none = (saved(tmp_path, noise, work, metadata) for metadata in TextsKept)
    assert set(read_metadata(full)) == {JSON_KEY, PARAMETERS_KEY}
    assert read_metadata(only) == {PARAMETERS_KEY: parameters(work, {"repaired": "x"})}
    assert read_metadata(none) == {}
    assert not any(
        text in none.read_bytes()
        for text in (b"a fox", b"Steps", "Steps".encode("utf-16-be"), b"run_batch", b"xmpmeta")
    )
    assert np.array_equal(read_pixels(full), read_pixels(none))
    assert np.array_equal(read_pixels(full), read_pixels(only))


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "webp-lossless", "avif", "tiff"])
def test_a_picture_without_texts_is_whole_for_others(name, noise, tmp_path):
    path = saved(tmp_path, noise, task(name), TextsKept.NONE)
    with Image.open(path) as image:
        image.load()
        assert image.size == (353, 301)
        assert not image.getexif().get_ifd(0x8769)


def test_png_of_other_levels_leaves_its_texts_out_too(noise, tmp_path):
    assert read_metadata(saved(tmp_path, noise, task("png", {"level": 6}), TextsKept.NONE)) == {}


TEMPLATE = 'a {red|"blue", dark} fox:\n__at__'


@pytest.mark.parametrize("name", list(formats.FORMATS))
def test_the_template_stands_beside_the_prompt(name, noise, tmp_path):
    work = task(name, prompt="a red fox", prompt_template=TEMPLATE)
    found = read_metadata(saved(tmp_path, noise, work, TextsKept.FULL))
    assert from_json(Task, json.dumps(json.loads(found[JSON_KEY])["task"])) == work
    last = found[PARAMETERS_KEY].rpartition("\n")[2]
    assert last.startswith("Steps: ")
    assert f"Template: {json.dumps(TEMPLATE)}" in last


def test_a_picture_without_template_has_the_texts_it_always_had():
    plain, drawn = task(), task(prompt_template=TEMPLATE)
    assert "template" not in (parameters(plain) + rerun_json(plain)).lower()
    assert "prompt_template" in rerun_json(drawn)
