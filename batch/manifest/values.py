"""The small languages inside a manifest: ranges, sizes, and names with arguments.

Each function takes one value as the YAML reader gives it and returns what it means, or raises
``ValueError`` with a text that says what would be right; the caller adds file and line.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from batch.manifest.limits import DIGITS, NAME, PROMPT, RANGE
from batch.manifest.scalars import core_scalar
from batch.manifest.slips import ROUNDED, meant
from batch.records.values import Arguments, Call, Value

MAX_SEED = 2**64 - 1
"""The largest seed ``torch.Generator.manual_seed`` takes."""

MAX_SIDE = 65_536

_EXACT = 2**53
"""From here on a float leaves whole numbers out."""

_RANGE = re.compile(r"\s*([-+]?\d+)\s*\.\.\s*([-+]?\d+)\s*")
_WHOLE = re.compile(r"\s*[0-9]+\s*")
_NUMBER = re.compile(r"\s*(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})\s*")
_RANDOM = re.compile(r"\s*\{\s*random\s*:\s*(\d+)\s*(,\s*per\s*:\s*prompt\s*)?\}\s*")
_SIZE = re.compile(r"\s*(\d{1,6})\s*[xX×]\s*(\d{1,6})\s*")
_CALL = re.compile(r"([A-Za-z_\d][\w.+-]*)(?:\s*\(([^()]*)\))?")
_CLOSE = 200
"""Words among which one is sought that was meant; in thousands that takes seconds, for every word."""
_LISTED = 30
HINTS = 20
"""Unknown names of a kind for which one that was meant is sought, among thousands of known ones."""


class Size(NamedTuple):
    """Pixels, width first, as users write it."""

    width: int
    height: int

    def __str__(self) -> str:
        """``WIDTHxHEIGHT``."""
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class RandomSeeds:
    """``{random: n}``: drawn once, then pinned in the run folder."""

    count: int
    per_prompt: bool = False
    """``{random: n, per: prompt}``: so many of its own for every prompt."""


def shown(value: object) -> str:
    """A user's value in a message, short."""
    return shortened(repr(value) if isinstance(value, str) else str(value))


def shortened(text: str) -> str:
    """The beginning of a text that is too long for a message."""
    return text if len(text) <= 60 else text[:57] + "..."


def suggest(word: str, known: Iterable[str]) -> str:
    """What the user may have meant, or all that is possible."""
    known = list(known)
    likely = sorted(known, key=lambda name: name[:1] != word[:1])[:_CLOSE] if len(known) > _CLOSE else known
    close = difflib.get_close_matches(word, likely, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"possible are {listed(known)}"


def listed(words: Sequence[str]) -> str:
    """Words in a message, the first of many."""
    more = f" and {len(words) - _LISTED:,} more" if len(words) > _LISTED else ""
    return ", ".join(words[:_LISTED]) + more


def more_like(count: int) -> str:
    """Behind a message that stands for ``count`` of its kind."""
    return f" ({count - 1:,} more like this)" if count > 1 else ""


def whole(value: object, low: int, high: int) -> int:
    """A whole number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int):
        if isinstance(value, float) and value.is_integer():
            if abs(value) >= _EXACT:
                raise ValueError(f"{shown(value)} is not a whole number any more: {ROUNDED}")
            return whole(int(value), low, high)
        raise ValueError(f"{shown(value)} is not a whole number{meant(str(value))}")
    if not low <= value <= high:
        raise ValueError(f"{shown(value)} is out of bounds; {low} to {high} is possible")
    return value


def numbers(value: object, low: int, high: int) -> Sequence[int]:
    """A whole number, or an inclusive range ``0..3``, which is not spread out yet."""
    match = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            return [_digits(value.strip(), low, high)]
        if isinstance(value, str):
            other = re.fullmatch(r"\s*(\d+)\s*(?:-|\.{3}|:|to)\s*(\d+)\s*", value)
            hint = f"; write {shortened(other[1])}..{shortened(other[2])}" if other else meant(value)
            raise ValueError(f"{shown(value)} is neither a whole number nor a range such as 0..3{hint}")
        return [whole(value, low, high)]
    first, last = (_digits(end, low, high) for end in match.groups())
    if last < first:
        raise ValueError(f"the range {value} is empty; write {last}..{first}")
    if last - first >= RANGE:
        raise ValueError(f"the range {value} has more than {RANGE:,} values")
    return range(first, last + 1)


def _digits(written: str, low: int, high: int) -> int:
    """A whole number out of a text, of no more digits than Python converts."""
    if len(written) > DIGITS:
        raise ValueError(f"{shortened(written)} is out of bounds; {low} to {high} is possible")
    return whole(int(written), low, high)


def seeds(value: object) -> Sequence[int | RandomSeeds]:
    """A seed, an inclusive range, ``{random: n}`` or ``{random: n, per: prompt}``."""
    if isinstance(value, dict):
        return [_random_seeds(value)]
    drawn = _RANDOM.fullmatch(value) if isinstance(value, str) else None
    if drawn is not None:  # in a cell of a table or a quoted text
        return [RandomSeeds(_digits(drawn[1], 1, RANGE), per_prompt=drawn[2] is not None)]
    if value in (-1, "-1", "random"):
        raise ValueError(
            f"{value} is no seed here; write {{random: 1}} for one that is drawn once and kept, or "
            "{random: 1, per: prompt} for one of every prompt"
        )
    return numbers(value, 0, MAX_SEED)


def _random_seeds(written: Mapping[str, object]) -> RandomSeeds:
    if "random" not in written or set(written) - {"random", "per"}:
        raise ValueError("as a mapping a seed is {random: n} or {random: n, per: prompt}, for example {random: 4}")
    if "per" in written and written["per"] != "prompt":
        raise ValueError(f"per: {shown(written['per'])} is not possible; seeds are drawn per: prompt, or for all")
    return RandomSeeds(whole(written["random"], 1, RANGE), per_prompt="per" in written)


def size(value: object) -> Size:
    """``WIDTHxHEIGHT``."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{shown(value)} is not a size; write WIDTHxHEIGHT, for example 5376x3072{meant(value)}")
    result = Size(*(int(side) for side in match.groups()))
    if not all(1 <= side <= MAX_SIDE for side in result):
        raise ValueError(f"{result} is out of bounds; a side has 1 to {MAX_SIDE:,} pixels")
    return result


def number(value: object) -> float:
    """A number that is finite and not negative."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)  # in quotes, as a cell of a table is
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{shown(value)} is not a number{meant(value)}")
    if not 0 <= value <= 1e6:
        raise ValueError(f"{shown(value)} is out of bounds; 0 to 1000000 is possible")
    return float(value)


def finite(value: object) -> float | None:
    """A number; None for what is none, or no float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def word(value: object) -> str:
    """A name, or several: a text that is not empty and not a book."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{shown(value)} is not a name" if value not in (None, "") else "a name is missing")
    return _short(text(value)).strip()


def _short(value: str) -> str:
    if len(value) > NAME:
        raise ValueError(f"{shown(value)} has {len(value):,} letters; no name has more than {NAME:,}")
    return value


def prompt(value: object) -> str:
    """A prompt: any text, kept as it is."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a text")
    if not text(value).strip():
        raise ValueError("the prompt is empty")
    if re.fullmatch(r"\S+\.(txt|csv|tsv|jsonl)", value.strip(), re.IGNORECASE):
        raise ValueError(f"to read prompts from a file write prompt: {{file: {value.strip()}}}")
    return value


def text(value: object) -> str:
    """Any text, the empty one too."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a text")
    if len(value) > PROMPT:
        raise ValueError(f"{shown(value)} has {len(value):,} letters; at most {PROMPT:,} are possible")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{shown(value)} holds half of a surrogate pair, which no file can hold")
    return value


def frozen(value: object) -> Value:
    """Any scalar or list of scalars, for arguments whose type only the pipeline knows."""
    if isinstance(value, dict):
        raise ValueError("a mapping cannot be passed on; write a value or a list")
    if isinstance(value, list):
        return tuple(frozen(item) for item in value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        if finite(value) is None:
            raise ValueError(f"{shown(value)} is not a finite number")
        return value
    return text(value)


def call(value: object) -> tuple[str, tuple[Value, ...], Arguments]:
    """``name``, ``name(1024, 896)`` or ``name(key=value)``: name, positional, named arguments."""
    match = _CALL.fullmatch(_short(value).strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{shown(value)} is neither a name nor a name with arguments such as name(1, key=2)")
    name, inside = match.groups()
    positional: list[Value] = []
    named: dict[str, Value] = {}
    for part in _separate(inside) if (inside or "").strip() else []:
        key, equals, item = part.partition("=")
        if not equals:
            if named:
                raise ValueError(f"in {shown(value)} a plain argument follows a named one")
            positional.append(_argument(part))
        elif key.strip() in named:
            raise ValueError(f"in {shown(value)} the argument {key.strip()} is given twice")
        else:
            named[key.strip()] = _argument(item)
    return name, tuple(positional), tuple(sorted(named.items()))


def _separate(inside: str) -> Iterator[str]:
    """The arguments between the commas, save for those of a list."""
    part = ""
    for piece in re.findall(r"\[[^\]]*\]?|,|[^\[,]+", inside):
        if piece == ",":
            yield part
            part = ""
        else:
            part += piece
    yield part


def _argument(written: str) -> Value:
    """A scalar, or a list of them: ``[0, 1]``."""
    inside = re.fullmatch(r"\s*\[(.*)\]\s*", written)
    if inside is None:
        return frozen(core_scalar(written.strip()))
    return tuple(frozen(core_scalar(item.strip())) for item in inside[1].split(",") if item.strip())


def dtype(value: object) -> str:
    """A dtype, with components that differ: ``bfloat16(vae=float32)``; in one spelling."""
    name, positional, named = call(value)
    if positional or any(not isinstance(item, str) for _, item in named):
        raise ValueError(f"a dtype names components apart by their names, for example {name}(vae=float32)")
    return f"{name}({', '.join(f'{part}={item}' for part, item in named)})" if named else name


def scheduler(value: object) -> Call | None:
    """A scheduler by name, with overrides of its configuration; ``default`` is the model's own."""
    name, positional, named = call(value)
    if positional:
        raise ValueError(f"a scheduler takes named arguments only, for example {name}(flow_shift=6)")
    if name == "default" and not named:
        return None
    return Call(name=name, arguments=named)


def memory(value: object) -> str:
    """A memory setting: a profile, or steps joined with ``+``. What they mean is the planner's to say."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a memory setting; 'auto' is the usual one")
    for part in _short(value).split("+"):
        call(part)
    return value.strip()
