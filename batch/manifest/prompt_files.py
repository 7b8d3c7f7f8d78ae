"""Files of prompts: text with one a line, or a column of a table.

A line of text that begins with ``--`` is one of A1111's "Prompts from file or textbox": options with values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from batch.base.errors import ManifestError, Problem
from batch.manifest import values
from batch.manifest.axes import folded
from batch.manifest.columns import not_read, text_column
from batch.manifest.document import Place, Yaml
from batch.manifest.foreign import samplers
from batch.manifest.limits import PROMPT, RANGE
from batch.manifest.line_forms import dressed, no_prompts
from batch.manifest.rows import Table
from batch.manifest.tables import Remark, read_lines, read_table
from batch.manifest.values import shortened, shown, suggest

_NOTHING: Mapping[str, Yaml] = MappingProxyType({})


class PromptLine(NamedTuple):
    """A prompt of a file, and its own values on other axes."""

    text: str
    place: Place
    own: Mapping[str, Yaml] = _NOTHING


def read_prompts(path: Path, named: Mapping[str, str], remark: Remark) -> list[PromptLine]:
    """The prompts of a file, without the empty ones.

    ``named`` is how the manifest names it: ``file`` and, of a table, ``column`` and ``sheet``. Without ``column``
    that is ``prompt``, or the only one of a list of prompts. ``remark`` is told what is to be said of the file.
    Raises :class:`ManifestError`.
    """
    column = named.get("column")
    if path.suffix.lower() != ".txt":
        table = _table(path, named.get("sheet", ""), remark)
        name = text_column(table, column)
        if said := not_read(table, name, named["file"]):
            remark(table.header, said)
        return [PromptLine(text, place) for text, place in _cells(table, name)]
    lines = _lines(path, column, remark)
    if wrong := no_prompts(lines, str(path)):
        raise ManifestError(wrong)
    found = _all(_with_options, lines)
    _tell(dressed(line for line in lines if not _OPTION.match(line[0])), remark)
    return found


def plain_lines(path: Path, column: str | None, name: str, remark: Remark) -> list[tuple[str, Place]]:
    """The same of a file whose lines are texts alone, as those of the wildcard ``name``.

    Raises :class:`ManifestError`.
    """
    if path.suffix.lower() != ".txt":
        table = _table(path, "", remark)
        known = [folded(part) for part in (name.rpartition("/")[2], path.stem)]
        return _cells(table, text_column(table, column, known))
    return _all(_without_options, _lines(path, column, remark))


def _lines(path: Path, column: str | None, remark: Remark) -> list[tuple[str, Place]]:
    if column is not None:
        raise ManifestError([Problem(str(path), 0, "a .txt file has no columns; remove 'column'")])
    written, told = read_lines(path)
    _tell(told, remark)
    numbered = enumerate(written.split("\n"), start=1)
    found = [(line.strip(), Place(str(path), number)) for number, line in numbered]
    return [(text, place) for text, place in found if text and not text.startswith("#")]


def _tell(told: Iterable[Problem], remark: Remark) -> None:
    for said in told:
        remark(Place(said.source, said.line), said.message)


def _table(path: Path, sheet: str, remark: Remark) -> Table:
    table = read_table(path, sheet)
    _tell(table.remarks, remark)
    return table


def _cells(table: Table, name: str) -> list[tuple[str, Place]]:
    cells = [(row.cells.get(name), row.place) for row in table.rows]
    wrong = [
        Problem(*place, f"{name}: {shown(cell)} is not a text")
        for cell, place in cells
        if cell is not None and not isinstance(cell, str)
    ]
    if wrong:
        raise ManifestError(wrong)
    return [(cell.strip(), place) for cell, place in cells if isinstance(cell, str) and cell.strip()]


_T = TypeVar("_T")


def _all(read: Callable[[str, Place], _T], lines: list[tuple[str, Place]]) -> list[_T]:
    """Every line as it is read; what is wrong in any of them at once."""
    found: list[_T] = []
    problems: list[Problem] = []
    for text, place in lines:
        try:
            found.append(read(text, place))
        except ValueError as error:
            problems.append(Problem(*place, str(error)))
    if problems:
        raise ManifestError(problems)
    return found


_OPTION = re.compile(r"-{1,2}[A-Za-z]")
_WORDS = re.compile(r"""\s*+((?:"(?:\\.|[^"\\])*+"|'[^']*+'|\\.|[^\s"'\\])++)""", re.DOTALL)
_PIECE = re.compile(r""""((?:\\.|[^"\\])*+)"|'([^']*+)'|\\(.)|([^\s"'\\]++)""", re.DOTALL)

_ELSEWHERE = {
    "sd_model": "name the model in the manifest: {text: a fox, model: demo}",
    "sampler_index": "write --sampler_name",
    "outpath_samples": "pictures lie in the run folder; output.name sorts them into folders",
    "outpath_grids": "the contact sheet lies in the run folder",
    "prompt_for_display": "remove it",
    "do_not_save_samples": "every picture is saved; remove it",
    "do_not_save_grid": "no grids are made; remove it",
    "subseed": "variations of a seed are not known here; remove it",
    "subseed_strength": "variations of a seed are not known here; remove it",
    "seed_resize_from_w": "variations of a seed are not known here; remove it",
    "seed_resize_from_h": "variations of a seed are not known here; remove it",
    "restore_faces": "faces are not touched up here; remove it",
    "tiling": "seamless pictures are not made here; remove it",
}
"""Options of A1111 that are none here, with what to do instead."""

_KNOWN = (
    "prompt", "negative_prompt", "styles", "seed", "sampler_name", "batch_size", "n_iter", "steps", "cfg_scale",
    "width", "height",
)  # fmt: skip
_LATE = re.compile(rf"\s--({'|'.join(_KNOWN)})\s")


def _without_options(text: str, place: Place) -> tuple[str, Place]:
    if _OPTION.match(text):
        raise ValueError(f"{shortened(text)}: a wildcard's line takes no options; write \\ before it")
    return text, place


def _with_options(line: str, place: Place) -> PromptLine:
    if not _OPTION.match(line):
        late = _LATE.search(line) if " --" in line else None
        if late:
            raise ValueError(f"--{late[1]} stands behind the prompt; begin the line with --prompt, in quotes")
        return PromptLine(line, place)
    if not line.startswith("--"):
        hint = "a line with options begins with --prompt; a prompt that begins with a dash stands in the manifest"
        raise ValueError(f"{shortened(line.split(maxsplit=1)[0])} looks like an option; {hint}")
    given = _options(line)
    if not given.get("prompt", "").strip():
        raise ValueError('a line with options names its prompt: --prompt "a fox" --steps 20')
    return PromptLine(given["prompt"], place, _axes(given))


def _options(line: str) -> dict[str, str]:
    """Options and values as A1111 takes them apart: a text goes up to the next option, others are a word."""
    given: dict[str, str] = {}
    words = list(_split(line))
    while words:
        name = words.pop(0)
        option = name.removeprefix("--")
        if not name.startswith("--"):
            raise ValueError(f"{shown(name)} belongs to no option; put a value of several words in double quotes")
        if option in _ELSEWHERE:
            raise ValueError(f"--{option} is not read here; {_ELSEWHERE[option]}")
        if option not in _KNOWN:
            meant = suggest(option, _KNOWN)
            hint = f"{meant}{'' if meant.endswith('?') else '.'} Other axes take a table: prompts.csv"
            raise ValueError(f"--{shortened(option)} is unknown; {hint}")
        if option in given:
            raise ValueError(f"--{option} is given twice; keep one")
        count = next((at for at, word in enumerate(words) if word.startswith("--")), len(words))
        if not count:
            raise ValueError(f"--{option} has no value")
        taken = count if option in ("prompt", "negative_prompt") else 1
        given[option] = " ".join(words[:taken])
        del words[:taken]
    return given


def _split(line: str) -> Iterator[str]:
    """The words of a line as a shell parts them. Raises ``ValueError`` for a quote that is not closed."""
    if len(line) > 4 * PROMPT:
        raise ValueError(f"the line has {len(line):,} letters")
    at = 0
    while (match := _WORDS.match(line, at)) is not None:
        yield "".join(_unquoted(piece) for piece in _PIECE.finditer(match[1]))
        at = match.end()
    rest = line[at:].lstrip()
    if rest:
        hint = 'put a text with an apostrophe in double quotes: --prompt "the fox\'s den"'
        raise ValueError(f"the quote in {shown(rest)} is not closed; {hint}")


def _unquoted(piece: re.Match[str]) -> str:
    double, single, escaped, bare = piece.groups()
    if double is not None:
        return re.sub(r'\\(["\\])', r"\1", double)
    return next(part for part in (single, escaped, bare) if part is not None)


def _axes(given: Mapping[str, str]) -> dict[str, Yaml]:
    """The options of a line as axes."""
    axes: dict[str, Yaml] = {}
    if "negative_prompt" in given:
        axes["negative_prompt"] = given["negative_prompt"]
    if "styles" in given:
        axes["style"] = given["styles"]
    if "steps" in given:
        axes["steps"] = _whole(given, "steps")
    if "cfg_scale" in given:
        axes["guidance"] = _number(given, "cfg_scale")
    if {"width", "height"} & set(given):
        if not {"width", "height"} <= set(given):
            raise ValueError("--width and --height go together; give both")
        axes["size"] = f"{_whole(given, 'width')}x{_whole(given, 'height')}"
    if "sampler_name" in given:
        axes["scheduler"] = _scheduler(given["sampler_name"])
    count = _count(given)
    if "seed" in given:
        axes["seed"] = _seeds(_whole(given, "seed"), count)
    elif count > 1:
        raise ValueError(f"{count} pictures of a line want seeds; add --seed 1, or --seed -1 to have them drawn")
    return axes


def _count(given: Mapping[str, str]) -> int:
    """Pictures of the line."""
    counts = [_whole(given, name) for name in ("n_iter", "batch_size") if name in given]
    found = 1
    for count in counts:
        if not 1 <= count <= RANGE or found * count > RANGE:
            raise ValueError(f"--n_iter and --batch_size make 1 to {RANGE:,} pictures")
        found *= count
    return found


def _seeds(first: int, count: int) -> Yaml:
    """As many seeds as pictures, one after the other; -1 has them drawn once and kept."""
    if first == -1:
        return {"random": count}
    return first if count == 1 else f"{first}..{first + count - 1}"


def _scheduler(name: str) -> str:
    found, said = samplers.scheduler(name)
    if said:
        raise ValueError(
            f"--sampler_name {shown(name)} is not known here; {suggest(name.lower(), samplers.KNOWN)}"
        )
    return found


def _whole(given: Mapping[str, str], name: str) -> int:
    if not re.fullmatch(r"[-+]?\d{1,30}", given[name]):
        raise ValueError(f"--{name} {shown(given[name])} is not a whole number")
    return int(given[name])


def _number(given: Mapping[str, str], name: str) -> float:
    written = given[name]
    if not re.fullmatch(r"\d{1,30}(\.\d{0,30})?|\.\d{1,30}", written):
        hint = f"; write {written.replace(',', '.')}" if re.fullmatch(r"\d+,\d+", written) else ""
        raise ValueError(f"--{name} {shown(written)} is not a number{hint}")
    return values.number(float(written))
