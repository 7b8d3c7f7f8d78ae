"""report.html, compare and fetch, as a user sees them."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from batch.fetch import needed
from PIL import Image

from batch.cli import main
from batch.report import html
from batch.report.pixels import of_files
from batch.store.folder import RunFolder

from .conftest import ROOT
from .small_hub import COMMIT, Repo, folder_files, serve

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"a\" & 'b' <!-- ]]>"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

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
  extra.sigmas: [null, [[1.0, 0.5]]]
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


def embedded(page):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return found[1], json.loads(found[1])


# report.html


def test_the_page_holds_what_the_receipts_say(runs):
    page = (runs / "hostile" / "report.html").read_text(encoding="utf-8")
    text, data = embedded(page)
    assert not set("<>&") & set(text)
    assert "alert" not in page.replace(text, "")
    scan = RunFolder(runs / "hostile").scan()
    images = {image["id"]: image for image in data["images"]}
    assert images.keys() == scan.receipts.keys() | scan.failures.keys()
    for key, receipt in scan.receipts.items():
        image = images[key]
        assert (image["prompt"], image["seed"]) == (receipt.task.prompt, str(receipt.task.seed))
        assert image["file"] == receipt.file.path
        assert image["total_s"] == round(receipt.measurement.total_s, 4)
        assert math.isclose(image["memory_mib"], receipt.measurement.peak("rss") / 2**20, abs_tol=0.1)
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
    assert (failed["images"], failed["failed"], failed["extra"]) == (0, 2, "sigmas=((1.0, 0.5),)")
    assert math.isclose(timing["total_s"], np.median([item.total_s for item in times]), abs_tol=1e-3)


def test_the_page_loads_nothing_from_elsewhere():
    template = (ROOT / "batch" / "report" / "report.html.template").read_text(encoding="utf-8")
    assert template.count(html.PLACEHOLDER) == 1
    assert not re.search(r"https?:|//\w+\.\w|@import|url\(|innerHTML|document\.write", template)


def test_report_writes_the_page_of_a_folder_without_images(cli, runs):
    shutil.rmtree(runs / "other" / "images")
    outcome = cli("report", "other")
    assert "report.html" in outcome.out
    data = embedded((runs / "other" / "report.html").read_text(encoding="utf-8"))[1]
    assert (data["summary"]["missing"], data["summary"]["median_s"], data["timing"]["rows"]) == (2, None, [])


def in_browser(page: Path, script: str) -> str:
    """What the page says after a script has used it: the script's value becomes the title."""
    changed = page.with_name("used.html")
    text = page.read_text(encoding="utf-8")
    changed.write_text(
        text.replace("</body>", f"<script>document.title = {script}</script></body>"), encoding="utf-8"
    )
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom",
         changed.resolve().as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_the_page_in_a_browser(runs):
    page = runs / "hostile" / "report.html"
    dom = in_browser(page, "document.querySelectorAll('.card').length + ' of ' + data.images.length")
    assert "<title>4 of 4</title>" in dom
    assert dom.count('class="card done"') == 2
    assert dom.count('class="card failed"') == 2
    assert "2 failed" in dom
    assert "<script>alert" not in dom
    assert "<img src=x" not in dom.replace('"', "")
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in dom
    used = (
        "($('text').value = 'WHALE', selects.status.value = 'done', show(), $('count').textContent)"
        " + '; ' + (document.querySelector('.card a').click(), $('viewer').open) + ' ' + shown[0].prompt"
    )
    assert "<title>1 of 4; true a whale</title>" in in_browser(page, used)
    order = "($('sort').value = 'total_s', show(), visible.map(image => image.total_s).join())"
    times = sorted(image["total_s"] for image in embedded(page.read_text(encoding="utf-8"))[1]["images"])
    assert f"<title>{','.join(f'{time:g}' for time in times)}</title>" in in_browser(page, order)


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
    assert page.count("<circle") == 5 + 3  # the points, and the runs of the legend
    assert "{{" not in page


def test_nothing_in_common_is_said(cli, runs):
    outcome = cli("compare", "tiles", "hostile")
    assert "hostile and tiles have no picture in common" in outcome.out
    rows = cli("compare", "other", "hostile", "--json").json()["rows"]
    assert [row["compared"] for row in rows] == [None, None]
    assert [row["failed"] for row in rows] == [0, 2]
    assert "PSNR" not in cli("compare", "other", "hostile").out


def test_an_image_that_cannot_be_read_is_named(cli, runs):
    shutil.copytree("other", "damaged")
    receipt = next(iter(RunFolder(Path("damaged")).scan().receipts.values()))
    (runs / "damaged" / receipt.file.path).write_bytes(bytes(receipt.file.bytes))
    path = runs / "damaged" / ".run" / "receipts" / receipt.task.id[:2] / f"{receipt.task.id}.json"
    path.write_text(path.read_text().replace(receipt.file.sha256, "0" * 64))
    result = cli("compare", "other", "damaged", "--json").json()
    assert [row["compared"] for row in result["rows"]] == [None, 1]
    assert any("not compared" in note and Path(receipt.file.path).name in note for note in result["notes"])


def test_mistakes_in_compare(cli, runs):
    assert cli("compare").code == 2
    assert "not a run folder" in cli("compare", "tiles", "elsewhere").err
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


# fetch

REPO = "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers"
MODEL = "grid: {model: sana-1.6b-1k, prompt: a fox, steps: 1}\n"
DEMO = ROOT / "batch" / "models" / "demo"


@pytest.fixture
def hub():
    with serve() as hub:
        yield hub


@pytest.fixture
def away(work, hub):
    """The command line in a process of its own, which may ask the small Hub and has a cache of its own."""

    def call(*arguments, **changes):
        given = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(work / "hub"), "HF_HOME": str(work / "home"),
                 "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_secret", **changes}  # fmt: skip
        hub.requests.clear()
        return subprocess.run(
            [sys.executable, str(ROOT / "run_batch.py"), *arguments], env={**os.environ, **given},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    return call


def with_variant():
    """The demo model as a repository with weights in two precisions, and with files no session needs."""
    files = {"README.md": b"#", "assets/teaser.png": b"png", "transformer/diffusion_pytorch_model.bin": b"pickle"}
    for name, data in folder_files(DEMO).items():
        stem, suffix = name.rsplit(".", 1)
        if suffix == "safetensors":
            files |= {f"{stem}.bf16.{suffix}": data, name: b"twice the size" + data}
        else:
            files[name] = data
    return files


def test_what_is_fetched_renders_offline(away, hub, manifest):
    hub.repos[REPO] = Repo(with_variant())
    path = manifest(MODEL)
    first = away("fetch", path)
    assert first.returncode == 0, first.stderr
    wanted = {name for name in with_variant() if ".bf16." in name or Path(name).suffix == ".json"}
    assert set(hub.downloads()) == wanted
    assert any(token == "Bearer hf_secret" for _, _, token in hub.requests)
    again = away("fetch", path)
    assert "complete, nothing to download" in again.stdout
    assert hub.downloads() == []
    offline = away("fetch", path, HF_HUB_OFFLINE="1")
    assert (offline.returncode, hub.requests) == (0, [])
    run = away("run", path, "--out", "run", "--quiet", HF_HUB_OFFLINE="1")
    assert run.returncode == 0, run.stderr
    (receipt,) = RunFolder(Path("run")).scan().receipts.values()
    assert receipt.task.revision == COMMIT


def test_a_repository_without_the_variant(away, hub, manifest):
    hub.repos[REPO] = Repo(folder_files(DEMO))
    outcome = away("fetch", manifest(MODEL), HF_HUB_CACHE="elsewhere")
    assert outcome.returncode == 0, outcome.stderr
    assert set(hub.downloads()) == set(folder_files(DEMO))


def test_a_disk_that_is_too_small(away, hub, manifest, work):
    hub.repos[REPO] = Repo(folder_files(DEMO), claimed_sizes={"vae/diffusion_pytorch_model.safetensors": 10**17})
    outcome = away("fetch", manifest(MODEL))
    assert outcome.returncode == 2
    assert "93132257.46 GiB" in outcome.stderr
    assert "HF_HOME" in outcome.stderr
    assert hub.downloads() == ["model_index.json"]  # it says which files are needed


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("not there", 2, "is not on the Hub, or it is private"),
        ("gated", 2, "accept its terms"),
        ("broken", 1, "answers 500"),
        ("unreachable", 1, "cannot be reached"),
        ("offline", 2, "HF_HUB_OFFLINE"),
        ("no model", 2, "holds no diffusers model"),
        ("pickles", 2, "safetensors are needed"),
    ],
)
def test_what_the_hub_refuses(away, hub, manifest, what, code, words):
    files = folder_files(DEMO)
    if what == "no model":
        del files["model_index.json"]
    elif what == "pickles":
        files["vae/diffusion_pytorch_model.bin"] = files.pop("vae/diffusion_pytorch_model.safetensors")
    if what != "not there":
        hub.repos[REPO] = Repo(files, gated=what == "gated")
    hub.broken = what == "broken"
    changes = {"unreachable": {"HF_ENDPOINT": "http://127.0.0.1:9"}, "offline": {"HF_HUB_OFFLINE": "1"}}
    outcome = away("fetch", manifest(MODEL), **changes.get(what, {}))
    assert outcome.returncode == code, outcome.stderr
    assert words in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "hf_secret" not in outcome.stdout + outcome.stderr


def test_a_run_without_its_model_and_network_says_so(away, manifest):
    outcome = away("run", manifest(MODEL), HF_ENDPOINT="http://127.0.0.1:9")
    assert outcome.returncode == 1
    assert "cannot be reached" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_local_models_need_nothing(cli, manifest):
    outcome = cli("fetch", manifest())
    assert (outcome.code, outcome.out) == (0, "demo: ships with the program, nothing to download\n")


def test_which_files_are_needed():
    names = ["model_index.json", "x/config.json", "x/m.fp16.safetensors", "x/m.safetensors", "y/config.json",
             "y/m-00001-of-00002.safetensors", "y/m-00002-of-00002.safetensors", "y/m.safetensors.index.json",
             "y/m.bf16-00001-of-00002.safetensors", "y/m.bf16-00002-of-00002.safetensors",
             "y/m.safetensors.index.bf16.json", "z/vocab.txt", "other/m.safetensors"]  # fmt: skip
    shared = {"model_index.json", "x/config.json", "y/config.json", "z/vocab.txt"}
    plain = {name for name in names if name.startswith("y/m-")} | {"y/m.safetensors.index.json"}
    bf16 = {name for name in names if name.startswith("y/m") and "bf16" in name}
    assert needed(names, ["x", "y", "z"], "") == shared | {"x/m.safetensors"} | plain
    assert needed(names, ["x", "y", "z"], "bf16") == shared | {"x/m.safetensors"} | bf16
    assert needed(names, ["x", "y", "z"], "fp16") == shared | {"x/m.fp16.safetensors"} | plain
