"""How pictures differ: SSIM, PSNR, and where."""

import base64
import io
import math
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from batch.report.compare import pixels, worst
from batch.report.compare.pixels import difference
from batch.store.folder import RunFolder
from tests.report.two_cards import CPU, FULL, LARGE, SMALL, by_setting, repainted


def test_difference_of_pictures():
    one = np.zeros((300, 4, 3), np.uint8)
    other = one.copy()
    assert difference(one, other).psnr_db == float("inf")
    other[299, 0] = (3, 0, 0)
    gap = difference(one, other)
    assert (gap.max_difference, gap.changed_share) == (3, 1 / 1200)
    assert difference(one, other[:1]) is None


def test_a_setting_is_compared_with_the_reference_of_its_own_run(cli, cards):
    """What the other card does to pixels is not the setting's."""
    for task in RunFolder(Path("a100")).tasks():
        repainted("a100", task, lambda array: np.clip(array.astype(int) + 3, 0, 255).astype(np.uint8))
    result = cli("compare", "rtx", "a100", "--json").json()
    rows = by_setting(result, "a100")
    assert (rows[FULL]["compared_with"], rows[FULL]["max_diff"]) == ("rtx: full", 3)
    assert (rows[CPU]["compared_with"], rows[CPU]["identical"]) == (FULL, 1)
    assert any("between two cards low bits of pixels differ" in note for note in result["notes"])


@pytest.mark.parametrize("height", [7, 40, 262, 263, 600])
def test_ssim_by_bands_is_that_of_the_whole(height):
    from skimage.metrics import structural_similarity

    random = np.random.default_rng(height)
    one = random.integers(0, 256, (height, 90, 3), np.uint8)
    other = np.clip(one + random.integers(-20, 20, one.shape), 0, 255).astype(np.uint8)
    other[: height // 2] = one[: height // 2]
    whole = structural_similarity(one, other, channel_axis=-1)
    assert math.isclose(pixels.ssim(one, other), whole, abs_tol=1e-6)
    assert whole < 0.999
    grey = structural_similarity(one[..., 0], other[..., 0])
    assert math.isclose(pixels.ssim(one[..., 0], other[..., 0]), grey, abs_tol=1e-6)


def test_a_picture_below_the_window_has_no_ssim():
    assert pixels.ssim(np.zeros((6, 90, 3), np.uint8), np.ones((6, 90, 3), np.uint8)) is None


def test_ssim_is_in_the_table(cli, cards):
    from skimage.metrics import structural_similarity

    row = by_setting(cli("compare", "rtx", "--json").json(), "rtx")[SMALL]
    scan, pairs = RunFolder(Path("rtx")).scan(), {}
    for receipt in scan.receipts.values():
        with Image.open(Path("rtx") / receipt.file.path) as image:
            pairs.setdefault(receipt.task.picture_id, {})[receipt.task.memory] = np.asarray(image)
    found = [structural_similarity(pair[FULL], pair[SMALL], channel_axis=-1) for pair in pairs.values()]
    assert math.isclose(row["ssim_mean"], np.mean(found), abs_tol=1e-6)
    assert math.isclose(row["ssim_min"], min(found), abs_tol=1e-6)


def test_without_scikit_image_the_csv_says_so(cli, cards, monkeypatch):
    monkeypatch.setattr(pixels.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "skimage", None)
    outcome = cli("compare", "rtx", "--out", "found")
    assert "SSIM is not computed: scikit-image is not installed; pip install 'run-batch[compare]'" in outcome.out
    rows = pd.read_csv("found/compare.csv", keep_default_na=False)
    assert rows.ssim_min.tolist() == ["", "not installed", "not installed", ""]
    assert rows.psnr_min.tolist()[1] != ""


def test_a_planted_difference_is_seen_at_its_place():
    one = np.full((1500, 2000, 3), 90, np.uint8)
    other = one.copy()
    other[600:610, 800, 1] += 2  # ten pixels of a seam one pixel wide
    shown = pixels.where(one, other)
    assert (shown.block, shown.gain, shown.pixels.shape) == (4, 64, (375, 500))
    seam = np.zeros((375, 500), np.uint8)
    seam[150:153, 200] = 2 * 64
    assert np.array_equal(shown.pixels, seam)
    other[0, 0] = 255  # an outlier does not make the rest black
    other[600:1400, 800, 1] = 92
    assert pixels.where(one, other).pixels[300, 200] >= 100
    assert pixels.where(one, one).pixels.max() == 0


def test_the_worst_picture_of_a_setting_is_shown(cli, cards):
    worse = [task for task in RunFolder(Path("rtx")).tasks() if task.memory == SMALL][1]

    def planted(array):
        array[50:100, 90:140] ^= 0x80
        return array

    repainted("rtx", worse, planted)
    assert cli("compare", "rtx", "--out", "found").code == 0
    rows = pd.read_csv("found/compare.csv", keep_default_na=False).set_index("memory")
    assert [bool(rows.difference[name]) for name in (FULL, LARGE, SMALL, CPU)] == [False, True, True, False]
    assert rows.difference[SMALL] == f"differences/3-{worse.picture_id[:8]}.png"
    with Image.open(Path("found") / rows.difference[SMALL]) as image:
        shown = np.asarray(image)
    assert shown[50:100, 90:140].min() > 2 * np.median(shown)
    assert np.median(shown[50:100, 90:140]) >= 120
    page = Path("found/compare.html").read_text(encoding="utf-8")
    assert re.search(r"<bdi>difference, times \d+</bdi></figcaption>", page)
    article = page.partition('id="worst-3"')[2].partition("</article>")[0]
    crops = article.partition("three crops")[2]
    embedded = dict(re.findall(r'data-kind="(\w+)"[^>]+ src="data:image/webp;base64,([^"]+)"', crops))
    left, top = map(int, re.search(r"pixels at (\d+), (\d+)<", article).groups())
    folder = RunFolder(Path("rtx"))
    alike = [task for task in folder.tasks() if task.picture_id == worse.picture_id]
    files = {task.memory: folder.root / folder.receipt(task.id).file.path for task in alike}
    for kind, setting in (("before", FULL), ("after", SMALL)):
        crop = np.asarray(Image.open(io.BytesIO(base64.b64decode(embedded[kind]))))
        side = len(crop)
        with Image.open(files[setting]) as whole:
            assert np.array_equal(crop, np.asarray(whole)[top : top + side, left : left + side])  # every bit
    assert left <= 115 < left + side and top <= 75 < top + side


@pytest.mark.parametrize("grain", [0, 60])
def test_a_crop_is_as_large_as_its_bytes_allow(grain):
    random = np.random.default_rng(1)
    one = np.clip(120 + random.integers(-grain, grain + 1, (900, 1600, 3)), 0, 255).astype(np.uint8)
    other = one.copy()
    other[880, 5] += 30
    found = worst.crop(one, other, pixels.where(one, other).at)
    assert found.three.bytes <= worst.CROP_BYTES
    assert found.three.width == found.three.height
    assert found.three.width == worst.CROP_SIDE if not grain else 100 < found.three.width < 300
    assert found.left == 0 and found.top == 900 - found.three.height


def test_a_crop_of_a_small_picture_is_all_of_it():
    one = np.zeros((40, 90, 3), np.uint8)
    found = worst.crop(one, one + 1, (20, 45))
    assert (found.left, found.top, found.three.width, found.three.height) == (0, 0, 90, 40)
