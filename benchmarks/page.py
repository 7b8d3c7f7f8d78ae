"""How soon report.html of many images shows its pictures and answers, in headless Chromium from disk.

    python benchmarks/page.py [IMAGES…]

Renders nothing: the page of 300, 1,000 and 5,000 images (or as many as asked) is written, forty seeds a prompt,
every twentieth of them failed. Seconds from the call for the page until the first cards are painted, and until
the first cells of the grid are; and until the page has painted its answer to a word in the filter, to an order, to
other rows and columns. Medians of three. Needs Playwright and a Chromium.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.report.many import seeds_of_prompts, written
from tests.report.pages import BROWSER
from tools.extras import extra

with extra("test"):
    from playwright.sync_api import Browser, sync_playwright


TIMES, SEEDS = 3, 40

PAINTED = "new Promise(done => requestAnimationFrame(() => setTimeout(done)))"

OPENED = {
    "gallery": ("", "document.querySelectorAll('.card').length >= 8"),
    "grid": ("#show=grid", "document.querySelectorAll('.grid-cell').length >= 8"),
}
"""What is opened: what its address ends with, and what is there then."""

CHANGES = {
    "filter": {"find": "dawn seed:1..20"},
    "sort": {"find": "", "sort": "total_s", "down": "1"},
    "to grid": {"sort": "", "down": "", "show": "grid"},
    "grid filter": {"find": "-seed:3"},
    "swap": {"find": "", "rows": "seed", "columns": "prompt"},
}
"""What is chosen, one after the other, on the page opened as a gallery."""


def main(images: int) -> None:
    with tempfile.TemporaryDirectory() as root, sync_playwright() as driver:
        page = written(Path(root), seeds_of_prompts(-(-images // SEEDS), SEEDS)[:images], failed=20)
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        times = [measured(browser, page.as_uri()) for _ in range(TIMES)]
        browser.close()
    cells = " ".join(f"{name} {statistics.median(run[name] for run in times):5.2f} s" for name in times[0])
    print(f"{images:6} images: {cells}")


def measured(browser: Browser, address: str) -> dict[str, float]:
    """Seconds, by what was waited for."""
    found = {}
    for name, (end, there) in OPENED.items():
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        start = time.monotonic()
        page.goto(address + end, wait_until="commit")
        while not page.evaluate(there):
            time.sleep(0.01)
        page.evaluate(PAINTED)
        found[name] = time.monotonic() - start
        if name == "gallery":
            for change, values in CHANGES.items():
                found[change] = page.evaluate(f"""async values => {{
                    const start = performance.now();
                    set(values);
                    await {PAINTED};
                    return (performance.now() - start) / 1000;
                }}""", values)  # fmt: skip
        page.close()
    return found


if __name__ == "__main__":
    for count in map(int, sys.argv[1:] or ("300", "1000", "5000")):
        main(count)
