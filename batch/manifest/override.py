"""What ``--set KEY=VALUE`` of the command line changes of a manifest."""

from __future__ import annotations

from contextlib import suppress

from batch.base.errors import ManifestError, UserError
from batch.manifest.axes import axis
from batch.manifest.document import TEXT_KEYS, Document, Place, parse
from batch.manifest.limits import DEPTH, NAME
from batch.manifest.values import shortened


def override(document: Document, written: str) -> None:
    """Set one key, or one axis of the grid. Raises :class:`UserError` for what is no ``KEY=VALUE``."""
    document.put(*read_override(written))


def read_override(written: str) -> tuple[tuple[str, ...], Document]:
    """Where in a manifest a value belongs, and the value. Raises :class:`UserError` as :func:`override` does."""
    key, equals, value = written.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UserError(f"--set {shortened(written)}: write KEY=VALUE, for example --set seed=0..3")
    if any("\ud800" <= character <= "\udfff" for character in written):
        raise UserError(f"--set {key!a}: it is not UTF-8, or holds half of a surrogate pair")
    if key.count(".") >= DEPTH or len(key) > NAME:
        raise UserError(f"--set {shortened(key)}: no key is as long as this")
    source = f"--set {key}"
    if key.rsplit(".", 1)[-1] in TEXT_KEYS:
        parsed = Document(value, source, {(): Place(source, 0)})
        # An axis may be set to a list or mapping. Everything else is a text, with its colons and braces.
        if axis(key) is not None and value.lstrip().startswith(("[", "{")):
            with suppress(ManifestError):
                several = parse(value, source, as_text=True)
                mapping = isinstance(several.data, dict) and {"file", "text"}.intersection(several.data)
                parsed = several if isinstance(several.data, list) or mapping else parsed
    else:
        parsed = parse(value or "''", source)
    location = ("grid", key) if axis(key) and key != "name" else tuple(key.split("."))
    if location[0] == "grid" and len(location) == 3 and location[1] == "extra":
        location = ("grid", f"extra.{location[2]}")
    return location, Document(parsed.data, source, {known: Place(source, 0) for known in parsed.places})
