"""A manifest file to a :class:`Manifest`: strict, all problems at once, each with file and line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from batch.errors import ManifestError, Problem, UserError
from batch.manifest import values
from batch.manifest.document import TEXT_KEYS, Document, Location, Place, parse, read_text
from batch.manifest.schema import AXES, Entry, Manifest, Output, Rule, RunOptions, TopLevel, axis

_SECTIONS: dict[str, type[BaseModel]] = {"output": Output, "run": RunOptions}


def read_manifest(path: Path, overrides: Sequence[str] = ()) -> Manifest:
    """Read ``path`` and apply ``--set`` overrides (``KEY=VALUE``).

    Raises :class:`ManifestError` with every problem found.
    """
    if path.suffix.lower() in {".csv", ".tsv"}:
        raise UserError(f"{path}: a CSV is not read as a manifest yet; write a YAML manifest")
    text = read_text(path, str(path))
    document = parse(text, str(path))
    if not isinstance(document.data, dict):
        raise ManifestError([document.problem((), "a manifest is a mapping; it begins with 'grid:'")])
    problems: list[Problem] = []
    for override in overrides:
        _override(document, override)
    top = _top_level(document, problems)
    axes = _axes(document, path.parent, problems)
    exclude = _rules(document, problems)
    if problems or top is None:
        raise ManifestError(sorted(set(problems)))
    return Manifest(
        name=top.name or path.stem,
        kind=top.kind,
        source=str(path),
        folder=str(path.parent),
        text=_effective(text, overrides),
        axes=axes,
        exclude=exclude,
        resize=top.resize,
        output=top.output,
        run=top.run,
    )


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
    if as_text and not value.lstrip().startswith(("[", "{")):
        # A prompt on the command line is taken as it is: it may hold colons and hashes.
        parsed = Document(value, source, {(): Place(source, 0)})
    else:
        parsed = parse(value or "''", source, as_text=as_text)
    location: Location = ("grid", key) if axis(key) and key != "name" else tuple(key.split("."))
    if location[0] == "grid" and len(location) == 3 and location[1] == "extra":
        location = ("grid", f"extra.{location[2]}")
    document.put(location, Document(parsed.data, source, {known: Place(source, 0) for known in parsed.places}))


def _suggest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"possible are {', '.join(known)}"


def _top_level(document: Document, problems: list[Problem]) -> TopLevel | None:
    try:
        return TopLevel.model_validate(document.data)
    except ValidationError as error:
        for item in error.errors():
            location: Location = tuple(item["loc"])
            problems.append(document.problem(location, _message(item, location)))
        return None


def _message(item: Any, location: Location) -> str:
    """Pydantic's verdict in the words of this program."""
    key = ".".join(str(part) for part in location)
    kind = str(item["type"])
    if kind == "extra_forbidden":
        section = _SECTIONS.get(str(location[0])) if len(location) > 1 else TopLevel
        known = list((section or TopLevel).model_fields)
        if len(location) == 1 and axis(str(location[0])):
            return f"'{key}' is an axis; write it under grid:"
        return f"unknown key '{key}'; {_suggest(str(location[-1]), known)}"
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


def _axes(document: Document, folder: Path, problems: list[Problem]) -> dict[str, tuple[Entry, ...]]:
    grid = document.data.get("grid")
    if not isinstance(grid, dict):
        return {}
    for needed in ("model", "prompt"):
        if needed not in grid:
            problems.append(document.problem(("grid",), f"the grid needs '{needed}'"))
    axes: dict[str, tuple[Entry, ...]] = {}
    for name, written in grid.items():
        location: Location = ("grid", name)
        if axis(name) is None:
            hint = _suggest(name, [*AXES, "extra.<argument>"])
            problems.append(document.problem(location, f"unknown axis '{name}'; {hint}"))
            continue
        entries = tuple(_entries(document, location, name, written, folder, problems))
        if not entries and isinstance(written, list) and not written:
            problems.append(document.problem(location, f"'{name}' is an empty list; give a value or remove it"))
        axes[name] = entries
    return axes


def _entries(
    document: Document, location: Location, name: str, written: Any, folder: Path, problems: list[Problem]
) -> Iterable[Entry]:
    many = isinstance(written, list)
    for index, item in enumerate(written if many else [written]):
        where = (*location, index) if many else location
        if name == "prompt" and isinstance(item, dict):
            yield from _prompts_from_file(document, where, item, folder, problems)
            continue
        try:
            for value in _read(name, item):
                yield Entry(value, document.place(where))
        except ValueError as error:
            problems.append(document.problem(where, f"{name}: {error}"))


def _read(name: str, item: Any) -> list[Any]:
    found = axis(name)
    assert found is not None  # callers have checked the name
    result = found.read(item)
    return result if found.many else [result]


def _prompts_from_file(
    document: Document, where: Location, item: dict[str, Any], folder: Path, problems: list[Problem]
) -> Iterable[Entry]:
    named = item.get("file")
    if set(item) != {"file"} or not isinstance(named, str) or not named:
        problems.append(document.problem(where, "prompt: a mapping is {file: prompts.txt}"))
        return
    try:
        path = _referenced(named, folder)
        text = read_text(path, str(path))
    except ValueError as error:
        problems.append(document.problem(where, f"prompt: {error}"))
        return
    except ManifestError as error:
        reason = "; ".join(problem.message for problem in error.problems)
        problems.append(document.problem(where, f"prompt: {path}: {reason}"))
        return
    found = False
    for number, line in enumerate(text.split("\n"), start=1):
        prompt = line.strip()
        if prompt and not prompt.startswith("#"):
            found = True
            yield Entry(prompt, Place(str(path), number))
    if not found:
        problems.append(document.problem(where, f"prompt: {path} holds no prompt"))


def _referenced(named: str, folder: Path) -> Path:
    """A file a manifest names: in its own folder or below, unless written as an absolute path."""
    path = Path(named)
    if path.suffix.lower() != ".txt":
        raise ValueError(f"{named}: prompts are read from .txt files, one prompt a line")
    if path.is_absolute():
        return path
    if not (folder / path).resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{named} lies outside the manifest's folder; move it there or write the full path")
    return folder / path


def _rules(document: Document, problems: list[Problem]) -> tuple[Rule, ...]:
    written = document.data.get("exclude")
    grid = document.data.get("grid")
    if not isinstance(written, list) or not isinstance(grid, dict):
        return ()
    rules = []
    for index, entry in enumerate(written):
        if not isinstance(entry, dict):
            continue  # said by the schema
        location: Location = ("exclude", index)
        if not entry:
            problems.append(document.problem(location, "exclude: an empty entry would leave out everything"))
        conditions: dict[str, tuple[Any, ...]] = {}
        for name, value in entry.items():
            if axis(name) is None or name not in grid:
                hint = _suggest(name, [known for known in grid if axis(known)])
                problems.append(
                    document.problem((*location, name), f"exclude: no axis '{name}' in the grid; {hint}")
                )
                continue
            try:
                items = value if isinstance(value, list) else [value]
                conditions[name] = tuple(result for item in items for result in _read(name, item))
            except ValueError as error:
                problems.append(document.problem((*location, name), f"exclude: {name}: {error}"))
        rules.append(Rule(conditions, document.place(location)))
    return tuple(rules)
