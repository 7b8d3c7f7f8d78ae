"""The contact sheets that docs/run-folder.md shows: settings, letters, levels, and one that grows.

    python tools/make_sheets.py [FOLDER [NAME…]]

They are sheet-settings.jpg, sheet-letters.jpg, sheet-levels.jpg and sheet-growing.jpg, in docs/ or the folder
given. The demo model renders those that it knows the words of, and the stand-in of the tests draws soft shapes for
the others. Letters beyond those of the font that comes with the program need fonts for them (Noto Sans CJK, Noto
Color Emoji).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from batch.cli.progress import Silent  # noqa: E402
from batch.render.diffusers_backend import Diffusers  # noqa: E402
from batch.report.sheet import chosen  # noqa: E402
from batch.report.sheet.chosen import Choice  # noqa: E402
from batch.run import runner  # noqa: E402
from batch.run.limits import Limits  # noqa: E402
from batch.run.options import Options  # noqa: E402
from batch.run.steering import Steering  # noqa: E402
from batch.store.folder import RunFolder  # noqa: E402
from tests.fake_session import FakeBackend, Fault  # noqa: E402

if TYPE_CHECKING:
    from batch.render.backend import Backend

RUN = "run: {min_free_disk: 10MB, retries: 1, batch: 1}\n"


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A job, and how its sheet is arranged."""

    job: str
    choice: Choice = field(default_factory=lambda: Choice(cell=128))
    backend: Backend = field(default_factory=Diffusers)
    most: int | None = None
    """Images after which the run stops."""


SHEETS = {
    "settings": Sheet(
        job="""\
name: settings
grid:
  model: demo
  prompt: a yellow star on a blue background
  seed: 3
  steps: [2, 4, 8]
  guidance: [1.0, 2.0, 4.0, 8.0]
  size: 672x384
"""
    ),
    "letters": Sheet(
        job="""\
name: letters
grid:
  model: demo
  prompt:
    - a cat with 富士山, 8K
    - قطة تحت المطر, 35 mm (صورة)
    - 🧑‍🚀 and a 🦊 under a 🇯🇵 flag
    - Fuß im Grünen, ещё раз, ένα σπίτι
  seed: 1..6
  steps: 1
  size: 672x384
""",
        backend=FakeBackend(),
    ),
    "levels": Sheet(
        job="""\
name: styles
grid:
  model: demo
  prompt: [a yellow star, a red heart]
  style: [blue, pink, night]
  seed: [1, 2]
  size: [512x512, 384x672]
styles:
  blue: '{prompt} on a blue background'
  pink: '{prompt} on a pink background'
  night: '{prompt} at night'
""",
        choice=Choice(cell=112, rows=("prompt", "seed"), columns=("size", "style")),
    ),
    "growing": Sheet(
        job="""\
name: night
grid:
  model: demo
  prompt: [a lighthouse at dusk, a harbour in the fog, a rowing boat at dawn, an island with birch trees]
  seed: 1..6
  steps: [1, 2, 3, 4]
  size: 672x384
""",
        backend=FakeBackend((Fault("error", seed=3),)),
        most=34,
    ),
}


def main(to: Path, names: Sequence[str] = tuple(SHEETS)) -> None:
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            path = made(SHEETS[name], Path(scratch))
            shutil.copyfile(path, to / f"sheet-{name}.jpg")
        with Image.open(to / f"sheet-{name}.jpg") as image:
            size = (to / f"sheet-{name}.jpg").stat().st_size
            print(f"sheet-{name}.jpg: {image.width}x{image.height}, {size / 1000:.0f} kB")


def made(sheet: Sheet, scratch: Path) -> Path:
    """Render the job, and write its sheet on one page."""
    (scratch / "job.yaml").write_text(sheet.job + RUN, encoding="utf-8")
    options = Options(
        backend=sheet.backend, out=scratch / "run", engine="local", limits=Limits(max_images=sheet.most)
    )
    runner.run(scratch / "job.yaml", options, Silent(), Steering())
    folder = RunFolder(scratch / "run")
    (page,) = chosen.write(folder, folder.scan(), sheet.choice).paths
    return page


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs", sys.argv[2:] or tuple(SHEETS))
