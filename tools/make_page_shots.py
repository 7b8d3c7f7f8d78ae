"""Screenshots of report.html, as docs/report.md shows it.

    python tools/make_page_shots.py [FOLDER]

A small job is rendered with the model that ships, about a minute on two cores, and its page is looked at in
Chromium: page-gallery.png, page-grid.png, page-viewer.png, page-compare.png and page-charts.png, in docs/ or the
folder given.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from extras import extra
from make_live_page import ROOT, keep, until

with extra("test"):
    from playwright.sync_api import Page, sync_playwright

from batch.cli.progress import Silent
from batch.run import runner
from batch.run.options import Options
from batch.run.steering import Steering

JOB = """\
name: shapes
grid:
  model: demo
  prompt: [a yellow star on a blue background, an orange house at night,
    a red heart and a white circle on a green background]
  seed: 0
  steps: [2, 4, 8, 16]
  size: 512x512
run: {min_free_disk: 1MB}
"""


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        manifest, folder = Path(name, "job.yaml"), Path(name, "run")
        manifest.write_text(JOB, encoding="utf-8")
        runner.run(manifest, Options(out=folder, engine="local"), Silent(), Steering())
        with sync_playwright() as driver:
            chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = chromium.new_page(viewport={"width": 1100, "height": 700})
            _look_around(page, (folder / "report.html").as_uri(), out)
            chromium.close()


def _look_around(page: Page, address: str, out: Path) -> None:
    """A picture of each part. A part of the address is read when the page is opened."""
    for name, part in {"gallery": "", "grid": "show=grid", "charts": "part=costs"}.items():
        page.goto("about:blank")
        page.goto(f"{address}#{part}")
        page.wait_for_timeout(1_000)
        if name == "charts":
            page.locator("#plot").focus()
            page.evaluate("document.getElementById('timeline').scrollIntoView()")
        keep(page, out / f"page-{name}.png")
    page.goto("about:blank")
    page.goto(address)
    page.locator("a.picture").first.click()
    until(page, "$('viewer').open")
    page.wait_for_timeout(1_000)
    keep(page, out / "page-viewer.png")
    page.keyboard.press("c")
    page.wait_for_timeout(500)
    keep(page, out / "page-compare.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
