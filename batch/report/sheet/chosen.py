"""A contact sheet as somebody wants it, beside the one of every run: other axes, cells, formats, pages."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from batch.base import atomic
from batch.base.errors import UserError
from batch.base.text import plural
from batch.report.order import place_by
from batch.report.sheet import files
from batch.report.sheet.drawing import draw_page, page_size
from batch.report.sheet.layout import TARGET_WIDTH, USUAL_CELL, Paper, letters_for
from batch.report.sheet.own import Own
from batch.report.sheet.show import Shown
from batch.store.images.encoders import THUMB_SIDE

if TYPE_CHECKING:
    from batch.records.tasks import Task
    from batch.report.sheet.axes import Matrix
    from batch.report.sheet.show import Page
    from batch.store.folder import RunFolder
    from batch.store.receipts import Scan

CELL = USUAL_CELL
DPI = 150
"""Labels have some seven points then, and are read on paper."""
A4 = (1754, 1240)
"""Pixels of a page of a PDF: A4, landscape."""
PDF_CELL = 192
"""Pixels of a picture of a PDF at least, where nobody says how many."""
MOST_PIXELS = 89_000_000
"""Of a page of several pictures: what Pillow opens without a warning."""
ONE_PIXELS = 400_000_000
"""Of a page that holds everything: 1.2 GB while it is drawn."""


Pages = tuple[int, int] | Literal["one"]
"""The first and the last page, or all of them on one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What somebody wants of a sheet."""

    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    cell: int | None = None
    """Pixels of the longer side of a picture; None: :data:`CELL`, or as many as fill the pages of a PDF."""
    format: str = "jpeg"
    """One of :data:`batch.report.sheet.files.FORMATS`."""
    pages: Pages | None = None
    """Which pages are written; None: all."""

    @property
    def on_a4(self) -> bool:
        """On pages that are printed."""
        return self.format == "pdf" and not self.one_page

    @property
    def one_page(self) -> bool:
        """All on one page."""
        return self.pages == "one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The files of a sheet, and what to tell the user about them."""

    paths: tuple[Path, ...]
    warnings: tuple[str, ...]


def write(
    folder: RunFolder, scan: Scan, choice: Choice, drawn: Callable[[int, int], None] | None = None
) -> Written:
    """Write a sheet beside that of the run, under a name that says how it is arranged.

    Pages that are not wanted stay as they are, where they belong to a sheet of as many pages; so does a whole PDF.
    ``drawn`` is called with how many pages are drawn, of how many. Raises :class:`UserError` for what cannot be
    had, and OSError.
    """
    tasks = sorted(folder.tasks(), key=place_by(folder.origin().order))
    shown = Shown(folder, tasks, rows=choice.rows, columns=choice.columns)
    paper, pages = _laid_out(shown, scan, choice, tasks)
    wanted = _wanted(pages, choice)
    stem, suffix, own = stem_of(shown.matrix, choice), files.FORMATS[choice.format].suffix, Own(folder)
    encoded = _encoded(wanted, paper, choice, folder, scan, drawn)
    if choice.format == "pdf":
        paths = [folder.root / f"{stem}{_pdf_part(wanted, pages, choice)}.pdf"]
        own.make_way(paths[0])
        about = files.About(name=folder.name(), run=folder.id())
        atomic.write_parts(paths[0], files.pdf(encoded, len(wanted), about, DPI), folder.runner)
    else:
        names = {page.number: files.page_name(stem, page.number, len(pages), suffix) for page in pages}
        paths = [folder.root / names[page.number] for page in wanted]
        for path, (_, data) in zip(paths, encoded, strict=True):
            own.make_way(path)
            atomic.write(path, data, folder.runner)
        own.remove_others(stem, suffix, [folder.root / name for name in names.values()])
    return Written(paths=tuple(paths), warnings=(*_beyond(pages, choice), *own.warnings))


def stem_of(matrix: Matrix, choice: Choice) -> str:
    """The name without page and suffix, one for each arrangement: ``contact_sheet-steps-by-guidance-512px``.

    Of rows alone it is ``…-by-steps``, of columns alone ``…-image-by-steps``.
    """
    rows, columns = ([axis.name for axis in some] for some in (matrix.rows, matrix.columns))
    arranged = [*(rows or ["image"]), "by", *columns] if columns else ["by", *(rows or ["image"])]
    usual = None if choice.on_a4 else CELL  # there as many as fill the pages
    cell = [f"{choice.cell}px"] if choice.cell not in (None, usual) else []
    return "-".join([files.SHEET, *arranged, *cell])


def _pdf_part(wanted: Sequence[Page], pages: Sequence[Page], choice: Choice) -> str:
    """What the name of a PDF says where it is not the usual whole: ``-p2``, ``-p2-5``, ``-one``."""
    if choice.one_page:
        return "-one"
    if len(wanted) == len(pages):
        return ""
    first, last = wanted[0].number, wanted[-1].number
    return f"-p{first}" if first == last else f"-p{first}-{last}"


def _paper(choice: Choice) -> Paper:
    cell = choice.cell or CELL
    if choice.on_a4:
        return _a4(cell)
    target = max(TARGET_WIDTH, TARGET_WIDTH * cell // CELL)
    letters = letters_for(cell)  # what is printed is looked at from where one always looks
    if choice.one_page:
        side = files.FORMATS[choice.format].side
        return Paper(cell=cell, width=side, height=side, target=target, letters=letters)
    usual = Paper()
    height = max(usual.height, cell + round(700 * letters.times))  # with what stands above the first row
    width = min(usual.width, MOST_PIXELS // height)
    width = max(width, cell + round(500 * letters.times))
    return Paper(cell=cell, width=width, height=height, target=min(target, width), letters=letters)


def _no_larger(choice: Choice, tasks: Sequence[Task]) -> Choice:
    """With cells no larger than the pictures, of which none is enlarged: letters go by them."""
    longest = max((max(task.width, task.height) for task in tasks), default=CELL)
    return replace(choice, cell=min(choice.cell or CELL, max(longest, THUMB_SIDE)))


def _a4(cell: int) -> Paper:
    return Paper(cell=cell, width=A4[0], height=A4[1], head=160, fixed=True)


def _filled(shown: Shown, scan: Scan) -> Paper:
    """Pages of a PDF with the largest pictures that need no more of them than small ones do."""
    most = len(shown.pages(scan, _a4(PDF_CELL)))

    def is_too_large(cell: int) -> bool:
        pages = shown.pages(scan, _a4(cell))
        return len(pages) > most or any(exceeds(page, _a4(cell)) for page in pages)

    sizes = range(PDF_CELL + 1, max(A4))
    return _a4(PDF_CELL + bisect_left(sizes, x=True, key=is_too_large))


def exceeds(page: Page, paper: Paper) -> bool:
    """Whether what stands on a page takes more than that has."""
    width, height = page_size(page.shelves, page.heading, replace(paper, fixed=False))
    return width > paper.width or height > paper.height


def _laid_out(shown: Shown, scan: Scan, choice: Choice, tasks: Sequence[Task]) -> tuple[Paper, list[Page]]:
    """The pages, and the paper that they are for. Raises :class:`UserError` where there is none, or no room."""
    paper = _paper(_no_larger(choice, tasks)) if choice.cell or not choice.on_a4 else _filled(shown, scan)
    pages = shown.pages(scan, paper)
    if not pages:
        raise UserError(f"{shown.root}: nothing is rendered yet, so there is nothing to show")
    while choice.one_page and len(pages) > 1 and paper.target < paper.width:
        paper = replace(paper, target=min(2 * paper.target, paper.width))
        pages = shown.pages(scan, paper)
    _check(pages, paper, choice)
    return paper, pages


def _check(pages: Sequence[Page], paper: Paper, choice: Choice) -> None:
    """Raise :class:`UserError` for what is larger than it may be."""
    if choice.one_page and len(pages) > 1:
        raise UserError(
            f"all images are too many for one page of {choice.format}; choose a smaller --cell than "
            f"{paper.cell}, or leave --pages one out"
        )
    side = files.FORMATS[choice.format].side
    most = (paper.width, paper.height) if paper.fixed else (side, side)
    for page in pages:
        width, height = page_size(page.shelves, page.heading, replace(paper, fixed=False))
        if width > most[0] or height > most[1]:
            where = f"an A4 page has at {DPI} dpi" if paper.fixed else f"{choice.format} has"
            raise UserError(
                f"page {page.number} would have {width}x{height} pixels, more than the {most[0]}x{most[1]} that "
                f"{where}; choose a smaller --cell than {paper.cell}, or other axes"
            )
        if choice.one_page and width * height > ONE_PIXELS:
            raise UserError(
                f"one page would have {width}x{height} pixels; choose a smaller --cell than {paper.cell}, or "
                "leave --pages one out"
            )


def _wanted(pages: Sequence[Page], choice: Choice) -> list[Page]:
    if choice.pages is None or choice.pages == "one":
        return list(pages)
    first, last = choice.pages
    if first > len(pages):
        raise UserError(f"--pages {first}: the sheet has {plural(len(pages), 'page')}")
    return [page for page in pages if first <= page.number <= last]


def _beyond(pages: Sequence[Page], choice: Choice) -> Iterator[str]:
    """A warning where more pages are wanted than there are."""
    if choice.pages is None or choice.pages == "one":
        return
    first, last = choice.pages
    if last > len(pages):
        yield f"--pages {first}-{last}: the sheet has {plural(len(pages), 'page')}"


def _encoded(
    pages: Sequence[Page],
    paper: Paper,
    choice: Choice,
    folder: RunFolder,
    scan: Scan,
    drawn: Callable[[int, int], None] | None,
) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Size and file of each page, one after the other: no more than one is in memory."""
    about = files.About(name=folder.name(), run=folder.id())
    for done, page in enumerate(pages):
        if drawn:
            drawn(done, len(pages))
        picture = draw_page(page.shelves, page.heading, paper, folder, scan)
        yield picture.size, files.FORMATS[choice.format].encode(picture, about)
