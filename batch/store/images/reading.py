"""The texts in an image file, ours and those of A1111, ComfyUI and InvokeAI."""

from __future__ import annotations

import re
import struct
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile

from batch.base.errors import UserError
from batch.manifest import formats
from batch.store.images import packets
from batch.store.images.encoders import require
from batch.store.images.texts import JSON_KEY, PARAMETERS_KEY

MAX_BYTES = 64 * 2**20
"""Of metadata in one file. Compressed texts of a PNG are held to less by Pillow: 1 MiB each."""

_EXIF_DIRECTORY, _USER_COMMENT = 0x8769, 0x9286
_COMFY = re.compile(r"(prompt|workflow):\s*(\{.*)", re.DOTALL)
"""ComfyUI's WebP: such a text in any field of the camera."""

_XMP_KEY = "XML:com.adobe.xmp"


def read_metadata(path: Path) -> dict[str, str]:
    """The texts by key: ``run_batch``, ``parameters``, and those other programs wrote; empty when none.

    Reads the file's head and no pixels, except of a PNG whose texts stand behind them. Raises
    :class:`UserError` when the file is missing, is no image, or is damaged.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # Pillow warns of many pixels, which are not unpacked here, and of damage in EXIF.
            warnings.simplefilter("ignore")
            start = file.read(len(packets.JXL_SIGNATURE))
            if start == packets.JXL_SIGNATURE:
                return _jxl(file)
            if start.startswith(packets.JXL_BARE):
                return {}
            file.seek(0)
            with Image.open(file) as image:
                return _pillow(image)
    except FileNotFoundError:
        raise UserError(f"{path} is not there") from None
    except UnidentifiedImageError:
        raise UserError(f"{path} is not an image that can be read here") from None
    except Image.DecompressionBombError:
        raise UserError(f"{path} has more pixels than are read here") from None
    # What the readers of damaged files raise; no narrower list holds.
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, RuntimeError, struct.error) as error:
        raise UserError(f"{path} cannot be read as an image: {error}") from None


def read_pixels(path: Path) -> NDArray[Any]:
    """The pixels of an image file, height x width x channels, every row decoded, palettes resolved.

    Raises OSError or ValueError when it is no whole picture, :class:`UserError` when a package is missing.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(packets.JXL_SIGNATURE))
        if start == packets.JXL_SIGNATURE or start.startswith(packets.JXL_BARE):
            return _jxl_pixels(path)
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            if image.mode in {"1", "P", "PA"}:
                opaque = image.mode != "PA" and "transparency" not in image.info
                return np.asarray(image.convert("RGB" if opaque else "RGBA"))
            return np.asarray(image)
    except (SyntaxError, Image.DecompressionBombError, struct.error) as error:  # Pillow's, for damaged files
        raise ValueError(str(error)) from None


def _jxl_pixels(path: Path) -> NDArray[Any]:
    require("jxl")
    import imagecodecs

    try:
        return np.asarray(imagecodecs.jpegxl_decode(path.read_bytes()))
    except RuntimeError as error:  # imagecodecs' own class is one
        raise ValueError(f"JPEG XL: {error}") from None


def suffixes() -> set[str]:
    """The suffixes of image files, with the dot, in lower case: those written here and those Pillow knows."""
    return {f".{entry.suffix}" for entry in formats.FORMATS.values()} | set(Image.registered_extensions())


def _pillow(image: Image.Image) -> dict[str, str]:
    texts: dict[str, str] = {}
    if isinstance(image, PngImageFile):
        known = ((key, value) for key, value in image.info.items() if isinstance(key, str))
        texts = {key: str(value) for key, value in known if isinstance(value, str) and key != _XMP_KEY}
        if not texts:  # they may stand behind the pixels
            texts = {key: str(value) for key, value in image.text.items() if key != _XMP_KEY}
    # Asked for EXIF that is not there, Pillow unpacks a PNG to look behind its pixels.
    exif = _exif(image.getexif()) if image.format != "PNG" or "exif" in image.info else {}
    segments = [data for _, data in getattr(image, "applist", ())]
    packet = packets.join_extended(segments) or image.info.get("xmp") or b""
    packet = packet if isinstance(packet, bytes) else str(packet).encode()
    return exif | _json(packet) | texts  # a text under its own key counts before the same in EXIF


def _exif(exif: Image.Exif) -> dict[str, str]:
    found = {}
    for value in exif.values():
        match = _COMFY.fullmatch(value.rstrip("\0")) if isinstance(value, str) else None
        if match:
            found[match[1]] = match[2]
    comment = exif.get_ifd(_EXIF_DIRECTORY).get(_USER_COMMENT)
    if isinstance(comment, bytes) and (text := packets.read_comment(comment)):
        found[PARAMETERS_KEY] = text
    return found


def _json(packet: bytes) -> dict[str, str]:
    text = packets.read_xmp(packet) if packet else ""
    return {JSON_KEY: text} if text else {}


def _jxl(file: BinaryIO) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind, data in packets.jxl_boxes(file, {b"Exif", b"xml "}, MAX_BYTES):
        if kind == b"Exif":
            exif = Image.Exif()
            exif.load(data[4 + int.from_bytes(data[:4], "big") :])
            found |= _exif(exif)
        else:
            found |= _json(data)
    return found
