"""The JSON Schema of a manifest, made from the table of axes and the models: what editors check and complete."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from batch.manifest import formats
from batch.manifest.axes import AXES, RANDOM
from batch.manifest.schema import TopLevel

Schema = dict[str, Any]
"""JSON data, nested as JSON Schema wants it."""

_TEXT = {"type": "string"}
_FILE = {
    "type": "object",
    "properties": {"file": _TEXT, "column": _TEXT, "sheet": _TEXT},
    "required": ["file"],
    "additionalProperties": False,
}
_STYLE = {
    "type": "object",
    "properties": {"prompt": _TEXT, "negative_prompt": _TEXT},
    "additionalProperties": False,
    "minProperties": 1,
}


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
    properties["styles"]["additionalProperties"] = {"anyOf": [_TEXT, _STYLE]}
    properties["variants"] |= {"anyOf": [{"enum": ["off", "all"]}, RANDOM]}
    line: Schema = {"anyOf": [_TEXT, {"type": "object", "required": ["text"]}]}
    properties["wildcards"]["additionalProperties"] = {"anyOf": [_many(line), {"type": "object"}]}
    output = schema["$defs"]["Output"]
    output["additionalProperties"] = False
    output["properties"]["format"] |= {"enum": list(formats.FORMATS)}
    for form in formats.FORMATS.values():
        for name, option in form.options.items():
            output["properties"].setdefault(name, {"description": option.help})
    schema["$defs"]["RunOptions"]["properties"]["min_free_disk"].pop("type")
    prompt = _axes(other for other in AXES if other != "prompt")
    prompt |= {"properties": {"text": _TEXT, **prompt["properties"]}, "required": ["text"]}
    prompts: Schema = {"anyOf": [{"type": ["string", "number", "boolean"]}, _FILE, prompt]}
    for name, axis in AXES.items():
        value = prompts if name == "prompt" else axis.schema
        schema["$defs"][f"axis_{name}"] = {"description": axis.help, **_many(value)}
    schema["anyOf"] = [{"required": [name]} for name in ("grid", "rows", "include")]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "run_batch manifest",
        **{key: value for key, value in schema.items() if key not in ("title", "required")},
    }


def _many(value: Mapping[str, object]) -> Schema:
    return {"anyOf": [value, {"type": "array", "items": value, "minItems": 1}]}


def _axes(names: Iterable[str]) -> Schema:
    return {
        "type": "object",
        "properties": {name: {"$ref": f"#/$defs/axis_{name}"} for name in names},
        "patternProperties": {r"^extra\.[A-Za-z_]\w*$": {"description": "an argument of the pipeline's call"}},
        "additionalProperties": False,
    }
