"""The lines of ``__name__``: of the section ``wildcards``, else of files in ``wildcards/`` beside the manifest.

A text file holds one in each of its lines. In YAML and JSON, mappings are folders and lists hold the lines; the
file's own name counts where a list is all there is. Patterns (``hats/*``) stand for all whose names fit.
What lies there and is no list of lines is left out: :mod:`batch.manifest.no_wildcards`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase, translate
from functools import cached_property
from pathlib import Path

from batch.base.errors import ManifestError
from batch.manifest.document import Document, Location, Yaml, parse, read_text
from batch.manifest.files import Problems, referenced
from batch.manifest.limits import WILDCARD_FILES
from batch.manifest.no_wildcards import WEIGHTED, Unread, is_metadata, is_umi, no_lines
from batch.manifest.prompt_files import plain_lines
from batch.manifest.syntax import Foreign
from batch.manifest.tables import PROMPT_SUFFIXES
from batch.manifest.values import HINTS, finite, more_like, shown, suggest
from batch.manifest.variants import WildcardLine

_FOLDER = "wildcards"
_TREES = (".yaml", ".yml", ".json")
_PATTERN = frozenset("*?[")

_Lines = Callable[[], Sequence[WildcardLine]]


class Wildcards:
    """The lines of a wildcard by its name. What is wrong in the manifest's own goes to ``problems`` at once."""

    def __init__(self, document: Document, folder: Path, problems: Problems, foreign: Foreign) -> None:
        self._foreign = foreign
        self._remark = problems.remark
        self._document = document
        self._folder = folder
        self._own: dict[str, _Lines] = {}
        self._found: dict[str, list[tuple[Path, _Lines]]] | None = None
        self._missing = 0
        self._problems = problems
        self._unread: list[Unread] = []
        written = document.sections.get(_FOLDER)
        for name, value in written.items() if isinstance(written, dict) else ():
            try:
                self._own.update(self._tree(value, (_FOLDER, name), document, 1))
            except ValueError as error:
                problems.add((_FOLDER, name), f"wildcards: {name}: {error}")
            except ManifestError as error:
                problems.extend(error.problems)

    def __call__(self, name: str) -> Sequence[WildcardLine]:
        """Raises ``ValueError`` when there is no such wildcard."""
        names = self._meant(name)
        found = [line for known in names for line in self._lines(known)]
        for line in found:
            self._foreign.look(line.text, line.place)
        if found:
            if name not in names and not _PATTERN.isdisjoint(name):
                self._check_unread(name, name if fnmatchcase(names[0], name) else f"*/{name}")
            return found
        near = [part for part in self._unread if part.may_hold(name)]
        broken = [part for part in self._unread if part.broken and part not in near]
        raise ValueError(f"there is no wildcard __{name}__{self._hint(name)}{_listed([*near, *broken])}")

    def _check_unread(self, name: str, pattern: str) -> None:
        """Tell what a pattern leaves out as no list of lines. Raises ``ValueError`` for broken files."""
        unread = [part for part in self._unread if part.may_hold(pattern)]
        if lost := [part for part in unread if part.broken]:
            raise ValueError(f"__{name}__ may stand for lines that cannot be read{_listed(lost)}")
        for part in unread[:1]:
            self._problems.remarks[part.said + more_like(len(unread))] = None

    def _hint(self, name: str) -> str:
        """What may have been meant, for the first that are not there."""
        self._missing += 1
        if self._missing > HINTS:
            return ""
        names = self._names
        hint = suggest(name, names) if names else f"write it under wildcards:, or {name}.txt in wildcards/"
        return f"; {hint}"

    def _meant(self, name: str) -> Sequence[str]:
        """The wildcards of that name or pattern; where there is none, those of any folder."""
        if name in self._own or name in self._files():
            return [name]
        if _PATTERN.isdisjoint(name):
            return [known for known in self._named_last.get(_last(name), ()) if known.endswith(f"/{name}")]
        return self._fitting(name) or self._fitting(f"*/{name}")

    def _fitting(self, pattern: str) -> list[str]:
        return list(filter(re.compile(translate(pattern)).match, self._names))

    @cached_property
    def _names(self) -> list[str]:
        """Of all wildcards, sorted."""
        return sorted({*self._own, *self._files()})

    @cached_property
    def _named_last(self) -> Mapping[str, list[str]]:
        """The names by their last parts."""
        found: dict[str, list[str]] = {}
        for name in self._names:
            found.setdefault(_last(name), []).append(name)
        return found

    def _lines(self, name: str) -> Sequence[WildcardLine]:
        if name in self._own:
            return self._own[name]()
        (path, lines), *others = self._files()[name]
        if others:
            raise ValueError(f"__{name}__ is in {path} and in {others[0][0]}; keep one")
        return lines()

    def _files(self) -> dict[str, list[tuple[Path, _Lines]]]:
        if self._found is None:
            self._found = {}
            for path in self._walked(self._folder / _FOLDER):
                try:
                    for name, lines in self._in_file(path):
                        self._found.setdefault(name, []).append((path, lines))
                except ManifestError as error:
                    self._unread += (Unread(self._below(path), str(problem)) for problem in error.problems)
                except ValueError as error:
                    said = str(error) if str(path) in str(error) else f"{path}: {error}"
                    self._unread.append(Unread(self._below(path), said))
        return self._found

    def _below(self, path: Path) -> str:
        """What the names in a file begin with: its folder's."""
        parts = path.relative_to(self._folder / _FOLDER).parts[:-1]
        return "".join(f"{part}/" for part in parts)

    def _walked(self, folder: Path) -> Iterator[Path]:
        """Every file of wildcards in a folder and below, in order."""
        seen = 0
        for where, folders, files in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            seen += len(files)
            if seen > WILDCARD_FILES:
                self._unread.append(Unread("", f"more than {WILDCARD_FILES:,} files in {folder}"))
                return
            for name in sorted(files):
                if name.lower().endswith((".txt", *_TREES)) and name.isprintable() and not is_metadata(name):
                    yield Path(where, name)

    def _in_file(self, path: Path) -> Iterator[tuple[str, _Lines]]:
        below = path.relative_to(self._folder / _FOLDER)
        name = below.with_suffix("").as_posix()
        inside = (_FOLDER, *below.parts)
        if path.suffix.lower() == ".txt":
            yield name, lambda: self._file(name, "/".join(inside))
            return
        referenced("/".join(inside), self._folder, _TREES)
        document = _document(path)
        if why := no_lines(document.data):
            said = f"{path}: this is no list of lines ({why}), and is left out"
            self._unread.append(Unread(self._below(path), said, broken=False))
            return
        # A list is named by the file, what stands in a mapping by its keys.
        top = (_FOLDER, name) if isinstance(document.data, list) else (_FOLDER, *below.parts[:-1])
        yield from self._tree(document.data, top, document, len(top))

    def _tree(
        self, value: Yaml, location: Location, document: Document, added: int
    ) -> Iterator[tuple[str, _Lines]]:
        """Every list below a value with its name; its location has ``added`` parts that the document has not."""
        name = "/".join(map(str, location[1:]))
        if isinstance(value, dict) and isinstance(value.get("file"), str) and document is self._document:
            named = {key: item for key, item in value.items() if isinstance(item, str)}
            if set(value) - {"column"} != {"file"} or len(named) < len(value):
                raise ValueError("as a mapping a wildcard is {file: colours.txt}, or lists by their names")
            yield from self._named(name, named["file"], named.get("column"))
        elif is_umi(value):
            umi = f"'{name}' has Prompts and Tags, as UMI writes them, which is not read; write a list of lines"
            said = f"{document.place((_FOLDER, *location[added:]))}: {umi}"
            if document is self._document:
                raise ValueError(said)
            self._unread.append(Unread(name, said, broken=False))
        elif isinstance(value, dict):
            for key, inner in value.items():
                yield from self._tree(inner, (*location, key), document, added)
        else:
            own = (_FOLDER, *location[added:])
            items = value if isinstance(value, list) else [value]
            lines = [_option(item, document, (*own, index)) for index, item in enumerate(items)]
            if document is not self._document:
                lines = [line for line in lines if line.text]
            if not lines:
                raise ValueError(f"{name}: a wildcard is a list of texts, or {{file: colours.txt}}")
            yield name, lambda: lines

    def _named(self, name: str, file: str, column: str | None) -> Iterator[tuple[str, _Lines]]:
        """A file that the manifest names, read at once."""
        path = referenced(file, self._folder, (*PROMPT_SUFFIXES, *_TREES))
        if path.suffix.lower() in _TREES:
            document = _document(path)
            if why := no_lines(document.data):
                raise ValueError(f"{path}: this is no list of lines ({why})")
            yield from self._tree(document.data, (_FOLDER, name), document, 2)
        else:
            lines = self._file(name, file, column)
            yield name, lambda: lines

    def _file(self, name: str, named: str, column: str | None = None) -> Sequence[WildcardLine]:
        path = referenced(named, self._folder)
        try:
            found = plain_lines(path, column, name, self._remark)
        except ManifestError as error:
            raise ValueError("; ".join(map(str, error.problems))) from None
        if not found:
            raise ValueError(f"{path} holds no line")
        return [WildcardLine(text, place) for text, place in found]


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _listed(unread: Sequence[Unread]) -> str:
    return "".join(f"; {part.said}" for part in unread[:3])


def _document(path: Path) -> Document:
    return parse(read_text(path, str(path)), str(path), below=(_FOLDER,))


def _option(item: Yaml, document: Document, location: Location) -> WildcardLine:
    """A line of a list: a text, or ``{text: a hat, weight: 20}``."""
    place = document.place(location)
    if isinstance(item, str):
        return WildcardLine(item, place)
    if isinstance(item, dict) and {"text", "content"} & set(item) and set(item) <= WEIGHTED:
        text, weight = item.get("text", item.get("content")), item.get("weight", "1")
        try:
            number = finite(float(str(weight)))
        except ValueError:
            number = None
        if isinstance(text, str) and number is not None and number >= 0:
            return WildcardLine(text, place, number)
    raise ValueError(f"{place}: a line is a text; put it in quotes: {shown(item)}")
