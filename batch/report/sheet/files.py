"""The files of a contact sheet: formats, names that sort, what they say of the run."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from PIL import Image
from PIL.PngImagePlugin import PngInfo

SHEET = "contact_sheet"
PROGRAM = "run_batch"
_PDF = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"
_DESCRIPTION, _SOFTWARE, _EXIF, _UNIQUE_ID = 0x010E, 0x0131, 0x8769, 0xA420


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a file says of its run."""

    name: str
    """The manifest's."""
    run: str
    """The id of the run folder."""


def _exif(about: About) -> Image.Exif:
    exif = Image.Exif()
    exif[_DESCRIPTION] = about.name.encode("utf-8", "replace")
    exif[_SOFTWARE] = PROGRAM.encode()
    exif.get_ifd(_EXIF)[_UNIQUE_ID] = about.run
    return exif


def _jpeg(page: Image.Image, about: About) -> bytes:
    buffer = io.BytesIO()
    page.save(buffer, "JPEG", quality=88, exif=_exif(about))
    return buffer.getvalue()


def _png(page: Image.Image, about: About) -> bytes:
    info, buffer = PngInfo(), io.BytesIO()
    info.add_itxt("Title", about.name.encode("utf-8", "replace").decode())
    info.add_itxt("Run", about.run.encode("utf-8", "replace").decode())
    info.add_text("Software", PROGRAM)
    page.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def _webp(page: Image.Image, about: About) -> bytes:
    buffer = io.BytesIO()
    page.save(buffer, "WEBP", quality=88, method=4, exif=_exif(about).tobytes())
    return buffer.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetFormat:
    """How pages are written."""

    suffix: str
    side: int
    """Pixels of a page at most, across and down."""
    encode: Callable[[Image.Image, About], bytes]
    """One page; those of a PDF are JPEG pictures."""


FORMATS = {
    "jpeg": SheetFormat(suffix="jpg", side=65_535, encode=_jpeg),
    "png": SheetFormat(suffix="png", side=2**31 - 1, encode=_png),
    "webp": SheetFormat(suffix="webp", side=16_383, encode=_webp),
    "pdf": SheetFormat(suffix="pdf", side=40_000, encode=_jpeg),
}
"""By the names that ``--format`` takes."""


def is_of(image: Image.Image, run: str) -> bool:
    """Whether a picture that was opened is a page of a sheet of this run, by what it says."""
    if image.format == "PNG":
        program, said = image.info.get("Software"), image.info.get("Run", "")
    else:
        exif = image.getexif()
        program, said = exif.get(_SOFTWARE), exif.get_ifd(_EXIF).get(_UNIQUE_ID, "")
    return program == PROGRAM and said.encode("ascii", "replace") == run.encode("ascii", "replace")


def is_pdf_of(head: bytes, run: str) -> bool:
    """Whether the beginning of a file is that of a PDF of this run."""
    return head.startswith(_PDF) and b"/Creator (run_batch)" in head and _pdf_text(f"run {run}") in head


def page_name(stem: str, number: int, pages: int, suffix: str) -> str:
    """``contact_sheet.jpg`` of a single page, else with a number as wide as that of the last page: they sort."""
    return f"{stem}.{suffix}" if pages == 1 else f"{stem}-{number:0{len(str(pages))}}.{suffix}"


def pdf(pages: Iterable[tuple[tuple[int, int], bytes]], count: int, about: About, dpi: int) -> Iterable[bytes]:
    """A PDF whose pages are JPEG pictures of these sizes, piece by piece: no more than one is in memory."""
    offsets: list[int] = []
    at = 0

    def numbered(body: bytes) -> bytes:
        nonlocal at
        offsets.append(at)
        data = b"%d 0 obj\n%b\nendobj\n" % (len(offsets), body)
        at += len(data)
        return data

    at += len(_PDF)
    yield _PDF
    yield numbered(b"<< /Type /Catalog /Pages 2 0 R >>")
    kids = b" ".join(b"%d 0 R" % (4 + 3 * number) for number in range(count))
    yield numbered(b"<< /Type /Pages /Count %d /Kids [%b] >>" % (count, kids))
    info = b"<< /Title %b /Subject %b /Creator (run_batch) >>"
    yield numbered(info % (_pdf_text(about.name), _pdf_text(f"run {about.run}")))
    for number, ((width, height), jpeg) in enumerate(pages):
        first = 4 + 3 * number
        across, down = 72 * width / dpi, 72 * height / dpi
        yield numbered(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %.2f %.2f] /Contents %d 0 R "
            b"/Resources << /XObject << /Page %d 0 R >> >> >>" % (across, down, first + 1, first + 2)
        )
        yield numbered(_stream(b"", b"q %.2f 0 0 %.2f 0 0 cm /Page Do Q" % (across, down)))
        image = b"/Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceRGB /BitsPerComponent 8 "
        yield numbered(_stream(image % (width, height) + b"/Filter /DCTDecode ", jpeg))
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(offsets) + 1
    yield b"xref\n0 %d\n0000000000 65535 f \n%b" % (size, table)
    yield b"trailer\n<< /Size %d /Root 1 0 R /Info 3 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, at)


def _stream(entries: bytes, data: bytes) -> bytes:
    return b"<< %b/Length %d >>\nstream\n%b\nendstream" % (entries, len(data), data)


def _pdf_text(text: str) -> bytes:
    return b"<%b>" % (b"\xfe\xff" + text.encode("utf-16-be", "replace")).hex().upper().encode()
