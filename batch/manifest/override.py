"""What ``--set KEY=VALUE`` of the command line changes of a manifest."""

from __future__ import annotations

from batch.base.errors import ManifestError, UserError
from batch.manifest.axes import axis
from batch.manifest.document import TEXT_KEYS, Document, Place, parse


def override(document: Document, written: str) -> None:
    """Set one key, or one axis of the grid. Raises :class:`UserError` for what is no ``KEY=VALUE``."""
    key, equals, value = written.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UserError(f"--set {written}: write KEY=VALUE, for example --set seed=0..3")
    source = f"--set {key}"
    as_text = key.rsplit(".", 1)[-1] in TEXT_KEYS
    parsed = _text(key, value, source) if as_text else parse(value or "''", source)
    location = ("grid", key) if axis(key) and key != "name" else tuple(key.split("."))
    if location[0] == "grid" and len(location) == 3 and location[1] == "extra":
        location = ("grid", f"extra.{location[2]}")
    document.put(location, Document(parsed.data, source, {known: Place(source, 0) for known in parsed.places}))


def _text(key: str, value: str, source: str) -> Document:
    """The list or mapping that a text axis is set to. Everything else is a text, with its colons and braces."""
    plain = Document(value, source, {(): Place(source, 0)})
    if axis(key) is None or not value.lstrip().startswith(("[", "{")):
        return plain
    try:
        parsed = parse(value, source, as_text=True)
    except ManifestError:
        return plain
    mapping = isinstance(parsed.data, dict) and {"file", "text"}.intersection(parsed.data)
    return parsed if isinstance(parsed.data, list) or mapping else plain
