"""A manifest file to a :class:`Manifest`: strict, all problems at once, each with file and line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from batch.base.collector import without_gc
from batch.base.errors import ManifestError, Problem
from batch.manifest.document import Document, Place, parse, read_text
from batch.manifest.entries import EntryReader
from batch.manifest.files import Problems
from batch.manifest.grids import GridReader
from batch.manifest.override import override
from batch.manifest.prompts import Prompts, read_variants
from batch.manifest.rows import Table
from batch.manifest.schema import Grid, Manifest
from batch.manifest.sections import read_sections
from batch.manifest.styles import Styles, read_styles
from batch.manifest.syntax import A1111, VARIANTS, Foreign
from batch.manifest.tables import TABLE_SUFFIXES, TEXT_TABLES, foreign_table, read_lines, read_table
from batch.manifest.values import shown
from batch.manifest.variants import Grammar
from batch.manifest.wildcards import Wildcards
from batch.records.kinds import RunKind

REPEATS = 3
"""Of a measurement, when the manifest does not say."""

_SECTION = re.compile(r"^[{ \t\"']*(?:grid|rows|include)\b[\"']?\s*:", re.MULTILINE)
"""What every manifest has, whatever its file is called."""

_PERMISSIONS = ("allow_pickle", "trust_remote_code")


@without_gc()
def read_manifest(path: Path, overrides: Sequence[str] = ()) -> Manifest:
    """Read ``path`` and apply ``--set`` overrides (``KEY=VALUE``).

    Raises :class:`ManifestError` with every problem found.
    """
    text, document = _document(path)
    for written in overrides:
        override(document, written)
    return manifest_of(document, path, text="".join(f"# --set {written}\n" for written in overrides) + text)


def manifest_of(document: Document, path: Path, text: str = "") -> Manifest:
    """What a document says that lies, or will lie, at ``path``; ``text`` is what is kept of it, as it was run.

    Raises :class:`ManifestError` with every problem found.
    """
    problems = Problems(document)
    top = read_sections(document, problems)
    prompts, drawn = _prompts(document, path.parent, problems)
    styles = read_styles(document, path.parent, problems)
    reader = GridReader(document.sections, EntryReader(path.parent, prompts, styles, problems), problems)
    grids = reader.grids()
    exclude = reader.rules(grids)
    _check_styles(grids, styles, prompts, problems)
    warnings = (*_warnings(prompts, document), *styles.warnings(), *problems.remarks)
    if problems.found or top is None:
        raise ManifestError(sorted(set(problems.found)), warnings)
    kind = RunKind(top.kind)
    return Manifest(
        name=top.name or path.stem,
        kind=kind,
        source=str(path),
        folder=str(path.parent),
        text=text,
        suffix=_kept_as(path.suffix.lower()),
        grids=grids,
        exclude=exclude,
        styles=styles.known,
        random_variants=drawn,
        long_prompts="chunk" if top.long_prompts == "chunk" else "",
        prompt_syntax="a1111" if top.prompt_syntax == "a1111" else "",
        resize=top.resize,
        allow_pickle=frozenset(top.allow_pickle),
        trust_remote_code=frozenset(top.trust_remote_code),
        permissions={key: document.items(key) for key in _PERMISSIONS},
        repeats=(top.repeats or REPEATS) if kind is RunKind.MEASURE else 0,
        output=top.output,
        run=top.run_options,
        notify=tuple(top.notify),
        warnings=warnings,
    )


def _document(path: Path) -> tuple[str, Document]:
    """The manifest's text and data; a table is a manifest whose rows are in the table itself."""
    source = str(path)
    if hint := foreign_table(path.suffix):
        raise ManifestError([Problem(source, 0, f"this kind of file is not read; {hint}")])
    kind = path.suffix.lower()
    if kind in TABLE_SUFFIXES:
        text = _as_csv(read_table(path)) if kind == ".xlsx" else read_lines(path)[0]
        return text, Document({"rows": {"file": path.name}, "grid": {}}, source, {(): Place(source, 0)})
    text = read_text(path, source)
    if kind == ".txt" and not _SECTION.search(text):
        line = f"grid: {{model: NAME, prompt: {{file: {path.name}}}}}"
        said = f"a list of prompts is no manifest; write one beside it, such as job.yaml, with the line {line}"
        raise ManifestError([Problem(source, 0, said)])
    document = parse(text, source)
    if not isinstance(document.data, dict):
        said = "a manifest is a mapping; it begins with 'grid:'"
        if isinstance(document.data, list):
            said += ". A list of rows is a .jsonl file, with an object a line"
        raise ManifestError([document.problem((), said)])
    if "grid" not in document.data and ("rows" in document.data or "include" in document.data):
        document.data["grid"] = {}
    return text, document


def _as_csv(table: Table) -> str:
    """What a run folder keeps of a workbook."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(row.cells.values() for row in table.rows)
    return written.getvalue()


def _kept_as(suffix: str) -> str:
    """The suffix of the manifest in its run folder."""
    if suffix in TEXT_TABLES:
        return suffix
    return ".csv" if suffix in TABLE_SUFFIXES else ".yaml"


def _prompts(document: Document, folder: Path, problems: Problems) -> tuple[Prompts, int]:
    """How prompts are read, and how many texts are drawn of one with alternatives."""
    drawn: int | None = None
    try:
        drawn = read_variants(document.sections.get("variants", "off"))
    except ValueError as error:
        problems.add(("variants",), f"variants: {error}")
    a1111 = document.sections.get("prompt_syntax") == "a1111"
    known = A1111 if a1111 else frozenset[str]()
    foreign = Foreign(known if drawn is None else known | VARIANTS)
    wildcards = Wildcards(document, folder, problems, foreign)
    fixes = [document.sections.get(name) for name in ("prompt_prefix", "prompt_suffix")]
    prefix, suffix = (text if isinstance(text, str) else "" for text in fixes)
    grammar = None if drawn is None else Grammar(wildcards)
    for name, fix in (("prompt_prefix", prefix), ("prompt_suffix", suffix)):
        foreign.look(fix, document.place((name,)))
    return Prompts(prefix, suffix, grammar, drawn or 0, folder if a1111 else None, foreign=foreign), drawn or 0


def _check_styles(grids: Sequence[Grid], styles: Styles, prompts: Prompts, problems: Problems) -> None:
    looked: set[str] = set()
    for entry in (entry for grid in grids for entry in grid.entries("style")):
        for name in entry.value:
            if name not in looked:
                looked.add(name)
                _check_style(name, styles, entry.place, prompts, problems)


def _check_style(name: str, styles: Styles, place: Place, prompts: Prompts, problems: Problems) -> None:
    """A style comes after alternatives are expanded, so there must be none in it."""
    style = styles.known[name]
    for written in (style.prompt, style.negative_prompt):
        text = written.replace("{prompt}", "")
        prompts.foreign.look(text, styles.places[name], f"the style '{name}' holds ")
        try:
            if prompts.fixed(text) != text:
                raise ValueError("a backslash is text in a style; remove it")
        except ValueError as error:
            problems.found.append(Problem(*place, f"style: '{name}': {error}"))


def _warnings(prompts: Prompts, document: Document) -> tuple[str, ...]:
    found = [*map(str, document.warnings), *prompts.foreign.told]
    for text, place in islice(prompts.ignored.items(), 1):
        found.append(
            f"{place}: prompts with alternatives, such as {shown(text)}, are rendered "
            "as they stand, since variants is off. Write variants: all, or variants: {random: 4}"
        )
    return tuple(found)
