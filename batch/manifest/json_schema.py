"""The JSON Schema of a manifest, made from the table of axes and the models: what editors check and complete."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from batch.manifest import formats
from batch.manifest.axes import AXES, MAYBE_EMPTY, PLAIN, random
from batch.manifest.limits import DRAWN
from batch.manifest.schema import TopLevel

Schema = dict[str, Any]
"""JSON data, nested as JSON Schema wants it."""

_TEXT = {"type": "string"}
_FILE: Schema = {
    "type": "object",
    "properties": {"file": _TEXT, "column": PLAIN, "sheet": _TEXT},
    "required": ["file"],
    "additionalProperties": False,
}
_STYLE = {
    "type": "object",
    "properties": {"prompt": MAYBE_EMPTY, "negative_prompt": MAYBE_EMPTY},
    "additionalProperties": False,
    "minProperties": 1,
}
_WEIGHTED = {
    "type": "object",
    "properties": {
        "text": MAYBE_EMPTY,
        "content": MAYBE_EMPTY,
        "weight": {
            "type": ["number", "string"],
            "minimum": 0,
            "pattern": r"^\s*\+?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$",
        },
    },
    "anyOf": [{"required": ["text"]}, {"required": ["content"]}],
    "additionalProperties": False,
}
_WILDCARD = {"$ref": "#/$defs/wildcard"}


def json_schema() -> Schema:
    """The schema as JSON data (draft 2020-12)."""
    schema = copy.deepcopy(TopLevel.model_json_schema())
    properties = schema["properties"]
    properties["grid"] |= _axes(AXES)
    properties["zip"]["items"] = _axes(AXES)
    properties["include"]["items"] = _axes(AXES)
    properties["exclude"]["items"] = _axes(AXES) | {"minProperties": 1}
    properties["rows"] = {"description": properties["rows"]["description"], **_FILE}
    properties["styles"] |= {"properties": {"file": {"anyOf": [_many(_TEXT), _STYLE]}}}
    properties["styles"]["additionalProperties"] = {"anyOf": [MAYBE_EMPTY, _STYLE]}
    properties["variants"] |= {"anyOf": [{"enum": ["off", "all", False]}, random(DRAWN)]}
    properties["wildcards"]["additionalProperties"] = _WILDCARD
    schema["$defs"]["wildcard"] = _wildcard()
    for name in ("prompt_prefix", "prompt_suffix"):
        properties[name] |= MAYBE_EMPTY
    properties["name"].pop("anyOf")
    properties["name"] |= PLAIN
    output = schema["$defs"]["Output"]
    output["additionalProperties"] = False
    output["properties"]["name"] |= PLAIN
    output["properties"]["format"] |= {"enum": list(formats.FORMATS)}
    for form in formats.FORMATS.values():
        for name, option in form.options.items():
            output["properties"].setdefault(name, {"description": option.help})
    schema["$defs"]["RunOptions"]["properties"]["min_free_disk"].pop("type")
    prompt = _axes(other for other in AXES if other != "prompt")
    prompt |= {"properties": {"text": PLAIN, **prompt["properties"]}, "required": ["text"]}
    prompts: Schema = {"anyOf": [PLAIN, _FILE, prompt]}
    for name, axis in AXES.items():
        value = prompts if name == "prompt" else axis.schema
        schema["$defs"][f"axis_{name}"] = {"description": axis.help, **_many(value)}
    schema["anyOf"] = [{"required": [name]} for name in ("grid", "rows", "include")]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "run_batch manifest",
        **{key: value for key, value in schema.items() if key not in ("title", "required")},
    }


def _wildcard() -> Schema:
    """Lines, the file in which they stand, or wildcards by their names; one may be called ``file``."""
    lists = {
        "type": "object",
        "properties": {"file": {"type": ["array", "object"], **_WILDCARD}},
        "additionalProperties": _WILDCARD,
    }
    named = {**_FILE, "properties": {"file": _TEXT, "column": PLAIN}}
    return {"anyOf": [_many({"anyOf": [MAYBE_EMPTY, _WEIGHTED]}), named, lists]}


def _many(value: Mapping[str, object]) -> Schema:
    return {"anyOf": [value, {"type": "array", "items": value, "minItems": 1}]}


def _axes(names: Iterable[str]) -> Schema:
    return {
        "type": "object",
        "properties": {name: {"$ref": f"#/$defs/axis_{name}"} for name in names},
        "patternProperties": {r"^extra\.[A-Za-z_]\w*$": {"description": "an argument of the pipeline's call"}},
        "additionalProperties": False,
    }
