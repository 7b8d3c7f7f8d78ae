"""Contact sheets: prompts down, seeds across, one block per model, size and setting.

Made of the thumbnails written beside every image, not of the images: 300 pictures of 16 megapixels
would be 15 GB of pixels. A thumbnail that is gone or torn is made anew, one at a time. Large runs are
paged; a cell that failed or is missing says so, and a picture that was rendered with a smaller memory
setting, or repaired, has a word in its corner.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from batch.base import atomic
from batch.records import ErrorKind, Task
from batch.report import table
from batch.store.folder import RunFolder
from batch.store.receipts import Scan

MAX_SIDE = 16_000
"""Viewers and formats stop at 16,383 (WebP) or 65,500 (JPEG) pixels a side."""
MAX_HEIGHT = 5_000
"""A page stays below Pillow's 89-megapixel bomb warning, and a browser scrolls it without trouble."""

MAX_SEED_GROUPS = 6
"""A grid with more different sets of seeds than this has holes, not sets: it stays one table."""

CELL = 256
GAP = 8
MARGIN = 24
LABEL_WIDTH = 280
COLUMN_GAP = 40
"""Between tables side by side, so that a label is seen to belong to the picture on its right."""
TEXT_SIZE = 15
TITLE_SIZE = 26
NARROWEST = 800
"""Pixels across of a page beside its margins."""
TARGET_WIDTH = 2_400
"""Narrow blocks (one or two seeds) are set in columns side by side up to about this width."""

_PAPER, _INK, _MUTED = (250, 250, 248), (30, 30, 34), (110, 110, 116)
_DEGRADED = (138, 90, 0)
_FAILED, _MISSING = (190, 40, 40), (225, 225, 222)

_WIDE_FONTS = (
    "NotoSans-Regular.ttf", "segoeui.ttf", "arial.ttf", "Arial Unicode.ttf", "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc", "DroidSansFallbackFull.ttf", "msyh.ttc", "msgothic.ttc", "malgun.ttf", "PingFang.ttc",
    "Hiragino Sans GB.ttc", "DejaVuSans.ttf",
)  # fmt: skip

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(slots=True)
class _Block:
    """A table of one setting: its rows are prompts, its columns seeds."""

    title: str
    prompts: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    cells: dict[tuple[str, int], Task] = field(default_factory=dict)

    def part(self, prompts: list[str], seeds: list[int], suffix: str) -> _Block:
        return _Block(self.title + suffix, prompts, seeds, self.cells)

    def cell_size(self) -> tuple[int, int]:
        task = next(iter(self.cells.values()))
        scale = CELL / max(task.width, task.height)
        return max(48, round(task.width * scale)), max(48, round(task.height * scale))

    def columns(self) -> int:
        """How many times the table stands side by side."""
        return max(1, min(len(self.prompts), TARGET_WIDTH // self.table_width()))

    def table_width(self) -> int:
        return LABEL_WIDTH + len(self.seeds) * (self.cell_size()[0] + GAP) + COLUMN_GAP

    def row_height(self) -> int:
        return self.cell_size()[1] + GAP

    def width(self) -> int:
        return self.table_width() * self.columns()

    def title_lines(self) -> list[str]:
        """As many lines as the title needs beside the table or a narrow page."""
        return _wrapped(self.title, max(self.width(), NARROWEST), TITLE_SIZE - 6)

    def title_height(self) -> int:
        return len(self.title_lines()) * TITLE_SIZE + 3 * GAP

    def height(self) -> int:
        rows = -(-len(self.prompts) // self.columns())
        return self.title_height() + TEXT_SIZE + GAP + rows * self.row_height() + 2 * GAP


def write(folder: RunFolder, tasks: Sequence[Task], scan: Scan) -> list[Path]:
    """Write contact_sheet.jpg and, when one page is not enough, contact_sheet-2.jpg and so on.

    None where there is nothing to show: no image of these tasks is done, has failed or was skipped.
    """
    begun = any(task.id in found for task in tasks for found in (scan.receipts, scan.failures, scan.skipped))
    pages = list(_pages(_blocks([task for task in tasks if _is_shown(task)]))) if begun else []
    written = []
    done = sum(task.id in scan.receipts for task in tasks)
    title = f"{folder.name()}: {done} of {len(tasks)} images{_shared(tasks)}"
    for number, blocks in enumerate(pages, start=1):
        path = folder.root / ("contact_sheet.jpg" if number == 1 else f"contact_sheet-{number}.jpg")
        heading = f"{title} · page {number} of {len(pages)}" if len(pages) > 1 else title
        buffer = BytesIO()
        _draw(blocks, heading, folder, scan).save(buffer, "JPEG", quality=88)
        atomic.write(path, buffer.getvalue(), folder.runner)
        written.append(path)
    for old in (folder.root / "contact_sheet.jpg", *folder.root.glob("contact_sheet-*.jpg")):
        if old not in written:
            old.unlink(missing_ok=True)
    return written


def _is_shown(task: Task) -> bool:
    """Of a measurement the first repeat stands for all: they are one picture."""
    return task.repeat in (None, 1) and not task.warmup


def _blocks(tasks: Sequence[Task]) -> list[_Block]:
    names, extras, loras = _varying(tasks), _varying_extras(tasks), table.loras_of(tasks)
    blocks: dict[tuple[Any, ...], _Block] = {}
    # Prompts in the order of the manifest's lines, small before large: not in the order of rendering.
    for task in sorted(tasks, key=_written_order):
        # By value, since two settings may have one title; as text, since 2 and 2.0 are two settings.
        values = tuple(repr(getattr(task, name)) for name in names)
        if values not in blocks:
            blocks[values] = _Block(_title(task, names or _ALONE, extras, loras))
        blocks[values].cells[task.prompt, task.seed] = task
    for block in blocks.values():
        block.prompts = list(dict.fromkeys(prompt for prompt, _ in block.cells))
        block.seeds = list(dict.fromkeys(seed for _, seed in block.cells))
    return [part for block in blocks.values() for part in _by_seeds(block)]


def _by_seeds(block: _Block) -> list[_Block]:
    """A block for each set of seeds, where prompts have seeds of their own: else columns stand empty."""
    columns = {seed: number for number, seed in enumerate(block.seeds)}
    own: dict[str, list[int]] = {}
    for prompt, seed in block.cells:
        own.setdefault(prompt, []).append(seed)
    groups: dict[tuple[int, ...], list[str]] = {}
    for prompt, seeds in own.items():
        groups.setdefault(tuple(sorted(seeds, key=columns.__getitem__)), []).append(prompt)
    if not 1 < len(groups) <= MAX_SEED_GROUPS:
        return [block]
    return [block.part(prompts, list(some), "") for some, prompts in groups.items()]


def _written_order(task: Task) -> tuple[Any, ...]:
    return (_natural(task.source), task.width * task.height, task.steps, task.guidance)


def _natural(source: str) -> tuple[str, int]:
    path, _, line = source.rpartition(":")
    return path, int(line) if line.isdigit() else 0


_SHOWN = (
    "model",
    "size",
    "steps",
    "guidance",
    "scheduler",
    "memory",
    "dtype",
    "loras",
    "extra",
    "negative_prompt",
)


_WORDS = {"loras": "lora", "negative_prompt": "negative prompt"}

_ALONE = ("model", "size")
"""What the only block is called by; above several the sheet's own heading says what they share."""


def _varying(tasks: Sequence[Task]) -> list[str]:
    """What tells the blocks apart."""
    first = {name: getattr(tasks[0], name) for name in _SHOWN} if tasks else {}
    differing = {name for task in tasks for name in _SHOWN if _differs(getattr(task, name), first[name])}
    if len({(task.prompt, task.negative_prompt) for task in tasks}) == len({task.prompt for task in tasks}):
        differing.discard("negative_prompt")  # it goes with the prompt, as from a style: a row says it
    return [name for name in _SHOWN if name in differing]


def _differs(value: Any, other: Any) -> bool:
    return bool(value is not other and (value != other or repr(value) != repr(other)))


def _varying_extras(tasks: Sequence[Task]) -> list[str]:
    """The extra arguments that have several values, "not given" being one."""
    values: dict[str, set[str]] = {}
    found = [dict(extra) for extra in {repr(task.extra): task.extra for task in tasks}.values()]
    for extra in found:
        for name, value in extra.items():
            values.setdefault(name, set()).add(repr(value))
    return [name for name, some in values.items() if len(some) > 1 or any(name not in extra for extra in found)]


def _shared(tasks: Sequence[Task]) -> str:
    """What all pictures have in common and nothing else on the sheet says."""
    if not tasks:
        return ""
    varying = _varying(tasks)
    named = _ALONE if varying else ()
    names = [name for name in (*named, "steps", "guidance", "scheduler", "memory") if name not in varying]
    return f" · {_title(tasks[0], names)}" if names else ""


def _title(
    task: Task,
    varying: Sequence[str],
    extras: Sequence[str] = (),
    loras: Callable[[Task], str] = lambda _task: "",
) -> str:
    parts = []
    for name in varying:
        value = getattr(task, name)
        if name == "loras":
            value = loras(task)
        elif name == "extra":
            given = dict(value)
            parts += [f"{key} {given[key]}" if key in given else f"without {key}" for key in extras]
            continue
        elif name in ("scheduler", "negative_prompt"):
            value = value or ("default" if name == "scheduler" else "none")
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        parts.append(shown if name in _ALONE else f"{_WORDS.get(name, name)} {shown}")
    return " · ".join(parts)


def _pages(blocks: Sequence[_Block]) -> Iterator[list[_Block]]:
    """Blocks cut to fit, gathered into pages."""
    page: list[_Block] = []
    height = 0
    for part in (part for block in blocks for part in _cut(block)):
        if page and height + part.height() > MAX_HEIGHT:
            yield page
            page, height = [], 0
        page.append(part)
        height += part.height()
    if page:
        yield page


def _cut(block: _Block) -> Iterator[_Block]:
    across = max(1, (MAX_SIDE - 2 * MARGIN - LABEL_WIDTH) // (block.cell_size()[0] + GAP))
    for left in range(0, len(block.seeds), across):
        seeds = block.seeds[left : left + across]
        part = block.part(block.prompts, seeds, f" · seeds {seeds[0]} …" if len(block.seeds) > across else "")
        down = max(1, (MAX_HEIGHT - 200) // block.row_height()) * part.columns()
        for top in range(0, len(block.prompts), down):
            prompts = block.prompts[top : top + down]
            more = f" · prompts {top + 1} to {top + len(prompts)}" if len(block.prompts) > down else ""
            yield part.part(prompts, seeds, more)


def _draw(blocks: Sequence[_Block], heading: str, folder: RunFolder, scan: Scan) -> Image.Image:
    width = max([block.width() for block in blocks] + [NARROWEST]) + 2 * MARGIN
    lines = _wrapped(heading, width - 2 * MARGIN, TITLE_SIZE)
    top = MARGIN + len(lines) * (TITLE_SIZE + GAP) + 2 * GAP
    page = Image.new("RGB", (width, top + sum(block.height() for block in blocks) + MARGIN), _PAPER)
    draw = ImageDraw.Draw(page)
    for index, line in enumerate(lines):
        _text(draw, (MARGIN, MARGIN + index * (TITLE_SIZE + GAP)), line, TITLE_SIZE, _INK)
    for block in blocks:
        _draw_block(page, draw, block, top, folder, scan)
        top += block.height()
    return page


@lru_cache(maxsize=4096)
def _wrapped(text: str, width: int, size: int, between: str = " · ") -> list[str]:
    """The text in lines, broken between its parts. One that is too long is cut; a word goes on below."""
    lines: list[str] = []
    for part in text.split(between):
        longer = f"{lines[-1]}{between}{part}" if lines else part
        if lines and _length(longer, size) <= width:
            lines[-1] = longer
        else:
            lines += _broken(part, width, size) if between == " " else [_fitting(part, width, size)]
    return lines


def _length(text: str, size: int) -> float:
    return _font_for(text, size).getlength(text)


def _broken(word: str, width: int, size: int) -> list[str]:
    """A word, or a whole text in a script without spaces, in lines as long as they may be."""
    lines = [""]
    for letter in word:
        if lines[-1] and _length(lines[-1] + letter, size) > width:
            lines.append("")
        lines[-1] += letter
    return lines


def _fitting(text: str, width: int, size: int) -> str:
    """The text, cut where it would run off the page."""
    font = _font_for(text, size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text} …") > width:
        text = text[: -max(1, len(text) // 20)]
    return f"{text} …"


def _draw_block(
    page: Image.Image, draw: ImageDraw.ImageDraw, block: _Block, top: int, folder: RunFolder, scan: Scan
) -> None:
    draw.line([(MARGIN, top), (page.width - MARGIN, top)], fill=_MISSING, width=2)
    for index, line in enumerate(block.title_lines()):
        _text(draw, (MARGIN, top + GAP + index * TITLE_SIZE), line, TITLE_SIZE - 6, _INK)
    top += block.title_height()
    cell_width, cell_height = block.cell_size()
    rows = -(-len(block.prompts) // block.columns())
    for column in range(block.columns()):
        left = MARGIN + column * block.table_width()
        prompts = block.prompts[column * rows : (column + 1) * rows]
        for index, seed in enumerate(block.seeds if prompts else []):
            x = left + LABEL_WIDTH + index * (cell_width + GAP)
            _text(draw, (x, top), f"seed {seed}", TEXT_SIZE, _MUTED)
        for row, prompt in enumerate(prompts):
            y = top + TEXT_SIZE + GAP + row * block.row_height()
            _label(draw, (left, y), prompt, cell_height)
            for index, seed in enumerate(block.seeds):
                x = left + LABEL_WIDTH + index * (cell_width + GAP)
                task = block.cells.get((prompt, seed))
                if task is not None:
                    _cell(page, draw, (x, y), (cell_width, cell_height), task, folder, scan)


def _label(draw: ImageDraw.ImageDraw, at: tuple[int, int], prompt: str, height: int) -> None:
    lines = _wrapped(" ".join(prompt.split()), LABEL_WIDTH - 2 * GAP, TEXT_SIZE, between=" ")
    fitting = max(1, height // (TEXT_SIZE + 5))
    if len(lines) > fitting:
        lines = [*lines[: fitting - 1], _fitting(f"{lines[fitting - 1]} …", LABEL_WIDTH - 2 * GAP, TEXT_SIZE)]
    for index, line in enumerate(lines):
        _text(draw, (at[0], at[1] + index * (TEXT_SIZE + 5)), line, TEXT_SIZE, _INK)


def _cell(
    page: Image.Image,
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    size: tuple[int, int],
    task: Task,
    folder: RunFolder,
    scan: Scan,
) -> None:
    box = (at[0], at[1], at[0] + size[0], at[1] + size[1])
    if task.id in scan.receipts:
        receipt = scan.receipts[task.id]
        thumb = _thumbnail(folder.thumb_path(task.id), size)
        if thumb is None and folder.remake_thumb(receipt):
            thumb = _thumbnail(folder.thumb_path(task.id), size)
        if thumb is not None:
            page.paste(thumb, at)
            _badge(draw, box, "degraded" if receipt.degraded_from else "repaired" if receipt.repaired else "")
            return
        page.paste(_box(size, "done (no thumbnail)", _MUTED), at)
    elif task.id in scan.failures:
        error = scan.failures[task.id].error
        word = "invalid" if error.kind == ErrorKind.INVALID else "failed"
        page.paste(_box(size, f"{word}: {error.stage}\n{error.kind}\n{error.message}", _FAILED), at)
    elif task.id in scan.skipped:
        page.paste(_box(size, f"skipped\n{scan.skipped[task.id]}", _MUTED), at)
    else:
        page.paste(_box(size, "missing", _MUTED), at)


def _badge(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], word: str) -> None:
    """A word in the lower left corner of a picture, where there is one."""
    if word:
        place = (box[0] + 8, box[3] - 8)
        font = _font_for(word, TEXT_SIZE - 2)
        left, top, right, bottom = draw.textbbox(place, word, font=font, anchor="ls")
        draw.rectangle((left - 4, top - 4, right + 4, bottom + 4), fill=_PAPER)
        draw.text(place, word, fill=_DEGRADED, font=font, anchor="ls")


def _thumbnail(path: Path, size: tuple[int, int]) -> Image.Image | None:
    try:
        with Image.open(path) as image:
            return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    except (OSError, UnidentifiedImageError, ValueError):
        return None


@lru_cache(maxsize=64)
def _box(size: tuple[int, int], text: str, colour: tuple[int, int, int]) -> Image.Image:
    """A cell without a picture: thousands of them say the same."""
    box = Image.new("RGB", (size[0] + 1, size[1] + 1))
    draw = ImageDraw.Draw(box)
    draw.rectangle((0, 0, *size), outline=colour, width=2, fill=(240, 238, 236))
    per_line = max(6, (size[0] - 2 * GAP) // 8)
    lines = [piece for line in text.split("\n") for piece in textwrap.wrap(line, per_line)]
    for index, line in enumerate(lines[: max(1, (size[1] - GAP) // 20)]):
        _text(draw, (GAP, GAP + index * 20), line, TEXT_SIZE, colour)
    return box


def _text(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, colour: tuple[int, int, int]
) -> None:
    draw.text(at, text, fill=colour, font=_font_for(text, size))


def _font_for(text: str, size: int) -> Font:
    """Pillow's own font, which has little more than ASCII, or the first of the system's with every letter.

    Where no font has them all (Chinese on a machine without one), the last that is there shows boxes.
    """
    fonts = _fonts(size)
    if text.isascii():
        return fonts[0]
    return next((font for font in fonts if _covers(font, text)), fonts[-1])


def _covers(font: Font, text: str) -> bool:
    missing = bytes(font.getmask("\uffff"))
    return all(bytes(font.getmask(letter)) != missing for letter in set(text) if not letter.isspace())


@cache
def _fonts(size: int) -> tuple[Font, ...]:
    found: list[Font] = [ImageFont.load_default(size)]
    for name in _WIDE_FONTS:
        with suppress(OSError):
            found.append(ImageFont.truetype(name, size))
    return tuple(found)
