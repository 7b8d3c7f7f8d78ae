"""What other programs' syntax looks like in a prompt, where it would reach the model as text.

:func:`foreign` is pure: a text goes in, the kinds that stand in it come out, each with the piece that was found.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from batch.manifest.document import Place
from batch.manifest.line_forms import more
from batch.manifest.values import shortened


class _Kind(NamedTuple):
    signs: tuple[str, ...]
    """One of these is in every text of the kind: most texts have none, and are not searched."""
    form: str
    what: str
    """What becomes of it here."""
    instead: str


_KINDS: dict[str, _Kind] = {
    "escape": _Kind(
        ("\\(", "\\)", "\\["),
        r"\\[()\[\]]",
        "a backslash is text",
        "write the bracket alone, or prompt_syntax: a1111",
    ),
    "lora": _Kind(
        ("<l",),
        r"<(?:lora|lyco):[^<>\n]*+>",
        "LoRAs are the axis lora",
        "write lora: [x.safetensors(scale=0.8)], or prompt_syntax: a1111",
    ),
    "hypernet": _Kind(("<hypernet:",), r"<hypernet:[^<>\n]*+>", "hypernetworks are not read", "remove it"),
    "swarm": _Kind(
        ("<",),
        r"<(?:wildcard|random|alternate|fromto|repeat|preset|p|setvar|var|object|segment|region|trigger|break|embed"
        r"|comment|param|extend|clear)\b(?:\[[^<>\[\]\n]*+\])?(?:[:/][^<>\n]*+)?>",
        "SwarmUI's <…> are not understood",
        "write {a|b} and __name__ with variants: all; an axis for everything else",
    ),
    "braces": _Kind(
        ("{",),
        r"\{\{|\{[^{}|$\n]++\}",
        "braces are text while variants is off",
        "write the words alone; {a|b} with variants: all stands for both",
    ),
    "novelai": _Kind(
        ("::",),
        r"(?<![\w.{|])-?\d++(?:\.\d++)?::[^:\n]++::",
        "NovelAI's weights are not understood",
        "write the words alone, the important first",
    ),
    "weight": _Kind(
        ("(", "（"),
        r"(?<!\\)[(（](?:[^()（）\n:;：]|[:;：](?!\s*[-\d.]))*+[:;：]\s*+-?[\d.,]++\s*+[)）]",
        "weights are not understood",
        "write the words alone, or prompt_syntax: a1111 where a model's text encoders are CLIP",
    ),
    "compel": _Kind(
        ("++", ")+", ")-", ").", *(f"){digit}" for digit in range(10))),
        r"(?<!\\)\)(?:\d++(?:\.\d++)?|\.\d++|[-+]++)(?![\w)])|\)\.(?:and|blend|swap)\("
        r"|(?<![\w+])(?![Cc]\+\+)\w++\+\++(?!\w)",
        "weights of compel and InvokeAI are not understood",
        "write the words alone",
    ),
    "emphasis": _Kind(
        ("((",),
        r"(?<!\\)\(\([^()\n]*+\)",
        "brackets do not strengthen a word",
        "write the words alone, or prompt_syntax: a1111",
    ),
    "schedule": _Kind(
        ("[",),
        r"(?<!\\)\[[^\[\]\n:]*+:[^\[\]\n]*+\]",
        "prompts that change on the way are not understood",
        "write two prompts, or {a|b} with variants: all",
    ),
    "alternate": _Kind(
        ("[",),
        r"(?<!\\)\[[^\[\]\n|:]++\|[^\[\]\n:]*+\]",
        "[a|b] is not understood",
        "write {a|b} with variants: all",
    ),
    "less": _Kind(
        ("[",),
        r"(?<!\\)\[[^\[\]\n|:]++\]",
        "[…] does not weaken a word",
        "write the word alone, or a negative prompt; or prompt_syntax: a1111",
    ),
    "break": _Kind(("BREAK",), r"\bBREAK\b", "BREAK is a word", "write a comma, or prompt_syntax: a1111"),
    "and": _Kind(
        ("AND",), r"(?<=\s)AND(?=\s)", "AND joins no prompts, it is a word", "write a comma, or two prompts"
    ),
    "embedding": _Kind(
        ("embedding:",),
        r"\bembedding:[\w./\\-]++",
        "embeddings (textual inversion) are not loaded",
        "remove it",
    ),
    "separator": _Kind(
        ("###",),
        r"###",
        "### parts nothing, it is text",
        "write a prompt a line, or {text: …, negative_prompt: …}",
    ),
    "options": _Kind(
        ("--", "\u2013", "\u2014"),
        r"(?<=\s)[\u2013\u2014](?:prompt|negative_prompt|ar|seed|steps|width|height|cfg_scale|sampler_name)(?=\s)"
        r"|(?:^|(?<=\s))--(?:prompt|negative_prompt|neg|no|ar|v|q|s|stylize|niji|chaos|seed|steps|width|height|cfg_scale"
        r"|sampler_name|w|h|uc)(?=\s|$)",
        "options in a prompt are text",
        "write an axis (size, seed, steps, negative_prompt)",
    ),
}

VARIANTS = frozenset({"braces"})
"""Those that the grammar of variants reads."""

A1111 = frozenset({"escape", "lora", "weight", "emphasis", "schedule", "alternate", "less", "break", "and"})
"""Those of A1111 and its family."""

# No letter that was read is given back, so that each is looked at a fixed number of times.
_FORMS = {kind: re.compile(found.form) for kind, found in _KINDS.items()}
_SIGNS = re.compile("|".join(sorted(re.escape(sign) for kind in _KINDS.values() for sign in kind.signs)))


def foreign(text: str, understood: Container[str] = ()) -> dict[str, str]:
    """The kinds of foreign syntax in a text, save those that are understood, each with its first piece."""
    if _SIGNS.search(text) is None:
        return {}
    found = {}
    for kind, (signs, *_) in _KINDS.items():
        if kind not in understood and any(sign in text for sign in signs):
            match = _FORMS[kind].search(text)
            if match is not None:
                found[kind] = match[0]
    return found


@dataclass(slots=True)
class Foreign:
    """What has been seen in the prompts of a manifest, each kind once."""

    understood: Set[str] = frozenset()
    """Kinds that are no text here."""
    _found: dict[str, tuple[str, int]] = field(default_factory=dict)
    """By kind, what is told of the first, and how many there are."""

    @property
    def told(self) -> Iterator[str]:
        """What is to be told: of each kind the first, and how many more."""
        return (f"{said}{more(count)}" for said, count in self._found.values())

    def look(self, text: str, place: Place, where: str = "") -> None:
        """Note what stands in a text; ``where`` says what it is, where that is no prompt."""
        for kind, piece in foreign(text, self.understood).items():
            what, instead = _KINDS[kind].what, _KINDS[kind].instead
            first = f"{place}: {where}{shortened(piece)}: {what}; {instead}"
            said, count = self._found.get(kind, (first, 0))
            self._found[kind] = said, count + 1
