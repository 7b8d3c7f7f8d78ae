"""What other programs' syntax looks like in a prompt, where it would reach the model as text.

:func:`foreign` is pure: a text goes in, the kinds that stand in it come out, each with the piece that was found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass, field

from batch.manifest.document import Place
from batch.manifest.values import shortened

_KINDS: dict[str, tuple[str, str, str]] = {
    "escape": (r"\\[()\[\]]", "a backslash is text", "write the bracket alone"),
    "lora": (r"<(?:lora|lyco):[^<>\n]*>", "LoRAs are the axis lora", "write lora: [x.safetensors(scale=0.8)]"),
    "hypernet": (r"<hypernet:[^<>\n]*>", "hypernetworks are not read", "remove it"),
    "swarm": (
        r"<(?:wildcard|random|alternate|fromto|repeat|preset|p|setvar|var|object|segment|region|trigger|break|embed"
        r"|comment|param|extend|clear)\b(?:\[[^<>\[\]\n]*\])?(?:[:/][^<>\n]*)?>",
        "SwarmUI's <…> are not understood",
        "write {a|b} and __name__ with variants: all; an axis for everything else",
    ),
    "braces": (
        r"\{\{|\{[^{}|$\n]+\}",
        "braces are text while variants is off",
        "write the words alone; {a|b} with variants: all stands for both",
    ),
    "novelai": (
        r"(?<![\w.{|])-?\d+(?:\.\d+)?::[^:\n]+::",
        "NovelAI's weights are not understood",
        "write the words alone, the important first",
    ),
    "weight": (
        r"\((?:[^()\n:]|:(?!\s*[-\d.]))*:\s*-?[\d.]+\s*\)", "weights are not understood", "write the words alone",
    ),
    "compel": (
        r"\)(?:\d+(?:\.\d+)?|\.\d+|[-+]+)(?![\w)])|(?<![\w+])(?![Cc]\+\+)\w+\+\++(?![\w+])"
        r"|\)\.(?:and|blend|swap)\(",
        "weights of compel and InvokeAI are not understood",
        "write the words alone",
    ),
    "emphasis": (r"\((?=\()", "brackets do not strengthen a word", "write the words alone, the important first"),
    "schedule": (
        r"\[[^\[\]\n:]*+:[^\[\]\n]*+\]",
        "prompts that change on the way are not understood",
        "write two prompts, or {a|b} with variants: all",
    ),
    "alternate": (r"\[[^\[\]\n|]++\|[^\[\]\n]*+\]", "[a|b] is not understood", "write {a|b} with variants: all"),
    "less": (r"\[[^\[\]\n]++\]", "[…] does not weaken a word", "write the words alone, or the negative prompt"),
    "break": (r"\bBREAK\b", "BREAK is a word", "write a comma"),
    "and": (r"(?<=\s)AND(?=\s)", "AND joins no prompts, it is a word", "write a comma, or two prompts"),
    "embedding": (r"\bembedding:[\w./\\-]+", "embeddings (textual inversion) are not loaded", "remove it"),
    "separator": (
        r"###", "### parts nothing, it is text", "write a prompt a line, or {text: …, negative_prompt: …}",
    ),
    "options": (
        r"(?:^|(?<=\s))--(?:prompt|negative_prompt|neg|no|ar|v|q|s|stylize|niji|chaos|seed|steps|width|height|cfg_scale"
        r"|sampler_name|w|h|uc)(?=\s|$)",
        "options in a prompt are text",
        "write an axis (size, seed, steps, negative_prompt)",
    ),
}  # fmt: skip
"""By kind: how it looks, what becomes of it here, and what to write instead. The first that fits counts."""

VARIANTS = frozenset({"braces"})
"""Those that the grammar of variants reads."""

A1111 = frozenset({"escape", "lora", "weight", "emphasis", "schedule", "alternate", "less", "break", "and"})
"""Those of A1111 and its family."""

# Each letter is looked at a fixed number of times, however long the text is.
_ANY = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, (pattern, _, _) in _KINDS.items()))
_SIGNS = re.compile(r"[(\[<{+:#\\]|BREAK|AND|--")


def foreign(text: str, understood: Set[str] = frozenset()) -> Iterator[tuple[str, str]]:
    """The kinds of foreign syntax in a text, save those that are understood, each with what was found."""
    if _SIGNS.search(text):
        for match in _ANY.finditer(text):
            kind = str(match.lastgroup)
            if kind not in understood:
                yield kind, match[0]


@dataclass(slots=True)
class Foreign:
    """What has been seen in the prompts of a manifest, each kind once."""

    understood: Set[str] = frozenset()
    """Kinds that are no text here."""
    found: dict[str, str] = field(default_factory=dict)
    """By kind, what is told of it."""

    def look(self, text: str, place: Place) -> None:
        """Note what is new in a text."""
        for kind, piece in foreign(text, self.understood) if len(self.found) < len(_KINDS) else ():
            if kind not in self.found:
                _, what, instead = _KINDS[kind]
                self.found[kind] = f"{place.source}:{place.line}: {shortened(piece)}: {what}; {instead}"
