"""report.html and compare, as a user sees them."""

import itertools
import json
import math
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from batch.cli.main import main
from batch.records.tasks import Lora, Task
from batch.records.values import Call
from batch.report.compare.pixels import of_files
from batch.report.sheet.axes import axes_of, choose
from batch.report.sheet.blocks import blocks_of
from batch.store.folder import RunFolder
from tests.conftest import ROOT
from tests.helpers import receipts_of
from tests.report.pages import embedded

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"a\" & 'b' <!-- ]]>"

MANIFESTS = {
    "tiles": """\
grid:
  model: demo
  prompt: [a fox, a whale]
  steps: 1
  size: 512x512
  memory: [full, "vae_tiling(256, 192)"]
""",
    "other": """\
grid: {model: demo, prompt: [a fox, a bear], steps: 1, size: 512x512, memory: full}
""",
    "hostile": f"""\
grid:
  model: demo
  prompt: [{json.dumps(HOSTILE)}, a whale]
  steps: 1
  size: 672x384
  extra.sigmas: [null, [1.0, 0.5]]
""",
}
"""Comparable pictures under two settings; some of them again in another run; and failures."""


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered")
    for name, text in MANIFESTS.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        code = main(["run", str(folder / f"{name}.yaml"), "--out", str(folder / name), "--quiet"])
        assert code == (1 if name == "hostile" else 0)
    return folder


@pytest.fixture
def runs(rendered, work):
    """Copies of the rendered runs in the current folder."""
    for name in MANIFESTS:
        shutil.copytree(rendered / name, work / name)
    return work


# report.html


def test_the_page_holds_what_the_receipts_say(runs):
    page = (runs / "hostile" / "report.html").read_text(encoding="utf-8")
    text, data = embedded(page)
    assert not set("<>&") & set(text)
    (records,) = re.findall(r'<script type="application/json" id="records">(.*?)</script>', page)
    assert not set("<>&") & set(records)
    assert "alert" not in page.replace(text, "").replace(records, "")
    scan = RunFolder(runs / "hostile").scan()
    images = {image["id"]: image for image in data["images"]}
    assert images.keys() == scan.receipts.keys() | scan.failures.keys()
    for key, receipt in scan.receipts.items():
        image = images[key]
        assert (image["prompt"], image["seed"]) == (receipt.task.prompt, str(receipt.task.seed))
        assert image["file"] == receipt.file.path
        assert image["total_s"] == round(receipt.measurement.total_s, 4)
        assert math.isclose(image["memory_mib"], receipt.measurement.together.rss / 2**20, abs_tol=0.1)
        assert (runs / "hostile" / "thumbs" / f"{key}.webp").is_file()
    for key, failure in scan.failures.items():
        assert images[key]["stage"] == "denoise"
        assert failure.error.message in images[key]["error"]
    assert {image["prompt"] for image in data["images"]} == {HOSTILE, "a whale"}
    assert (data["summary"]["done"], data["summary"]["failed"], data["summary"]["total"]) == (2, 2, 4)
    assert data["varying"] == ["extra"]
    assert data["common"]["model"] == "demo"
    rows = [dict(zip(data["timing"]["columns"], row, strict=True)) for row in data["timing"]["rows"]]
    timing, failed = sorted(rows, key=lambda row: row["failed"])  # told apart by what varies
    times = [receipt.measurement for receipt in scan.receipts.values() if not receipt.measurement.warmup]
    assert (timing["images"], timing["timed"], timing["failed"]) == (2, 1, 0)
    assert (failed["images"], failed["failed"], failed["extra"]) == (0, 2, "sigmas=(1.0, 0.5)")
    assert math.isclose(timing["total_s"], np.median([item.total_s for item in times]), abs_tol=1e-3)


def test_the_page_loads_nothing_from_elsewhere():
    parts = (ROOT / "batch" / "report" / "page").rglob("*.[jc]s*")
    text = "".join(path.read_text(encoding="utf-8") for path in parts if path.is_file())
    assert not re.search(r"https?:|//\w+\.\w|@import|url\(|innerHTML|document\.write", text)


def test_report_writes_the_page_of_a_folder_without_images(cli, runs):
    shutil.rmtree(runs / "other" / "images")
    outcome = cli("report", "other")
    assert "report.html" in outcome.out
    data = embedded((runs / "other" / "report.html").read_text(encoding="utf-8"))[1]
    assert (data["summary"]["missing"], data["summary"]["median_s"], data["timing"]["rows"]) == (2, None, [])


def test_the_page_in_a_browser(runs, page):
    path = runs / "hostile" / "report.html"
    page.goto(path.as_uri())
    assert page.locator(".card.done").count() == page.locator(".card.failed").count() == 2
    assert page.inner_text("#tab-failures") == "Failed 2"
    assert HOSTILE in page.text_content("#gallery")
    assert page.locator("img[src=x]").count() == 0
    page.fill("#text", "WHALE")
    page.select_option("#filters select[aria-label='Filter by status']", "done")
    assert page.input_value("#text") == "WHALE status=done"
    assert page.inner_text("#count") == "1 of 4"
    page.click(".card a")
    assert page.evaluate("$('viewer').open && shown[0].prompt") == "a whale"
    page.keyboard.press("Escape")
    page.fill("#text", "")
    page.select_option("#sort", "total_s")
    times = [image["total_s"] for image in embedded(path.read_text(encoding="utf-8"))[1]["images"]]
    assert page.evaluate("visible.map(image => image.total_s)") == sorted(times)
    assert page.said == []


# compare


def test_settings_of_one_run_are_compared(cli, runs):
    result = cli("compare", "tiles", "--json").json()
    full, tiled = result["rows"]
    assert (full["memory"], full["images"], full["timed"], full["compared"]) == ("full", 2, 1, None)
    assert (tiled["memory"], tiled["images"], tiled["timed"]) == ("vae_tiling(256, 192)", 2, 2)
    assert (tiled["compared"], tiled["identical"]) == (2, 0)
    scan = RunFolder(runs / "tiles").scan()
    pairs = {}
    for receipt in scan.receipts.values():
        with Image.open(runs / "tiles" / receipt.file.path) as image:
            pairs.setdefault(receipt.task.picture_id, {})[receipt.task.memory] = np.asarray(image).astype(float)
    wrong = [pair["full"] - pair["vae_tiling(256, 192)"] for pair in pairs.values()]
    noise = [10 * math.log10(255**2 / np.square(error).mean()) for error in wrong]
    assert tiled["max_diff"] == max(np.abs(error).max() for error in wrong)
    assert math.isclose(tiled["psnr_mean"], np.mean(noise), rel_tol=1e-9)
    assert math.isclose(tiled["psnr_min"], min(noise), rel_tol=1e-9)
    costs = [item.measurement for item in scan.receipts.values() if item.task.memory == "full"]
    assert math.isclose(
        full["denoise_s"], next(cost.denoise.seconds for cost in costs if not cost.warmup), abs_tol=1e-3
    )


def test_runs_are_compared_with_the_first(cli, runs):
    (runs / "twin").mkdir()
    shutil.copytree("tiles", "twin/tiles")
    outcome = cli("compare", "tiles", "other", "twin/tiles", "--out", "both")
    assert outcome.code == 0
    assert "other and tiles have 1 picture in common; 1 is only in tiles, 1 only in other" in outcome.out
    frame = pd.read_csv(runs / "both" / "compare.csv")
    assert frame.run.tolist() == ["tiles", "tiles", "other", "twin/tiles", "twin/tiles"]
    assert frame.compared.tolist()[1:] == [2, 1, 2, 2]
    assert frame.identical.tolist()[1:] == [0, 1, 1, 0]
    page = (runs / "both" / "compare.html").read_text(encoding="utf-8")
    assert len(set(re.findall(r'href="#setting-(\d)" aria-label', page))) == 5


def test_nothing_in_common_is_said(cli, runs):
    outcome = cli("compare", "tiles", "hostile")
    assert "hostile and tiles have no picture in common" in outcome.out
    rows = cli("compare", "other", "hostile", "--json").json()["rows"]
    assert [row["compared"] for row in rows] == [None, None, None]
    assert [(row["failed"], row["extra"]) for row in rows[1:]] == [
        (0, "sigmas=None"), (2, "sigmas=(1.0, 0.5)"),
    ]  # fmt: skip
    assert "PSNR" not in cli("compare", "other", "hostile").out


def test_an_image_that_cannot_be_read_is_named(cli, runs):
    shutil.copytree("other", "damaged")
    receipt = next(iter(receipts_of("damaged")))
    image = runs / "damaged" / receipt.file.path
    image.write_bytes(bytes(receipt.file.bytes))
    os.utime(image, (receipt.file.mtime, receipt.file.mtime))  # what a disk does to a file shows in no time
    path = runs / "damaged" / ".run" / "receipts" / receipt.task.id[:2] / f"{receipt.task.id}.json"
    path.write_text(
        path.read_text().replace(receipt.file.sha256, "0" * 64).replace(receipt.file.pixels_sha256, "")
    )
    result = cli("compare", "other", "damaged", "--json").json()
    assert [row["compared"] for row in result["rows"]] == [None, 1]
    assert any("not compared" in note and Path(receipt.file.path).name in note for note in result["notes"])


def test_mistakes_in_compare(cli, runs):
    assert cli("compare").code == 2
    assert "nothing has been run there yet" in cli("compare", "tiles", "elsewhere").err
    assert "named twice" in cli("compare", "tiles", "./tiles").err
    assert cli("compare", "tiles", "--out", "tiles/results.csv").code == 2


def test_the_difference_of_two_files(tmp_path):
    pixels = np.zeros((300, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    pixels[299, 39, 2] = 200
    Image.fromarray(pixels).save(tmp_path / "b.png")
    apart = of_files(tmp_path / "a.png", tmp_path / "b.png")
    assert (apart.max_difference, apart.identical) == (200, False)
    assert math.isclose(apart.psnr_db, 10 * math.log10(255**2 * pixels.size / 200**2))
    assert of_files(tmp_path / "a.png", tmp_path / "a.png").identical


def test_every_picture_has_its_cell_whatever_settings_differ_in():
    style = Lora(path="a/style.safetensors", sha256="1")
    values = {
        "model": ["demo", "other"], "steps": [1, 2], "guidance": [1.0, 2.0], "dtype": ["float32", "bfloat16"],
        "scheduler": [None, Call(name="default", arguments=(("flow_shift", 6),))], "memory": ["auto", "full"],
        "loras": [(), (style,), (replace(style, scale=0.5),), (replace(style, sha256="2"),)],
        "extra": [(), (("eta", 0.5),), (("pag_scale", 2),), (("pag_scale", 2.0),)], "negative_prompt": ["", "fog"],
    }  # fmt: skip
    plain = Task(
        model="demo", dtype="float32", prompt="a", seed=0, width=512, height=512, rendered_width=512,
        rendered_height=512, steps=1, guidance=1.0,
    )  # fmt: skip
    for chosen in itertools.combinations(values, 3):
        tasks = [
            replace(plain, **dict(zip(chosen, row, strict=True)), prompt=prompt, seed=seed)
            for row in itertools.product(*(values[name] for name in chosen))
            for prompt in "ab"
            for seed in (1, 2)
        ]
        blocks = blocks_of(tasks, choose(axes_of(tasks)))
        assert sum(len(block.cells) for block in blocks) == len(tasks)
        titles = [block.title for block in blocks]
        assert len(set(titles)) * (2 if "extra" in chosen else 1) >= len(titles)  # pag_scale 2 and 2.0
        if "loras" in chosen:
            names = blocks[0].names
            said = [*titles, *map(" ".join, [*names.rows.values(), *names.columns.values()])]
            assert any("lora style 1 #2" in text for text in said)
