"""The texts in an image file, ours and those of A1111, ComfyUI and InvokeAI."""

from __future__ import annotations

import os
import re
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from batch.base import regular
from batch.base.errors import UserError
from batch.manifest import formats
from batch.store.images import boxes, containers, packets, tiff
from batch.store.images.containers import Metadata
from batch.store.images.encoders import require
from batch.store.images.texts import PARAMETERS_KEY

MAX_PIXELS = 2**29
"""Of a picture that is unpacked, 1.6 GB: thirty times those of 5376x3072. A small file may claim any number."""

MAX_BYTES = 2**30
"""Of a file whose pixels are unpacked: libraries read some formats whole, whatever lies behind the picture."""

Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
"""Pillow refuses what has twice as many."""

_COMFY = re.compile(r"(prompt|workflow):\s*(\{.*)", re.DOTALL)
"""ComfyUI's WebP: such a text in any field of the camera."""

READERS: dict[bytes, Callable[[BinaryIO], Metadata]] = {
    rb"\x89PNG\r\n\x1a\n": containers.png,
    rb"\xff\xd8\xff": containers.jpeg,
    rb"RIFF....WEBP": containers.webp,
    rb"II\*\x00|MM\x00\*": containers.tiff_file,
    rb"....ftyp(avif|avis|mif1|msf1)": boxes.avif,
    re.escape(packets.JXL_SIGNATURE): boxes.jxl,
    re.escape(packets.JXL_BARE): lambda _: Metadata(),
}
"""By what a file begins with."""


def read_metadata(path: Path) -> dict[str, str]:
    """The texts by key: ``run_batch``, ``parameters``, and those other programs wrote; empty when none.

    Reads no pixels. Raises :class:`UserError` when the file is missing, is no image of a kind that carries texts,
    or is damaged.
    """
    try:
        with regular.opened(path) as file:
            read = _reader(file)
            if read is None:
                raise UserError(f"{path} is not an image that can be read here")
            return _texts(read(file))
    except FileNotFoundError:
        raise UserError(f"{path} is not there") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as an image: {error}") from None


def _reader(file: BinaryIO) -> Callable[[BinaryIO], Metadata] | None:
    start = file.read(16)
    return next((read for begin, read in READERS.items() if re.match(begin, start, re.DOTALL)), None)


def read_pixels(path: Path) -> NDArray[Any]:
    """The pixels of an image file, height x width x channels, every row decoded, palettes resolved.

    Raises OSError or ValueError when it is no whole picture, :class:`UserError` when a package is missing.
    """
    try:
        with regular.opened(path) as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
            _check(file)
            file.seek(0)
            start = file.read(len(packets.JXL_SIGNATURE))
            file.seek(0)
            if start == packets.JXL_SIGNATURE or start.startswith(packets.JXL_BARE):
                width, height = boxes.jxl_size(file)
                if width * height > MAX_PIXELS:
                    raise ValueError(f"it has {width}x{height} pixels, more than are read here")
                file.seek(0)
                return _jxl_pixels(file.read())
            with warnings.catch_warnings(), Image.open(file) as image:
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                if image.mode in {"1", "P", "PA"}:
                    opaque = image.mode != "PA" and "transparency" not in image.info
                    return np.asarray(image.convert("RGB" if opaque else "RGBA"))
                return np.asarray(image)
    except UnidentifiedImageError:
        raise ValueError("it is no image that can be read here") from None
    except (SyntaxError, Image.DecompressionBombError, struct.error) as error:  # Pillow's, for damaged files
        raise ValueError(str(error)) from None


def _check(file: BinaryIO) -> None:
    """Refuse metadata that would fill the memory: Pillow unpacks all of it. Other damage costs no pixel."""
    try:
        if read := _reader(file):
            read(file)
    except regular.TooLarge:
        raise
    except (OSError, ValueError):
        pass


def _jxl_pixels(data: bytes) -> NDArray[Any]:
    require("jxl")
    import imagecodecs

    try:
        return np.asarray(imagecodecs.jpegxl_decode(data))
    except RuntimeError as error:  # imagecodecs' own class is one
        raise ValueError(f"JPEG XL: {error}") from None


def suffixes() -> set[str]:
    """The suffixes of image files, with the dot, in lower case: those written here and those Pillow knows."""
    return {f".{entry.suffix}" for entry in formats.FORMATS.values()} | set(Image.registered_extensions())


def _texts(found: Metadata) -> dict[str, str]:
    texts = {}
    for tag, value in found.exif.items():
        if match := _COMFY.fullmatch(value.decode("latin-1").rstrip("\0")):
            texts[match[1]] = match[2]
        elif tag == tiff.DESCRIPTION:
            texts["ImageDescription"] = value.decode("utf-8", "replace").rstrip("\0 ")
    if text := packets.read_comment(found.exif.get(tiff.USER_COMMENT, b"")):
        texts[PARAMETERS_KEY] = text
    # A text under its own key counts before the same in EXIF.
    return texts | dict(packets.read_xmp(found.xmp)) | found.texts
