r"""A1111's grammar inside a prompt, for models whose text encoders are CLIP.

It has::

    (fox)  ((fox))     more attention, times 1.1 for each pair
    [fox]              less, divided by 1.1
    (fox:1.3)          this much
    BREAK              what follows is encoded in a piece of its own
    <lora:name:0.8>    a LoRA and its strength
    \( \) \[ \]        the characters themselves

What else that program understands (``[a:b:0.5]``, ``[a|b]``, ``AND``) changes the prompt between two steps, or
mixes several; no pipeline of diffusers does that, and it is refused. A text is gone over once.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from batch.manifest.limits import DEPTH
from batch.manifest.values import shown

MORE = 1.1
"""What a pair of round brackets without a number multiplies attention by; square ones divide by it."""

MOST = 10.0
"""The largest weight, either way: from about 2 on a picture is noise."""

_TOKEN = re.compile(
    r"\\[()\[\]\\]|[()\[\]|]|:\s*+[+-]?[\d.]++\s*+(?=[)\]])|\bBREAK\b|\bAND\b|[^\\()\[\]|:BA]++|.", re.DOTALL
)
_TAG = re.compile(r"<\s*+(lora|lyco|lycoris|hypernet)\s*+:([^<>]*+)>", re.IGNORECASE)
_PAIRS = {")": "(", "]": "["}


class Weighted(NamedTuple):
    """A stretch of a prompt and how much attention it gets; 1 is as it is."""

    text: str
    weight: float


@dataclass(slots=True)
class _Reading:
    """What was read of a prompt so far, flat; None stands for a BREAK."""

    texts: list[str | None] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    opened: list[tuple[str, int]] = field(default_factory=list)
    """Brackets that are open, and where what they hold begins."""

    def add(self, text: str | None) -> None:
        self.texts.append(text)
        self.weights.append(1.0)

    def open(self, bracket: str) -> None:
        if len(self.opened) == DEPTH:
            raise ValueError(f"brackets are nested more than {DEPTH} deep")
        self.opened.append((bracket, len(self.texts)))

    def close(self, weight: float | None = None) -> None:
        bracket, begin = self.opened.pop()
        factor = weight if weight is not None else MORE if bracket == "(" else 1 / MORE
        for index in range(begin, len(self.weights)):
            self.weights[index] *= factor

    def is_open(self, bracket: str) -> bool:
        return bool(self.opened) and self.opened[-1][0] == bracket


def parse(text: str) -> tuple[tuple[Weighted, ...], ...]:
    """The pieces that ``BREAK`` makes of a prompt, each as its weighted stretches.

    Brackets that are not closed reach to the end, as they do there. Raises ``ValueError`` for what only that
    program can do, and for a weight that is none.
    """
    reading, given = _Reading(), None
    for token in _TOKEN.findall(text):
        if token in ("(", "["):
            reading.open(token)
        elif token in _PAIRS and reading.is_open(_PAIRS[token]):
            reading.close(given)
            given = None
        elif token[0] == ":" and len(token) > 1 and reading.is_open("("):
            given = _weight(token[1:].strip())
        elif reading.is_open("[") and (token == "|" or (token[0] == ":" and len(token) > 1)):
            raise ValueError(f"'[…{token}…]' changes the prompt between two steps, which cannot be done here")
        elif token == "AND":
            raise ValueError("AND mixes several prompts, which cannot be done here; in small letters it is a word")
        else:
            reading.add(None if token == "BREAK" else token[-1] if token[0] == "\\" else token)
    while reading.opened:
        reading.close()
    if any(abs(weight) > MOST for weight in reading.weights):
        raise ValueError(f"brackets inside one another make a weight of more than {MOST:g}")
    return _pieces(reading)


def _pieces(reading: _Reading) -> tuple[tuple[Weighted, ...], ...]:
    """Neighbours of one weight are one stretch; what is empty goes."""
    pieces: list[list[tuple[list[str], float]]] = [[]]
    for text, weight in zip(reading.texts, reading.weights, strict=True):
        if text is None:
            pieces.append([])
        elif pieces[-1] and pieces[-1][-1][1] == weight:
            pieces[-1][-1][0].append(text)
        else:
            pieces[-1].append(([text], weight))
    joined = [tuple(Weighted("".join(texts), weight) for texts, weight in piece) for piece in pieces]
    return tuple(piece for piece in joined if any(text.strip() for text, _ in piece)) or ((),)


def _weight(written: str) -> float:
    try:
        weight = float(written)
    except ValueError:
        raise ValueError(f"{shown(written)} is no weight; write (fox:1.3)") from None
    if not math.isfinite(weight) or abs(weight) > MOST:
        raise ValueError(f"{shown(written)} is too large a weight; from about 2 on a picture is noise")
    return weight


_SLIP = re.compile(r"[;：]\s*+-?\d[\d.,]*+\s*+[)）]|:\s*+\d++,\d++\s*+[)）]|:\s*+\d++\.\d++\s*+[,，]|[（）]")


def slip(text: str) -> str:
    """What looks like a weight and is none, or a bracket that reaches to the end; "" where nothing does."""
    found = _SLIP.search(text)
    if found is not None:
        return f"{shown(found[0])} is no weight; write (fox:1.2)"
    opened: list[tuple[str, int]] = []
    for token in _TOKEN.finditer(text):
        if token[0] in ("(", "["):
            opened.append((token[0], token.start()))
        elif token[0] in _PAIRS and opened and opened[-1][0] == _PAIRS[token[0]]:
            opened.pop()
    if not opened:
        return ""
    bracket, at = opened[0]
    return f"the '{bracket}' of {shown(text[at:])} is not closed and reaches to the end; \\{bracket} is a bracket"


def is_plain(text: str) -> bool:
    """Whether a prompt means the same to a model without weights: nothing is stressed, broken or escaped."""
    return parse(text) == ((Weighted(text, 1.0),),) or not text.strip()


def plain(text: str) -> str:
    """A prompt without its weights, as an encoder reads it."""
    return " ".join("".join(text for text, _ in piece) for piece in parse(text))


def without_loras(text: str) -> tuple[str, tuple[tuple[str, float], ...]]:
    """A prompt without its ``<lora:…>``, and these by name with their strength.

    Raises ``ValueError`` for one that cannot be read, and for networks that diffusers does not load this way.
    """
    found: list[tuple[str, float]] = []
    for match in _TAG.finditer(text):
        kind, inner = match[1].lower(), match[2].split(":")
        if kind == "hypernet":
            raise ValueError(f"{shown(match[0])}: hypernetworks cannot be used here")
        name, numbers = inner[0].strip(), {_strength(part, match[0]) for part in inner[1:]}
        if not name:
            raise ValueError(f"{shown(match[0])} names no LoRA")
        if len(numbers) > 1:
            raise ValueError(f"{shown(match[0])}: one strength holds for the whole LoRA here; write one")
        found.append((name, numbers.pop() if numbers else 1.0))
    if not found:
        return text, ()
    return re.sub(r" {2,}", " ", _TAG.sub("", text)).strip(), tuple(found)


def lora_in_alternatives(text: str) -> str:
    """The first ``<lora:…>`` that stands inside braces; "" where none does."""
    for match in _TAG.finditer(text):
        before = text[: match.start()].replace("\\{", "").replace("\\}", "")
        if before.count("{") > before.count("}"):
            return shown(match[0])
    return ""


def _strength(written: str, tag: str) -> float:
    try:
        strength = float(written)
    except ValueError:
        raise ValueError(f"{shown(tag)}: {shown(written)} is no strength; write <lora:name:0.8>") from None
    if not math.isfinite(strength):
        raise ValueError(f"{shown(tag)}: {shown(written)} is no strength")
    return strength
