"""One encoder per format of ``batch/manifest/formats.py``.

All run in the saver's thread behind the next image, so they let go of the interpreter while they compress.
The same task gives the same bytes with the same versions of the libraries: no times, no machine, and never a
number of threads that shows in the file.
"""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from PIL import __version__ as pillow_version

from batch.base.errors import UserError
from batch.manifest import formats
from batch.records.kinds import TextsKept
from batch.records.tasks import Task
from batch.store.images import packets, png, tiff
from batch.store.images.texts import JSON_KEY, PARAMETERS_KEY, texts_of

if TYPE_CHECKING:
    from batch.store.images.texts import FileTexts

THUMB_SIDE = 384

Pixels = NDArray[np.uint8]
Options = Mapping[str, Any]

_WEBP_EFFORT = ((0, 0), (1, 20), (2, 25), (3, 30), (3, 50), (4, 50), (4, 75), (4, 90), (5, 90), (6, 100))
"""libwebp's presets for lossless compression: method and quality by effort 0 to 9."""


def _png(pixels: Pixels, texts: FileTexts, options: Options) -> bytes:
    both = {PARAMETERS_KEY: texts.parameters, JSON_KEY: texts.rerun}
    named = {key: text for key, text in both.items() if text}
    if options["level"] == 1:
        return png.write(pixels, named)
    return _pillow(pixels, "PNG", pnginfo=png.text_chunks(named), compress_level=options["level"])


def _jpeg(pixels: Pixels, texts: FileTexts, options: Options) -> bytes:
    """EXIF in JPEG has 64 KiB: a text of more than 32,000 letters stands in the JSON only."""
    exif = b"Exif\0\0" + _exif(texts) if texts.parameters else b""
    return _pillow(
        pixels,
        "JPEG",
        **options,
        exif=exif if len(exif) <= packets.SEGMENT else b"",
        extra=packets.jpeg_segments(_xmp(texts)) if texts.rerun else b"",
    )


def _webp(pixels: Pixels, texts: FileTexts, options: Options) -> bytes:
    return _pillow(pixels, "WEBP", **options, exif=_exif(texts), xmp=_xmp(texts))


def _webp_lossless(pixels: Pixels, texts: FileTexts, options: Options) -> bytes:
    method, quality = _WEBP_EFFORT[options["effort"]]
    return _pillow(
        pixels, "WEBP", lossless=True, method=method, quality=quality, exif=_exif(texts), xmp=_xmp(texts)
    )


def _avif(pixels: Pixels, texts: FileTexts, options: Options) -> bytes:
    # libaom's bytes depend on its number of threads.
    return _pillow(pixels, "AVIF", **options, max_threads=1, exif=_exif(texts), xmp=_xmp(texts))


def _jxl(pixels: Pixels, texts: FileTexts, options: Options) -> bytes:
    import imagecodecs

    codestream = imagecodecs.jpegxl_encode(
        pixels,
        lossless=options["quality"] == 100,
        distance=jxl_distance(options["quality"]),
        effort=options["effort"],
        numthreads=min(4, os.cpu_count() or 1),  # libjxl's bytes do not depend on it
        usecontainer=False,
    )
    return packets.jxl(bytes(codestream), _exif(texts), _xmp(texts))


def jxl_distance(quality: int) -> float:
    """JPEG XL's distance (0 lossless, 1 no visible difference) for a quality, as libjxl's own tools map it."""
    if quality >= 100:
        return 0.0
    if quality >= 30:
        return 0.1 + (100 - quality) * 0.09
    return 53 / 3000 * quality**2 - 23 / 20 * quality + 25


def _tiff(pixels: Pixels, texts: FileTexts, options: Options) -> bytes:
    comment = packets.comment(texts.parameters) if texts.parameters else b""
    return tiff.write(pixels, options["compression"], comment, _xmp(texts))


def _exif(texts: FileTexts) -> bytes:
    return tiff.exif(packets.comment(texts.parameters)) if texts.parameters else b""


def _xmp(texts: FileTexts) -> bytes:
    return packets.xmp(texts.rerun) if texts.rerun else b""


def _pillow(pixels: Pixels, kind: str, **arguments: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **arguments)
    return buffer.getvalue()


ENCODERS: dict[str, Callable[[Pixels, FileTexts, Options], bytes]] = {
    "png": _png,
    "jpeg": _jpeg,
    "webp": _webp,
    "webp-lossless": _webp_lossless,
    "avif": _avif,
    "jxl": _jxl,
    "tiff": _tiff,
}
"""How each format of the table is written."""

_PILLOW_FEATURES = {"png": "zlib", "jpeg": "jpg", "webp": "webp", "webp-lossless": "webp", "avif": "avif"}


def require(name: str) -> None:
    """Raise :class:`UserError` when this machine lacks what a canonical format needs."""
    package = formats.FORMATS[name].package
    if package:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise UserError(
                f"format {name} needs the {package} package ({error}); install it with: pip install {package}"
            ) from None
    feature = _PILLOW_FEATURES.get(name)
    if feature is not None and not features.check(feature):
        raise UserError(
            f"format {name}: this Pillow ({pillow_version}) was built without it; install another build with: "
            "pip install --upgrade pillow"
        )


def encode(
    pixels: Pixels, task: Task, notes: Mapping[str, str] | None = None, metadata: TextsKept = TextsKept.FULL
) -> bytes:
    """The image file of a task, in its format; ``pixels`` is height x width x 3.

    ``notes`` say what became of the image that its task does not: they stand in the metadata too.
    """
    options = formats.settings(task.format, task.format_options)
    return ENCODERS[task.format](pixels, texts_of(task, notes or {}, metadata), options)


def thumbnail(pixels: Pixels) -> bytes:
    """A WebP of at most 384 pixels a side: all that contact sheets are ever made of."""
    image = Image.fromarray(pixels)
    scale = THUMB_SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0) if scale < 1 else image
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=85, method=2)
    return buffer.getvalue()
