"""Whether the value of an ``extra.<argument>`` is of the kind that the pipeline's call says it takes.

The call's own annotation and default tell; where they name what is not known here, nothing is checked.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import TypeAlias

from batch.catalogue import signatures
from batch.catalogue.signatures import Argument
from batch.manifest.values import shown


def objection(pipeline: str, name: str, value: object) -> str:
    """Why a call cannot take a value; "" where it can, as far as is known here."""
    argument = signatures.pipeline_argument(pipeline, name)
    if argument is None or argument.annotation is None or (value is None and argument.optional):
        return ""
    kinds = _kinds(argument)
    if not kinds or any(fits(value) for _, fits in kinds):
        return _length(pipeline, name, value)
    wanted = " or ".join(dict.fromkeys(what for what, _ in kinds))
    return f"{wanted} is wanted, not {'null' if value is None else shown(value)}"


def _length(pipeline: str, name: str, value: object) -> str:
    """What is counted is not below one, nor above what the call allows."""
    if not name.endswith(("_length", "_steps")) or not isinstance(value, int):
        return ""
    if value < 1:
        return f"a whole number above 0 is wanted, not {value}"
    most = signatures.pipeline_limit(pipeline, name)
    return f"{pipeline} takes {most} at most, not {value}" if most is not None and value > most else ""


_Kind: TypeAlias = tuple[str, Callable[[object], bool]]
"""What is wanted, in words, and whether a value is it."""


def _kinds(argument: Argument) -> list[_Kind]:
    """What an argument may be; empty where something of it is not known."""
    assert argument.annotation is not None
    parts = [part for part in _parts(argument.annotation) if ast.unparse(part) != "torch.Tensor"]
    found = [_kind(part, argument.name) for part in parts]
    kinds = [kind for kind in found if kind is not None]
    if len(kinds) < len(found):
        return []
    if argument.factor:  # annotated as a switch, and multiplied by: ZImagePipeline's cfg_normalization
        kinds.append(_PLAIN["float"])
    # Of a picture there is one text: a list would be those of several.
    return [_PLAIN["str"]] if _PLAIN["str"] in kinds else kinds


def _parts(node: ast.expr) -> list[ast.expr]:
    """The members of a union."""
    if isinstance(node, ast.BinOp):
        return [*_parts(node.left), *_parts(node.right)]
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("Optional", "Union"):
        none = [ast.Constant(None)] if ast.unparse(node.value) == "Optional" else []
        return [*_members(node), *none]
    return [node]


def _members(node: ast.Subscript) -> list[ast.expr]:
    return node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]


def _kind(node: ast.expr, name: str) -> _Kind | None:
    if isinstance(node, ast.Subscript) and ast.unparse(node.value).lower() in ("list", "tuple", "sequence"):
        return _list(node, name)
    return _PLAIN.get(ast.unparse(node))


def _list(node: ast.Subscript, name: str) -> _Kind | None:
    members = [item for item in _members(node) if ast.unparse(item) != "..."]
    # Whole numbers by their annotation; schedulers take others, and those of SANA-Sprint are angles.
    inner = _PLAIN["float"] if name.endswith("timesteps") else _kind(members[0], name)
    if inner is None:
        return None
    what, fits = inner
    count = len(members)
    several = _SEVERAL.get(what, f"lists ({what} each)")

    def is_list(value: object) -> bool:
        return isinstance(value, tuple) and count in (1, len(value)) and all(map(fits, value))

    return (f"a list of {count} {several}" if count > 1 else f"a list of {several}", is_list)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_PLAIN: Mapping[str, _Kind] = {
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "int": ("a whole number", _is_whole),
    "float": ("a number", lambda value: _is_whole(value) or isinstance(value, float)),
    "str": ("a text (in quotes)", lambda value: isinstance(value, str)),
    "list": ("a list", lambda value: isinstance(value, tuple)),
    "None": ("null", lambda value: value is None),
}

_SEVERAL = {"a whole number": "whole numbers", "a number": "numbers", "a text (in quotes)": "texts"}
