"""A manifest file to a :class:`Manifest`: strict, all problems at once, each with file and line."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from batch.base.errors import ManifestError, Problem, UserError
from batch.manifest import formats, values
from batch.manifest.axes import axis, axis_meant
from batch.manifest.document import TEXT_KEYS, Document, Location, Place, parse, read_text
from batch.manifest.files import Problems
from batch.manifest.grids import GridReader
from batch.manifest.prompts import Prompts, Wildcards, read_styles, read_variants
from batch.manifest.schema import Grid, Manifest, Output, RunOptions, Style, TopLevel
from batch.manifest.tables import TABLE_SUFFIXES
from batch.manifest.values import suggest
from batch.manifest.variants import Grammar

REPEATS = 3
"""Of a measurement, when the manifest does not say."""

_PERMISSIONS = ("allow_pickle", "trust_remote_code")
_SECTIONS: dict[str, type[BaseModel]] = {"output": Output, "run": RunOptions}


def read_manifest(path: Path, overrides: Sequence[str] = ()) -> Manifest:
    """Read ``path`` and apply ``--set`` overrides (``KEY=VALUE``).

    Raises :class:`ManifestError` with every problem found.
    """
    text, document = _document(path)
    for override in overrides:
        _override(document, override)
    problems = Problems(document)
    top = _top_level(document, problems)
    prompts, drawn = _prompts(document, path.parent, problems)
    reader = GridReader(document.data, path.parent, prompts, problems)
    grids = reader.grids()
    exclude = reader.rules(grids)
    styles = read_styles(document, path.parent, problems)
    _check_styles(grids, styles, problems)
    if top is not None:
        _check_output(top.output, problems)
        _check_kind(top, problems)
    if problems.found or top is None:
        raise ManifestError(sorted(set(problems.found)))
    return Manifest(
        name=top.name or path.stem,
        kind=top.kind,
        source=str(path),
        folder=str(path.parent),
        text=_effective(text, overrides),
        suffix=path.suffix.lower() if path.suffix.lower() in TABLE_SUFFIXES else ".yaml",
        grids=grids,
        exclude=exclude,
        styles=styles,
        random_variants=drawn,
        resize=top.resize,
        allow_pickle=frozenset(top.allow_pickle),
        trust_remote_code=frozenset(top.trust_remote_code),
        permissions={key: _places(document, key, getattr(top, key)) for key in _PERMISSIONS},
        repeats=(top.repeats or REPEATS) if top.kind == "measure" else 0,
        output=top.output,
        run=_run_options(top),
        notify=tuple(top.notify),
        warnings=tuple(_warnings(prompts, path)),
    )


def _document(path: Path) -> tuple[str, Document]:
    """The manifest's text and data; a table is a manifest whose rows are in the table itself."""
    source = str(path)
    if path.suffix.lower() in TABLE_SUFFIXES:
        text = read_text(path, source)
        return text, Document({"rows": {"file": path.name}, "grid": {}}, source, {(): Place(source, 0)})
    text = read_text(path, source)
    document = parse(text, source)
    if not isinstance(document.data, dict):
        raise ManifestError([document.problem((), "a manifest is a mapping; it begins with 'grid:'")])
    if "grid" not in document.data and ("rows" in document.data or "include" in document.data):
        document.data["grid"] = {}
    return text, document


def _places(document: Document, key: str, names: Sequence[str]) -> dict[str, Place]:
    return {name: document.place((key, index)) for index, name in enumerate(names)}


def _prompts(document: Document, folder: Path, problems: Problems) -> tuple[Prompts, int]:
    """How prompts are read, and how many texts are drawn of one with alternatives."""
    drawn: int | None = None
    try:
        drawn = read_variants(document.data.get("variants", "off"))
    except ValueError as error:
        problems.add(("variants",), f"variants: {error}")
    wildcards = Wildcards(document, folder, problems)
    fixes = [document.data.get(name) for name in ("prompt_prefix", "prompt_suffix")]
    prefix, suffix = (text if isinstance(text, str) else "" for text in fixes)
    grammar = None if drawn is None else Grammar(wildcards)
    return Prompts(prefix, suffix, grammar, every=not drawn), drawn or 0


def _check_styles(grids: Sequence[Grid], styles: dict[str, Style], problems: Problems) -> None:
    for grid in grids:
        for entry in grid.entries("style"):
            for name in entry.value:
                if name not in styles:
                    hint = suggest(name, styles) if styles else "write it under styles:"
                    problems.found.append(Problem(*entry.place, f"style: '{name}' is unknown; {hint}"))


def _check_output(output: Output, problems: Problems) -> None:
    possible = [*Output.model_fields, *formats.FORMATS[output.format].options]
    for key, value in (output.model_extra or {}).items():
        if key not in possible and get_close_matches(key, possible):
            problems.add(("output", key), f"unknown key 'output.{key}'; {suggest(key, possible)}")
            continue
        try:
            formats.check_options(output.format, {key: value})
        except ValueError as error:
            problems.add(("output", key), f"output: {error}")


def _check_kind(top: TopLevel, problems: Problems) -> None:
    """What has no meaning for this kind of run."""
    if top.kind != "measure":
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


def _run_options(top: TopLevel) -> RunOptions:
    """The run section; a measurement falls back to nothing, and compiles where it is told to."""
    if top.kind != "measure":
        return top.run
    compiled = top.run.compile if "compile" in top.run.model_fields_set else "off"
    return top.run.model_copy(update={"on_oom": "fail", "compile": compiled})


def _warnings(prompts: Prompts, path: Path) -> list[str]:
    found = []
    if prompts.ignored:
        first = values.shown(min(prompts.ignored))
        found.append(
            f"{path}: prompts with alternatives, such as {first}, are rendered as they stand, since variants is "
            "off. Write variants: all, or variants: {random: 4}"
        )
    return found


def _effective(text: str, overrides: Sequence[str]) -> str:
    """The manifest as it was run: its own text, and what the command line changed as comments."""
    return text if not overrides else "".join(f"# --set {item}\n" for item in overrides) + text


def _override(document: Document, override: str) -> None:
    key, equals, value = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UserError(f"--set {override}: write KEY=VALUE, for example --set seed=0..3")
    source = f"--set {key}"
    as_text = key.rsplit(".", 1)[-1] in TEXT_KEYS
    parsed = _structure(key, value, source) if as_text else parse(value or "''", source)
    if parsed is None:
        # A prompt on the command line is taken as it is: it may hold colons, hashes and braces.
        parsed = Document(value, source, {(): Place(source, 0)})
    location: Location = ("grid", key) if axis(key) and key != "name" else tuple(key.split("."))
    if location[0] == "grid" and len(location) == 3 and location[1] == "extra":
        location = ("grid", f"extra.{location[2]}")
    document.put(location, Document(parsed.data, source, {known: Place(source, 0) for known in parsed.places}))


def _structure(key: str, value: str, source: str) -> Document | None:
    """The list or mapping that a text axis is set to; None for everything that is a text."""
    if axis(key) is None or not value.lstrip().startswith(("[", "{")):
        return None
    try:
        parsed = parse(value, source, as_text=True)
    except ManifestError:
        return None
    mapping = isinstance(parsed.data, dict) and {"file", "text"}.intersection(parsed.data)
    return parsed if isinstance(parsed.data, list) or mapping else None


def _top_level(document: Document, problems: Problems) -> TopLevel | None:
    try:
        return TopLevel.model_validate(document.data)
    except ValidationError as error:
        for item in error.errors():
            location: Location = tuple(item["loc"])
            problems.add(location, _message(item, location))
        return None


def _message(item: Any, location: Location) -> str:
    """Pydantic's verdict in the words of this program."""
    key = ".".join(str(part) for part in location)
    kind = str(item["type"])
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
    expected = {
        "dict_type": "a mapping (key: value)",
        "model_type": "a mapping (key: value)",
        "list_type": "a list",
        "bool_type": "true or false",
        "int_type": "a whole number",
        "string_type": "a text",
    }
    if kind in expected:
        return f"{key}: {values.shown(item['input'])} is not {expected[kind]}"
    return f"{key}: {values.shown(item['input'])}: {item['msg'].lower()}"
