"""The JSON Schema of a manifest, made from the table of axes and the models: what editors check and complete."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from batch.manifest import formats
from batch.manifest.axes import AXES
from batch.manifest.schema import TopLevel

_TEXT = {"type": "string"}
_FILE = {
    "type": "object",
    "properties": {"file": _TEXT, "column": _TEXT},
    "required": ["file"],
    "additionalProperties": False,
}


def json_schema() -> dict[str, Any]:
    """The schema as JSON data (draft 2020-12)."""
    schema = copy.deepcopy(TopLevel.model_json_schema())
    properties = schema["properties"]
    properties["grid"] |= _axes(AXES)
    properties["zip"]["items"] = _axes(AXES)
    properties["include"]["items"] = _axes(AXES)
    properties["exclude"]["items"] = _axes(AXES) | {"minProperties": 1}
    properties["rows"] = {"description": properties["rows"]["description"], **_FILE}
    properties["styles"]["additionalProperties"] = {"anyOf": [_TEXT, _named("prompt", "negative_prompt")]}
    properties["variants"] |= {"anyOf": [{"enum": ["off", "all"]}, _random()]}
    properties["wildcards"]["additionalProperties"] = {"anyOf": [_many(_TEXT), _FILE]}
    schema["$defs"]["Output"] = _output(schema["$defs"]["Output"])
    schema["$defs"]["RunOptions"]["properties"]["min_free_disk"].pop("type")
    schema["$defs"] |= {f"axis_{name}": _axis(name) for name in AXES}
    schema["anyOf"] = [{"required": [name]} for name in ("grid", "rows", "include")]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "run_batch manifest",
        **{key: value for key, value in schema.items() if key not in ("title", "required")},
    }


def _named(*names: str) -> dict[str, Any]:
    properties = dict.fromkeys(names, _TEXT)
    return {"type": "object", "properties": properties, "additionalProperties": False, "minProperties": 1}


def _random() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"random": {"type": "integer", "minimum": 1}},
        "required": ["random"],
        "additionalProperties": False,
    }


def _many(value: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [value, {"type": "array", "items": value, "minItems": 1}]}


def _axis(name: str) -> dict[str, Any]:
    value: Mapping[str, Any] = AXES[name].schema
    if name == "prompt":
        own = _axes(other for other in AXES if other != "prompt")
        own |= {"properties": {"text": _TEXT, **own["properties"]}, "required": ["text"]}
        value = {"anyOf": [{"type": ["string", "number", "boolean"]}, _FILE, own]}
    return {"description": AXES[name].help, **_many(value)}


def _axes(names: Iterable[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {"$ref": f"#/$defs/axis_{name}"} for name in names},
        "patternProperties": {r"^extra\.[A-Za-z_]\w*$": {"description": "an argument of the pipeline's call"}},
        "additionalProperties": False,
    }


def _output(section: dict[str, Any]) -> dict[str, Any]:
    section["properties"]["format"] |= {"enum": list(formats.FORMATS)}
    for form in formats.FORMATS.values():
        for name, option in form.options.items():
            section["properties"].setdefault(name, {"description": option.help})
    return section | {"additionalProperties": False}
