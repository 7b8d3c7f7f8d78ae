"""The tables of a contact sheet: which pictures belong into one, how large it is, and how pages are filled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from batch.base.text import plural
from batch.records.tasks import Task
from batch.report.images import loras_of
from batch.report.sheet import titles
from batch.report.sheet.lettering import wrapped

MAX_SIDE = 16_000
"""Viewers and formats stop at 16,383 (WebP) or 65,500 (JPEG) pixels a side."""
MAX_HEIGHT = 5_000
"""A page stays below Pillow's 89-megapixel bomb warning, and a browser scrolls it without trouble."""

MOST_EMPTY = 12
"""Blocks without any picture that have a line of their own; of more a line says how many."""

MAX_SEED_GROUPS = 6
"""A grid with more different sets of seeds than this has holes, or a set for every prompt: it stays one table."""

CELL = 256
GAP = 8
MARGIN = 24
LABEL_WIDTH = 280
COLUMN_GAP = 40
"""Between tables side by side, so that a label is seen to belong to the picture on its right."""
TEXT_SIZE = 15
TITLE_SIZE = 26
BLOCK_TITLE_SIZE = TITLE_SIZE - 6
NARROWEST = 800
"""Pixels across of a page beside its margins."""
TARGET_WIDTH = 2_400
"""Narrow blocks (one or two seeds) are set in columns side by side up to about this width."""


@dataclass(slots=True)
class Block:
    """A table of one setting: its rows are prompts, its columns seeds. Lengths are in pixels."""

    title: str
    prompts: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    cells: dict[tuple[str, int], Task] = field(default_factory=dict)
    counted: bool = False
    """Every prompt has seeds of its own: the columns are its first, its second, and so on."""
    left: int = 0
    """Prompts of the block that have no row yet."""

    def part(self, prompts: list[str], seeds: list[int], suffix: str = "", left: int = 0) -> Block:
        """Some of its rows and columns; the suffix goes on in its title."""
        return Block(self.title + suffix, prompts, seeds, self.cells, self.counted, left)

    def left_line(self) -> str:
        """What stands below the rows, where there are more to come."""
        return f"{plural(self.left, 'prompt')} of this table not rendered yet" if self.left else ""

    def label(self, prompt: str) -> str:
        """What stands beside a row: the prompt, and its seeds where no column names them."""
        if not self.counted:
            return prompt
        seeds = [str(self.cells[prompt, column].seed) for column in self.seeds if (prompt, column) in self.cells]
        return f"seed {', '.join(seeds[:2])}{' …' if len(seeds) > 2 else ''} · {prompt}"

    def cell_size(self) -> tuple[int, int]:
        """Width and height of a picture."""
        task = next(iter(self.cells.values()))
        scale = CELL / max(task.width, task.height)
        return max(48, round(task.width * scale)), max(48, round(task.height * scale))

    def columns(self) -> int:
        """How many times the table stands side by side."""
        return max(1, min(len(self.prompts), TARGET_WIDTH // self.table_width()))

    def rows(self) -> int:
        """How many prompts stand below one another."""
        return -(-len(self.prompts) // self.columns())

    def table_width(self) -> int:
        """Of one of the tables side by side."""
        return LABEL_WIDTH + len(self.seeds) * (self.cell_size()[0] + GAP) + COLUMN_GAP

    def row_height(self) -> int:
        """From one row to the next."""
        return self.cell_size()[1] + GAP

    def width(self) -> int:
        """Of all tables side by side."""
        return self.table_width() * self.columns()

    def title_lines(self) -> list[str]:
        """As many lines as the title needs beside the table or a narrow page."""
        return wrapped(self.title, max(self.width(), NARROWEST), BLOCK_TITLE_SIZE)

    def title_height(self) -> int:
        """From the line above the block to its seeds."""
        return len(self.title_lines()) * TITLE_SIZE + 3 * GAP

    def height(self) -> int:
        """Of all of it, the space below included."""
        return self.rows_height() + (TEXT_SIZE + GAP if self.left else 0) + 2 * GAP

    def rows_height(self) -> int:
        """From the line above the block to the end of its last row."""
        return self.title_height() + TEXT_SIZE + GAP + self.rows() * self.row_height()


def blocks_of(tasks: Sequence[Task]) -> list[Block]:
    """A block for each setting, and where prompts have seeds of their own one for each set of seeds."""
    names, extras, loras = titles.varying(tasks), titles.varying_extras(tasks), loras_of(tasks)
    blocks: dict[tuple[str, ...], Block] = {}
    # Prompts in the order of the manifest's lines, small before large: not in the order of rendering.
    for task in sorted(tasks, key=_written_order):
        # By value, since two settings may have one title; as text, since 2 and 2.0 are two settings.
        values = tuple(repr(getattr(task, name)) for name in names)
        if values not in blocks:
            blocks[values] = Block(titles.title(task, names or titles.ALONE, extras, loras(task)))
        blocks[values].cells[task.prompt, task.seed] = task
    for block in blocks.values():
        block.prompts = list(dict.fromkeys(prompt for prompt, _ in block.cells))
        block.seeds = list(dict.fromkeys(seed for _, seed in block.cells))
    return [part for block in blocks.values() for part in _by_seeds(block)]


def _written_order(task: Task) -> tuple[str, int, int, int, float]:
    path, _, line = task.source.rpartition(":")
    return path, int(line) if line.isdigit() else 0, task.width * task.height, task.steps, task.guidance


def _by_seeds(block: Block) -> list[Block]:
    """A block for each set of seeds, where prompts have seeds of their own: else columns stand empty."""
    columns = {seed: number for number, seed in enumerate(block.seeds)}
    own: dict[str, list[int]] = {}
    for prompt, seed in block.cells:
        own.setdefault(prompt, []).append(seed)
    groups: dict[tuple[int, ...], list[str]] = {}
    for prompt, seeds in own.items():
        groups.setdefault(tuple(sorted(seeds, key=columns.__getitem__)), []).append(prompt)
    if 1 < len(groups) <= MAX_SEED_GROUPS:
        return [block.part(prompts, list(seeds)) for seeds, prompts in groups.items()]
    # More than half empty: a column for every seed would be a page for every few pictures.
    if 2 * len(block.cells) < len(block.prompts) * len(block.seeds):
        return [_counted(block, own)]
    return [block]


def _counted(block: Block, own: Mapping[str, Sequence[int]]) -> Block:
    numbered = {prompt: list(enumerate(seeds, start=1)) for prompt, seeds in own.items()}
    cells = {
        (prompt, number): block.cells[prompt, seed] for prompt, seeds in numbered.items() for number, seed in seeds
    }
    columns = list(range(1, max(map(len, own.values())) + 1))
    return Block(block.title, block.prompts, columns, cells, counted=True)


def begun_of(blocks: Sequence[Block], begun: Callable[[Task], bool]) -> list[Block]:
    """The blocks with those rows alone in which an image was begun; the others are counted in ``left``."""
    found: list[Block] = []
    empty: list[Block] = []
    for block in blocks:
        prompts = {prompt for (prompt, _), task in block.cells.items() if begun(task)}
        rows = [prompt for prompt in block.prompts if prompt in prompts]
        seeds = block.seeds if rows else block.seeds[:1]
        (found if rows else empty).append(block.part(rows, seeds, left=len(block.prompts) - len(rows)))
    if len(empty) > MOST_EMPTY:
        others = Block(f"{len(empty)} more settings", seeds=empty[0].seeds, cells=empty[0].cells)
        others.left = sum(block.left for block in empty)
        empty = [others]
    return [*found, *empty]


def pages_of(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Blocks cut to fit, gathered into pages."""
    page: list[Block] = []
    height = 0
    for part in (part for block in blocks for part in _cut(block)):
        if page and height + part.height() > MAX_HEIGHT:
            yield page
            page, height = [], 0
        page.append(part)
        height += part.height()
    if page:
        yield page


def _cut(block: Block) -> Iterator[Block]:
    """Parts of a block that are no wider and no higher than a page."""
    across = max(1, (MAX_SIDE - 2 * MARGIN - LABEL_WIDTH) // (block.cell_size()[0] + GAP))
    for left in range(0, len(block.seeds), across):
        seeds = block.seeds[left : left + across]
        part = block.part(block.prompts, seeds, f" · seeds {seeds[0]} …" if len(block.seeds) > across else "")
        down = max(1, (MAX_HEIGHT - 200) // block.row_height()) * part.columns()
        for top in range(0, max(1, len(block.prompts)), down):
            prompts = block.prompts[top : top + down]
            more = f" · prompts {top + 1} to {top + len(prompts)}" if len(block.prompts) > down else ""
            is_last = left + across >= len(block.seeds) and top + down >= len(block.prompts)
            yield part.part(prompts, seeds, more, block.left if is_last else 0)
