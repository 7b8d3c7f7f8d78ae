"""Screenshots of the page of a run that goes on, as docs/report.md shows it.

    python tools/make_live_page.py [FOLDER]

A run of 40 images through the stand-in of the tests, which draws soft shapes, is watched in Chromium:
live-page.png on the way and live-page-over.png at the end, in docs/ or the folder given.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from io import BytesIO
from pathlib import Path

from extras import extra
from PIL import Image

with extra("test"):
    from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from batch.cli.progress import Silent  # noqa: E402
from batch.run import growing, runner  # noqa: E402
from batch.run.options import Options  # noqa: E402
from batch.run.steering import Steering  # noqa: E402
from tests.fake_session import FakeBackend, Fault  # noqa: E402

JOB = """\
name: lighthouses
grid:
  model: demo
  prompt: [a lighthouse at dusk, a lighthouse in a storm, a harbour in the fog, an island with birch trees,
    a rowing boat at dawn]
  seed: 1..8
  steps: 20
  size: 672x384
run: {min_free_disk: 1MB, retries: 1}
"""

FAULTS = (Fault("slow", seconds=0.4), Fault("oom-torch", stage="decode", prompt="a harbour in the fog", seed=2))


def main(out: Path) -> None:
    growing.SOON_S, growing.EVERY_S, growing.SHARE = 0.5, 2.0, 5  # the run is as short as that
    with tempfile.TemporaryDirectory() as name:
        manifest, folder = Path(name, "job.yaml"), Path(name, "run")
        manifest.write_text(JOB, encoding="utf-8")
        options = Options(out=folder, engine="local", backend=FakeBackend(FAULTS), fallback=False)
        run = threading.Thread(target=runner.run, args=(manifest, options, Silent(), Steering()), daemon=True)
        run.start()
        while not (folder / "report.html").exists():
            assert run.is_alive(), "the run has ended without a page"
            time.sleep(0.1)
        with sync_playwright() as driver:
            chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = chromium.new_page(viewport={"width": 1000, "height": 640})
            page.goto((folder / "report.html").as_uri())
            until(page, "data.summary.done >= 20 && run.state === 'rendering'")
            keep(page, out / "live-page.png")
            until(page, "run.state === 'ended'")
            page.evaluate("document.querySelector('#bar').scrollIntoView()")
            page.wait_for_timeout(1_000)
            keep(page, out / "live-page-over.png")
            chromium.close()
        run.join()


def keep(page: Page, path: Path) -> None:
    """A screenshot of 256 colours, which is half as large."""
    with Image.open(BytesIO(page.screenshot())) as image:
        image.convert("RGB").quantize(256).save(path, optimize=True)


def until(page: Page, expression: str) -> None:
    """Wait for what the page's script says: its policy lets no text be run in it, as Playwright's own way does."""
    while not page.evaluate(expression):
        page.wait_for_timeout(100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
