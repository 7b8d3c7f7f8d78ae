"""The sections of a manifest that hold no axes: checked, with what is wrong in the words of this program."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from batch.manifest import formats, quotes, values
from batch.manifest.axes import axis_meant
from batch.manifest.document import Document
from batch.manifest.files import Problems
from batch.manifest.limits import DIGITS
from batch.manifest.scalars import core_scalar
from batch.manifest.schema import Output, RunOptions, TopLevel
from batch.manifest.values import suggest
from batch.records.kinds import RunKind

_SECTIONS: dict[str, type[BaseModel]] = {"output": Output, "run": RunOptions}

_EXPECTED = {
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "list_type": "a list",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "string_type": "a text",
}
"""What pydantic's kinds of errors would have taken."""


def read_sections(document: Document, problems: Problems) -> TopLevel | None:
    """The sections; None where one cannot be read at all."""
    try:
        top = TopLevel.model_validate(document.data)
    except ValidationError as error:
        for item in error.errors():
            hint = quotes.field_in_quotes(document.written(item["loc"])) if item["type"] == "string_type" else ""
            problems.add(item["loc"], f"{_message(item)}; {hint}" if hint else _message(item))
        return None
    # The format's own options stand beside the keys of every format.
    possible = [*Output.model_fields, *formats.FORMATS[top.output.format].options]
    for key, value in (top.output.model_extra or {}).items():
        if key not in possible and get_close_matches(key, possible):
            problems.add(("output", key), f"unknown key 'output.{key}'; {suggest(key, possible)}")
            continue
        try:
            formats.check_options(top.output.format, {key: value})
        except ValueError as error:
            problems.add(("output", key), f"output: {error}")
    _check_measurement(top, problems)
    if top.long_prompts == "chunk" and top.run.batch not in (1, "auto"):
        why = "texts in pieces are of several lengths, which cannot share a call; leave it out"
        problems.add(("run", "batch"), f"run.batch has no effect under long_prompts: chunk: {why}")
    return top


def _message(item: ErrorDetails) -> str:
    """Pydantic's verdict in the words of this program."""
    location, kind = item["loc"], item["type"]
    key = ".".join(str(part) for part in location)
    if kind == "extra_forbidden":
        section = _SECTIONS.get(str(location[0])) if len(location) > 1 else TopLevel
        known = list((section or TopLevel).model_fields)
        meant = axis_meant(key) if len(location) == 1 else ""
        if meant == key:
            return f"'{key}' is an axis; write it under grid:"
        if meant and not get_close_matches(key, known, cutoff=0.75):
            return f"unknown key '{key}'; did you mean the axis '{meant}'? It stands under grid:"
        return f"unknown key '{key}'; {suggest(str(location[-1]), known)}"
    if kind == "missing":
        return f"'{key}' is missing"
    if kind == "value_error":
        return f"{key}: {item['ctx']['error']}"
    if kind == "literal_error":
        return f"{key}: {values.shown(item['input'])} is not possible; {item['ctx']['expected']} is"
    if key in ("styles", "rows") and isinstance(item["input"], str) and Path(item["input"]).suffix:
        return f"{key}: a file is written {{file: {values.shortened(item['input'])}}}"
    if kind in _EXPECTED:
        quoted = isinstance(item["input"], str) and kind in ("int_type", "bool_type")
        plain = quoted and not isinstance(core_scalar(item["input"][:DIGITS]), str)
        hint = "; leave out the quotes" if plain else ""
        return f"{key}: {values.shown(item['input'])} is not {_EXPECTED[kind]}{hint}"
    return f"{key}: {values.shown(item['input'])}: {item['msg'].lower()}"


def _check_measurement(top: TopLevel, problems: Problems) -> None:
    """What has no meaning for this kind of run."""
    if RunKind(top.kind) is not RunKind.MEASURE:
        if top.repeats is not None:
            problems.add(("repeats",), "repeats has no effect: only kind: measure repeats an image")
        return
    wrong: dict[tuple[str, str], str] = {}
    if "on_oom" in top.run.model_fields_set and top.run.on_oom == "fallback":
        wrong["run", "on_oom"] = "a measurement falls back to nothing; out of memory is its result"
    if top.run.recycle_after:
        wrong["run", "recycle_after"] = "every setting of a measurement has a fresh process anyway"
    if top.run.batch == "auto":
        wrong["run", "batch"] = "auto goes by the card; a measurement names the number"
    if top.output.keep_latents:
        wrong["output", "keep_latents"] = "nothing decodes the latents of a measurement again"
    for location, why in wrong.items():
        problems.add(location, f"{'.'.join(location)}: {why}")
