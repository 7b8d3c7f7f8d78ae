"""YAML text to plain data, with the line of every node, and strict about meaning.

Scalars follow the YAML 1.2 core schema (``no`` is a word, ``010`` is ten, ``1e-3`` is a number); PyYAML
alone follows 1.1 and would let a duplicate key win silently. Values of the keys in ``TEXT_KEYS`` are
never resolved at all: a prompt that reads ``1984`` stays that text.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import yaml

from batch.base import regular
from batch.base.errors import ManifestError, Problem
from batch.manifest import quotes
from batch.manifest.aliases import check_aliases
from batch.manifest.json_escapes import joined
from batch.manifest.limits import DEPTH, FILE_BYTES, MIB, NODES, YAML_LETTERS
from batch.manifest.scalars import core_scalar

Yaml = None | bool | int | float | str | list["Yaml"] | dict[str, "Yaml"]
"""A value as a manifest's YAML gives it, or a line of JSON."""

Location = tuple[str | int, ...]

TEXT_KEYS = frozenset(
    {"prompt", "negative_prompt", "text", "name", "style", "column", "prompt_prefix", "prompt_suffix", "file"}
)
_PROMPTS = frozenset({"prompt", "negative_prompt", "text", "prompt_prefix", "prompt_suffix"})
_TEXT_SECTIONS = (("styles",), ("wildcards",))
TOO_DEEP = f"nested more than {DEPTH} deep"
_TOO_MANY = f"more than {NODES:,} keys and values of YAML; put prompts into a table: {{file: prompts.csv}}"


class _TooMuch(yaml.MarkedYAMLError):
    """Valid, and more than a manifest needs."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Resolves nothing by itself, so that every tag seen is one the user wrote."""

    yaml_implicit_resolvers: dict[str, object] = {}  # noqa: RUF012 - PyYAML's own class attribute

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._nodes = 0

    def descend_resolver(self, parent: yaml.Node | None, index: object) -> None:  # noqa: ARG002
        """Called before a node is composed, which libyaml's binding does on the stack of C, without end."""
        self._depth += 1
        self._nodes += 1
        if self._depth > DEPTH or self._nodes > NODES:
            mark = None if parent is None else parent.start_mark
            raise _TooMuch(problem=TOO_DEEP if self._depth > DEPTH else _TOO_MANY, problem_mark=mark)

    def ascend_resolver(self) -> None:
        """Called after it."""
        self._depth -= 1


class Place(NamedTuple):
    """Where something was written: a file (or an option of the command line) and a line."""

    source: str
    line: int

    def __str__(self) -> str:
        """``file:line``; without a line where there is none."""
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Document:
    """Data as read, and where each place in it was written."""

    data: Yaml
    source: str
    places: dict[Location, Place]
    warnings: tuple[Problem, ...] = ()
    """Prompts that YAML may have read otherwise than they were meant."""
    lines: Sequence[str] = ()

    @property
    def sections(self) -> dict[str, Yaml]:
        """What stands under the keys at the top; nothing where the data is no mapping."""
        return self.data if isinstance(self.data, dict) else {}

    def items(self, key: str) -> dict[str, Place]:
        """The texts of the list under a key, each with where it was written."""
        written = self.sections.get(key)
        found = enumerate(written if isinstance(written, list) else ())
        return {item: self.place((key, index)) for index, item in found if isinstance(item, str)}

    def place(self, location: Location) -> Place:
        """Where a location was written, or the nearest one around it."""
        for length in range(len(location), -1, -1):
            if location[:length] in self.places:
                return self.places[location[:length]]
        return Place(self.source, 0)

    def problem(self, location: Location, message: str) -> Problem:
        """A problem at a location of this document."""
        return Problem(*self.place(location), message)

    def written(self, location: Location) -> str:
        """The line in which something was written; nothing where that is no line of this document."""
        source, line = self.place(location)
        return self.lines[line - 1] if source == self.source and 0 < line <= len(self.lines) else ""

    def put(self, location: tuple[str, ...], value: Document) -> None:
        """Set ``location`` to the data of another document, whose places come along."""
        target = self.sections
        for depth, key in enumerate(location[:-1], start=1):
            inner = target.get(key)
            if not isinstance(inner, dict):
                inner = target[key] = {}
                self.places[location[:depth]] = value.place(())
            target = inner
        target[location[-1]] = value.data
        for old in [known for known in self.places if known[: len(location)] == location]:
            del self.places[old]
        self.places.update({location + known: place for known, place in value.places.items()})


@dataclass(slots=True)
class _Builder:
    source: str
    lines: Sequence[str]
    aliased: frozenset[str]
    warnings: list[Problem] = field(default_factory=list)
    places: dict[Location, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    open: set[int] = field(default_factory=set)

    def build(self, node: yaml.Node, location: Location, *, text: bool) -> Yaml:
        line = node.start_mark.line + 1
        if id(node) in self.open:
            raise ManifestError([Problem(self.source, line, "an alias contains itself; write the values out")])
        self.places.setdefault(location, Place(self.source, line))
        if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.rsplit(":", 1)[1] not in {
            "str",
            "map",
            "seq",
        }:
            tag = node.tag.rsplit(":", 1)[-1]
            self._problem(line, f"the tag {tag} is not understood here; remove it{self._or(line)}")
        if text and _is_prompt(location):
            self._check_prompt(node, line, alone=location[-1:] == ("prompt",))
            if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
                return str(node.value).rstrip("\n")
        if isinstance(node, yaml.ScalarNode):
            return str(node.value) if text or node.style else self._scalar(node.value, line)
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*location, index), text=text) for index, item in enumerate(node.value)]
            return self._mapping(node, location)
        finally:
            self.open.discard(id(node))

    def _check_prompt(self, node: yaml.Node, line: int, *, alone: bool) -> None:
        anchor = quotes.anchored(node, self.lines)
        if anchor and anchor not in self.aliased:
            self._problem(line, f"&{anchor} names a value for which * stands, and none does{self._or(line)}")
        if isinstance(node, yaml.ScalarNode):
            said = [*quotes.eaten(node, self.lines), *quotes.in_block(node, self.lines, alone=alone)]
            self.warnings += (Problem(self.source, line, each) for each in said)

    def _or(self, line: int) -> str:
        """What to write where a prompt was meant."""
        quoted = quotes.in_quotes(self.lines[line - 1]) if line <= len(self.lines) else ""
        return f", or put the prompt in quotes: {quoted}" if quoted else ""

    def _mapping(self, node: yaml.Node, location: Location) -> dict[str, Yaml]:
        result: dict[str, Yaml] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(line, "a key must be a single word")
                continue
            key = str(key_node.value)
            if key in result:
                first = self.places[(*location, key)].line
                self._problem(line, f"'{key}' is given twice (first in line {first}); keep one")
                continue
            self.places[(*location, key)] = Place(self.source, line)
            text = key in TEXT_KEYS or location[:1] in _TEXT_SECTIONS
            result[key] = self.build(value_node, (*location, key), text=text)
        return result

    def _scalar(self, written: str, line: int) -> Yaml:
        try:
            return core_scalar(written)
        except ValueError as error:
            self._problem(line, str(error))
            return None

    def _problem(self, line: int, message: str) -> None:
        self.problems.append(Problem(self.source, line, message))


def _is_prompt(location: Location) -> bool:
    key = next((part for part in reversed(location) if isinstance(part, str)), "")
    return key in _PROMPTS or location[:1] in _TEXT_SECTIONS


def decode_text(raw: bytes, source: str) -> str:
    """Bytes of a text file as the user meant them: UTF-8, with or without a BOM, any line ends."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) and not raw.startswith(b"\xff\xfe\0\0"):
        try:
            return raw.decode("utf-16").replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError:
            raise ManifestError([Problem(source, 0, "not readable as text; save it as UTF-8")]) from None
    if b"\0" in raw:
        raise ManifestError([Problem(source, 0, "this is a binary file, not text")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ManifestError([Problem(source, line, "not UTF-8 text here; save the file as UTF-8")]) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


_WRITTEN = (".yaml", ".yml", ".csv", ".tsv", ".txt", ".json", ".jsonl", ".xlsx")


def read_text(path: Path, source: str) -> str:
    """Read a text file the user named. Raises :class:`ManifestError`."""
    return decode_text(read_bytes(path, source), source)


def read_bytes(path: Path, source: str, limit: int = FILE_BYTES) -> bytes:
    """Read a file the user named: one that has an end, and not too far away.

    Raises :class:`ManifestError`: a file that is not there is the user's mistake, not a traceback.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        return regular.read(path, limit)
    except regular.NotAFile:
        wrong = "this is a pipe or a device; it wants a file, which a resumed run can read again"
    except regular.TooLarge:
        wrong = f"more than {limit // MIB} MiB, which is more than a plan can hold; split it"
    except FileNotFoundError:
        hint = "" if path.suffix.lower() in _WRITTEN else "; a manifest is a .yaml or .csv file that names models"
        wrong = f"there is no such file{hint}"
    except IsADirectoryError:
        wrong = "this is a folder; name a manifest (status and verify take run folders)"
    except (OSError, ValueError) as error:
        wrong = f"cannot be read: {error.strerror if isinstance(error, OSError) else error}"
    raise ManifestError([Problem(source, 0, wrong)])


def parse(text: str, source: str, *, as_text: bool = False, below: Location = ()) -> Document:
    """Parse YAML. Raises :class:`ManifestError` with every problem of syntax, tags and duplicate keys.

    ``as_text`` leaves every plain scalar a text, as under the keys in ``TEXT_KEYS``. ``below`` is where the whole
    would stand in a manifest.
    """
    text = joined(text)
    lines = text.split("\n")
    node = _compose(text, source)
    if "*" in text:
        check_aliases(node, source)
    builder = _Builder(source, lines, quotes.aliased(text))
    data = builder.build(node, below, text=as_text or below[:1] in _TEXT_SECTIONS)
    if builder.problems:
        raise ManifestError(builder.problems, [*map(str, builder.warnings)])
    return Document(data, source, builder.places, tuple(builder.warnings), lines)


def _compose(text: str, source: str) -> yaml.Node:
    if len(text) > YAML_LETTERS:
        too_long = f"more than {YAML_LETTERS // MIB} MiB of YAML; put prompts into a table: {{file: prompts.csv}}"
        raise ManifestError([Problem(source, 0, too_long)])
    try:
        node = yaml.compose(text, Loader=_Loader)
    except _TooMuch as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ManifestError([Problem(source, line, str(error.problem))]) from None
    except yaml.MarkedYAMLError as error:
        line, said = quotes.syntax_error(error, text.rstrip("\n").split("\n"))
        raise ManifestError([Problem(source, line, f"not valid YAML: {said}")]) from None
    except yaml.reader.ReaderError as error:
        line = text.encode(errors="replace").count(b"\n", 0, error.position) + 1
        said = f"not valid YAML: the control character U+{error.character:04X} stands here; remove it"
        raise ManifestError([Problem(source, line, said)]) from None
    except UnicodeEncodeError:
        raise ManifestError([Problem(source, 0, "it holds half of a surrogate pair; write UTF-8")]) from None
    if node is None:
        raise ManifestError([Problem(source, 0, "the manifest is empty")])
    return node
