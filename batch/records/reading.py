"""Records as JSON, and back.

What is read is checked: a value that is missing or of another type is found here, not where it is used. Keys that
a newer minor version may have added are ignored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import SchemaValidator, core_schema

T = TypeVar("T")

MOST = 1e15
"""Of a number with a fraction: seconds, bytes, joules, and whatever a pipeline takes."""

SMALLEST, LARGEST = -(2**63), 2**64 - 1
"""Whole numbers of a record. A seed has 64 bits; a longer number breaks what computes with it."""


def to_json(record: object) -> dict[str, object]:
    """A record as plain data for JSON, its fields in their order."""
    # Without a look at the types: a whole number in a field for a float is written as it is.
    plain: dict[str, object] = _adapter(type(record)).dump_python(record, warnings=False)
    return plain


def from_json(kind: type[T], text: bytes | str) -> T:
    """The record that a JSON text holds. Raises ValueError, which names the field, when it holds none.

    Nor does it hold one whose numbers are not finite or have more than 64 bits, that is nested more than 200 deep,
    or has half a character in a text.
    """
    try:
        found: T = _validator(kind).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where, said = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {said}" if where else said) from None
    return found


def any_json(text: bytes | str) -> object:
    """The data of a JSON text by others, of any types. Raises ValueError where it is none or too deep."""
    try:
        data: object = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return data


_ADAPTERS: dict[object, TypeAdapter[Any]] = {}
"""Made when the first record of a kind is read or written: it takes milliseconds."""

_VALIDATORS: dict[object, SchemaValidator] = {}


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    adapter: TypeAdapter[T] = _ADAPTERS[kind]
    return adapter


def _validator(kind: type[object]) -> SchemaValidator:
    if kind not in _VALIDATORS:
        _VALIDATORS[kind] = SchemaValidator(_bounded(_adapter(kind).core_schema))
    return _VALIDATORS[kind]


def _bounded(schema: Any) -> Any:
    """A schema whose numbers are finite and of 64 bits, and no less than they can be."""
    if isinstance(schema, list | tuple):
        return type(schema)(map(_bounded, schema))
    if not isinstance(schema, dict):
        return schema
    inner = {key: _bounded(value) for key, value in schema.items()}
    if schema.get("type") == "int":
        return {"ge": SMALLEST} | inner | {"le": LARGEST}
    if schema.get("type") == "float":  # sums and squares of it are finite too
        return {"ge": -MOST} | inner | {"allow_inf_nan": False, "le": MOST}
    if schema.get("type") == "dict" and inner.get("values_schema", _ANY) == _ANY:
        return core_schema.no_info_after_validator_function(_with_bounds, inner)
    return inner


_ANY = {"type": "any"}


def _with_bounds(data: dict[str, object]) -> dict[str, object]:
    """Data of any types, whose numbers have the bounds of all others. Raises ValueError."""
    _check(data.values())
    return data


def _check(values: Iterable[object]) -> None:
    for value in values:
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("a number in it is not finite")
        if isinstance(value, int) and not SMALLEST <= value <= LARGEST:
            raise ValueError("a number in it has more than 64 bits")
        if isinstance(value, dict | list):
            _check(value.values() if isinstance(value, dict) else value)
