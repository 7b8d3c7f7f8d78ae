"""Records as JSON, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from batch.records.receipts import CardState, ErrorInfo, Failure, FileRef, Machine, Measurement, Receipt, StagePeak
from batch.records.spec import ModelSource
from batch.records.tasks import Lora, Task
from batch.records.values import Arguments, Call, Value

T = TypeVar("T")


def to_json(record: Any) -> dict[str, Any]:
    """A record as plain JSON data (tuples become lists when it is written)."""
    return {name: _plain(getattr(record, name)) for name in record.__slots__}


def _plain(value: Any) -> Any:
    # `dataclasses.asdict` copies every leaf and takes ten times as long: a plan may have a million tasks.
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return to_json(value)


def _calls(items: Any) -> tuple[Call, ...]:
    return tuple(Call(name=item["name"], arguments=_pairs(item["arguments"])) for item in items)


def _pairs(items: Any) -> Arguments:
    return tuple((key, _frozen(value)) for key, value in items)


def _frozen(value: Any) -> Value:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else cast(Value, value)


@cache
def _types(kind: type[Any]) -> dict[str, tuple[type, ...]]:
    """What each field of a record may be at run time."""
    return {name: _allowed(hint) for name, hint in get_type_hints(kind, localns={"Value": Value}).items()}


def _allowed(hint: Any) -> tuple[type, ...]:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return tuple(kind for part in get_args(hint) for kind in _allowed(part))
    if origin is Literal:
        return (str,)
    if hint is float:
        return (float, int)
    return (origin or hint,)


def _flat(kind: type[T], data: Mapping[str, Any]) -> T:
    """Build a record, ignoring keys a newer minor version may have added.

    Raises TypeError for a value of another type: a damaged file is found here, not where it is used.
    """
    types = _types(cast(Any, kind))
    known = {}
    for name, value in data.items():
        allowed = types.get(name)
        if allowed is not None:
            if not isinstance(value, allowed):
                raise TypeError(f"{name} is {type(value).__name__}")
            known[name] = value
    return kind(**known)


def task_from_json(data: Mapping[str, Any]) -> Task:
    """The task a receipt or a plan holds. Raises KeyError or TypeError when it is not one."""
    changed = dict(data)
    for name, read in _NESTED.items():
        if changed.get(name):
            changed[name] = read(changed[name])
        elif name in changed:
            changed[name] = None if name == "scheduler" else ()
    return _flat(Task, changed)


def source_from_json(data: Mapping[str, Any]) -> ModelSource:
    """The source that another process was told. Raises TypeError when it is not one."""
    return _flat(ModelSource, data)


_NESTED: dict[str, Callable[[Any], Any]] = {
    "scheduler": lambda item: _calls([item])[0],
    "loras": lambda items: tuple(_flat(Lora, item) for item in items),
    "extra": _pairs,
    "pixel_steps": _calls,
    "memory_steps": _calls,
    "format_options": _pairs,
}


def _measurement(data: Mapping[str, Any]) -> Measurement:
    nested: dict[str, Any] = {name: _flat(StagePeak, data[name]) for name in _STAGES if data.get(name)}
    if data.get("card"):
        nested["card"] = _flat(CardState, data["card"])
    return _flat(Measurement, {**data, **nested})


_STAGES = ("encode", "denoise", "decode", "whole")


def _machine(data: Mapping[str, Any]) -> Machine:
    return _known_machine(tuple(data.items()))


@lru_cache(maxsize=256)
def _known_machine(items: tuple[tuple[str, Any], ...]) -> Machine:
    """Thousands of receipts come from the same few machines."""
    return _flat(Machine, dict(items))


def receipt_from_json(data: Mapping[str, Any]) -> Receipt:
    """Read a receipt. Raises KeyError, TypeError or AttributeError when the data is not one."""
    return _flat(
        Receipt,
        {
            **data,
            "task": task_from_json(data["task"]),
            "file": _flat(FileRef, data["file"]),
            "measurement": _measurement(data["measurement"]),
            "machine": _machine(data["machine"]),
            "allowed": tuple(data.get("allowed", ())),
        },
    )


def failure_from_json(data: Mapping[str, Any]) -> Failure:
    """Read a failure record. Raises KeyError, TypeError or AttributeError when the data is not one."""
    return _flat(
        Failure,
        {
            **data,
            "task": task_from_json(data["task"]),
            "error": _flat(ErrorInfo, data["error"]),
            "measurement": _measurement(data["measurement"]),
            "machine": _machine(data["machine"]),
        },
    )
