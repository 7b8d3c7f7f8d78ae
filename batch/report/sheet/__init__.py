"""Contact sheets: prompts down, seeds across, one block per model, size and setting.

Made of the thumbnails written beside every image, not of the images: 300 pictures of 16 megapixels
would be 15 GB of pixels. A thumbnail that is gone or torn is made anew, one at a time. Large runs are
paged; a cell that failed or is missing says so, and a picture that was rendered with a smaller memory
setting, or repaired, has a word in its corner.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import atomic
from batch.records.tasks import Task
from batch.report.sheet.blocks import blocks_of, pages_of
from batch.report.sheet.drawing import draw_page
from batch.report.sheet.titles import shared
from batch.report.status import ImageStatus, status_of

if TYPE_CHECKING:
    from batch.store.folder import RunFolder
    from batch.store.receipts import Scan


def write(folder: RunFolder, tasks: Sequence[Task], scan: Scan) -> list[Path]:
    """Write contact_sheet.jpg and, when one page is not enough, contact_sheet-2.jpg and so on.

    None where there is nothing to show: no image of these tasks is done, has failed or was skipped. Of a
    measurement the first repeat stands for all: they are one picture.
    """
    shown = [task for task in tasks if task.repeat in (None, 1) and not task.warmup]
    begun = any(status_of(task, scan) is not ImageStatus.MISSING for task in tasks)
    pages = list(pages_of(blocks_of(shown))) if begun else []
    done = sum(task.id in scan.receipts for task in tasks)
    common = shared(tasks)
    title = f"{folder.name()}: {done} of {len(tasks)} images{f' · {common}' if common else ''}"
    written = []
    for number, blocks in enumerate(pages, start=1):
        path = folder.root / ("contact_sheet.jpg" if number == 1 else f"contact_sheet-{number}.jpg")
        heading = f"{title} · page {number} of {len(pages)}" if len(pages) > 1 else title
        buffer = BytesIO()
        draw_page(blocks, heading, folder, scan).save(buffer, "JPEG", quality=88)
        atomic.write(path, buffer.getvalue(), folder.runner)
        written.append(path)
    for old in folder.root.glob("contact_sheet*.jpg"):
        if re.fullmatch(r"contact_sheet(-\d+)?", old.stem) and old not in written:
            old.unlink(missing_ok=True)
    return written
