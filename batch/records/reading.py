"""Records as JSON, and back.

What is read is checked: a value that is missing or of another type is found here, not where it is used. Keys that
a newer minor version may have added are ignored.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


def to_json(record: object) -> dict[str, object]:
    """A record as plain data for JSON, its fields in their order."""
    # Without a look at the types: a whole number in a field for a float is written as it is.
    plain: dict[str, object] = _adapter(type(record)).dump_python(record, warnings=False)
    return plain


def from_json(kind: type[T], text: bytes | str) -> T:
    """The record that a JSON text holds. Raises ValueError, which names the field, when it holds none."""
    try:
        return _adapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


_ADAPTERS: dict[object, TypeAdapter[Any]] = {}
"""Made when the first record of a kind is read or written: it takes milliseconds."""


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    adapter: TypeAdapter[T] = _ADAPTERS[kind]
    return adapter
