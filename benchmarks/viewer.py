"""What looking at 5376x3072 costs in the viewer of report.html: the wait for a picture, and frames while it moves.

    python benchmarks/viewer.py

Two pictures in each of four formats, in a headless Chromium of 1280x800, which draws on the CPU. *thumbnail*:
until the frame with it; *whole*: until that with the file, for one that nothing has read before; *ahead*: for a
neighbour that was read ahead. Frames: the median and the longest of the time between two of them, while the wheel
goes from the whole picture to 4:1, while a hand drags it at 1:1, and while it drags the border between two, or
their difference. 16.7 ms are 60 frames a second.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from batch.plan.identity import identify
from batch.plan.pins import Pins
from batch.records.receipts import Machine, Measurement, Receipt
from batch.records.tasks import Task
from batch.report.write import write_report
from batch.store.folder import RunFolder
from batch.store.job import Origin
from benchmarks.textures import TEXTURES
from tools.extras import extra

with extra("test"):
    from playwright.sync_api import Page, sync_playwright


FORMATS = ("png", "jpeg", "webp", "avif")

WAIT = """
async id => {
  const begun = performance.now(), frame = () => new Promise(requestAnimationFrame);
  look([data.images.find(image => image.id === id)]);
  await frame(); await frame();
  const small = performance.now() - begun;
  while (document.querySelector('.layer img[src*=thumbs]') || !document.querySelector('.layer img')) await frame();
  await frame();
  return [small, performance.now() - begun];
}"""

FRAMES = """
async ([kind, steps, x, y]) => {
  const stage = document.querySelector(kind === 'border' ? '.border' : '.stage'), box = stage.getBoundingClientRect(), times = [];
  const at = step => ({bubbles: true, pointerId: 1, clientX: box.left + box.width / 2 + x * step, clientY: box.top + box.height / 2 + y * step});
  if (kind !== 'wheel') { stage.setPointerCapture = () => {}; stage.hasPointerCapture = () => true; stage.dispatchEvent(new PointerEvent('pointerdown', at(0))); }
  let last = await new Promise(requestAnimationFrame);
  for (let step = 1; step <= steps; step++) {
    stage.dispatchEvent(kind === 'wheel' ? new WheelEvent('wheel', {...at(0), deltaY: -20, cancelable: true}) : new PointerEvent('pointermove', at(step)));
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }
  stage.dispatchEvent(new PointerEvent('pointerup', at(steps)));
  return times;
}"""  # noqa: E501


def main() -> None:
    titles = "".join(f"{title:>14}" for title in ("wheel", "drag 1:1", "border", "difference"))
    print(f"{'':8}{'thumbnail':>10}{'whole':>8}{'ahead':>8}{titles}")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for format in FORMATS:
            with tempfile.TemporaryDirectory() as root:
                folder = RunFolder(Path(root), "bench")
                ids = filled(folder, format)
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                page.goto((folder.root / "report.html").as_uri())
                row(page, format, ids)
                page.close()
        browser.close()


def row(page: Page, format: str, ids: list[str]) -> None:
    small, first = page.evaluate(WAIT, ids[0])
    page.wait_for_timeout(4000)  # the neighbour is read ahead
    _, second = page.evaluate(WAIT, ids[1])
    wheel = frames(page, ["wheel", 75, 0, 0])
    page.keyboard.press("1")
    page.wait_for_timeout(500)
    drag = frames(page, ["drag", 60, 9, 5])
    page.evaluate("look(data.images)")
    page.wait_for_timeout(4000)
    border = frames(page, ["border", 60, 5, 0])
    page.keyboard.press("d")
    page.wait_for_timeout(1000)
    difference = frames(page, ["drag", 60, -9, -5])
    print(f"{format:8}{small:7.0f} ms{first:5.0f} ms{second:5.0f} ms{wheel}{drag}{border}{difference}", flush=True)


def frames(page: Page, move: list[object]) -> str:
    times = page.evaluate(FRAMES, move)
    return f"{statistics.median(times):7.1f}{max(times):4.0f} ms"


def filled(folder: RunFolder, format: str) -> list[str]:
    """A run of two pictures that differ in their grain."""
    plain = Task(
        model="demo", revision="r", dtype="float32", prompt="a photograph", seed=0, width=5376, height=3072,
        rendered_width=5376, rendered_height=3072, steps=20, guidance=5.0, format=format,
    )  # fmt: skip
    tasks = [identify(replace(plain, seed=seed)) for seed in range(2)]
    tasks = [replace(task, name=task.id) for task in tasks]
    folder.begin("bench", "render", Origin(), tasks, Pins())
    for task in tasks:
        file = folder.save_image(task, replace(TEXTURES["textured"], seed=task.seed).draw())
        folder.commit(
            Receipt(task=task, file=file, measurement=Measurement(), machine=Machine(), attempts=1, started_at="")
        )
    write_report(folder)
    return [task.id for task in tasks]


if __name__ == "__main__":
    main()
