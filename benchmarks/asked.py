"""What benchmarks are asked for, checked before anything runs. No torch here."""

from __future__ import annotations

import argparse
from pathlib import Path

from batch.base.errors import UserError
from batch.catalogue.model import Model
from batch.manifest import values
from batch.manifest.values import Size


def whole(text: str) -> int:
    """A number of something, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of these; write 1 or more")
    return int(text)


def file(text: str) -> Path:
    """A file to write, for argparse; its folder is made where it is not there."""
    path = Path(text)
    if not text or path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder; name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be written: {error.strerror}") from None
    return path


def size(model: Model, text: str) -> Size:
    """A size that a model renders as it is. Raises :class:`UserError`."""
    try:
        found = values.size(text)
    except ValueError as error:
        raise UserError(f"size: {error}") from None
    if any(side % model.size_step for side in found):
        raise UserError(f"size: the sides of {found} must be multiples of {model.size_step}")
    if (rendered := model.rendered(found)) != found:
        raise UserError(f"size: {model.name} cannot render {found}; write {rendered}, which is nearest in shape")
    return found
