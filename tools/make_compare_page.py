"""A screenshot of compare.html, as docs/commands.md shows it.

    python tools/make_compare_page.py [FOLDER]

The demo model renders two prompts with four memory settings. Times and memory of two cards, which are made up, are
put into its receipts (tests/report/two_cards.py); what the settings did to the pixels is real. compare.png is
written to docs/ or the folder given.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from extras import extra
from PIL import Image

with extra("test"):
    from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from batch.cli.main import main as run_batch  # noqa: E402
from tests.report.two_cards import A100, A100_COSTS, FULL, MANIFEST, RTX, RTX_COSTS, on_card, ran_out  # noqa: E402

COSTS = {"rtx-4070": (RTX, RTX_COSTS), "a100": (A100, A100_COSTS)}
WIDTH, HEIGHT = 1240, 1390


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page = compared(folder)
        with sync_playwright() as driver:
            chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            shown = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            shown.goto(page.as_uri())
            with Image.open(BytesIO(shown.screenshot())) as image:
                image.convert("RGB").quantize(256).save(out / "compare.png", optimize=True)
            chromium.close()


def compared(folder: Path) -> Path:
    """The page of both cards; on the smaller one a setting runs out of memory."""
    (folder / "job.yaml").write_text(MANIFEST.replace("steps: 1", "steps: 8"), encoding="utf-8")
    assert run_batch(["run", str(folder / "job.yaml"), "--out", str(folder / "run"), "--quiet"]) == 0
    for name, (machine, costs) in COSTS.items():
        on_card(shutil.copytree(folder / "run", folder / name), machine, costs)
    ran_out(folder / "rtx-4070", FULL)
    assert run_batch(["compare", *(str(folder / name) for name in COSTS), "--out", str(folder / "out")]) == 0
    return folder / "out" / "compare.html"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
