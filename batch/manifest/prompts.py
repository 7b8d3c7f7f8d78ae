"""What stands around a prompt: prefix and suffix, alternatives and their wildcards, styles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batch.base.errors import ManifestError, Problem
from batch.manifest.alternatives import Template
from batch.manifest.document import Document, Yaml
from batch.manifest.files import Problems, referenced
from batch.manifest.limits import COUNTLESS, DRAWN, PROMPT, TEXTS, Expansion
from batch.manifest.schema import Style
from batch.manifest.syntax import Foreign
from batch.manifest.tables import TABLE_SUFFIXES, read_table
from batch.manifest.values import shown, suggest, whole
from batch.manifest.variant_tokens import looks_varied, uncommented
from batch.manifest.variants import Grammar

_NO_SPACE_BEFORE = tuple(",.;:!?)]}")


@dataclass(slots=True)
class Prompts:
    """Turns a prompt as written into the text, or the template of texts, that is rendered."""

    prefix: str
    suffix: str
    grammar: Grammar | None
    """None where ``variants`` is off: every character of a prompt is itself."""
    drawn: int = 0
    """Texts that are drawn of a template; 0 takes all of them, so there must not be too many."""
    expansion: Expansion = field(default_factory=Expansion)
    """What all prompts stand for so far."""
    ignored: set[str] = field(default_factory=set)
    """Prompts that look as if they held alternatives, while ``variants`` is off."""
    foreign: Foreign = field(default_factory=Foreign)
    """Syntax of other programs that has been seen."""

    def read(self, text: str) -> str | Template:
        """Raises ``ValueError`` for a template that cannot be read, and for what is too long."""
        length = len(self.prefix) + len(text) + len(self.suffix)
        if length > PROMPT:
            raise ValueError(f"with prefix and suffix it has {length:,} letters; at most {PROMPT:,} are possible")
        if self.grammar is None:
            if looks_varied(text):
                self.ignored.add(text)
            self.expansion.add(letters=length)
            return joined(joined(self.prefix, text), self.suffix)
        bare = uncommented(text)
        if not bare and text.strip():
            raise ValueError(f"{shown(text)} is a comment, and no prompt; write \\# for the character")
        around = uncommented(self.prefix), uncommented(self.suffix)
        template = self.grammar.parse(joined(joined(around[0], bare), around[1]))
        self._count(template, text)
        return template if template.plain is None else template.plain

    def fixed(self, text: str) -> str:
        """A text that stands for no other: a negative prompt, one of a style.

        Raises ``ValueError`` for one with alternatives, which would reach the model as they stand.
        """
        if self.grammar is None or not any(sign in text for sign in ("{", "}", "__", "$", "\\")):
            return text
        plain = self.grammar.parse(text).plain
        if plain is None:
            own = "{text: a fox, negative_prompt: blurry}"
            raise ValueError(f"alternatives are expanded in prompts alone; write them out, or {own} for each")
        return plain

    def _count(self, template: Template, text: str) -> None:
        count, longest, choices, _ = template.extent
        if self.drawn:
            texts = min(count, self.drawn)
            self.expansion.add(letters=texts * longest, choices=texts * choices)
        elif count > TEXTS:
            many = f"{count:,} texts{' or more' if count == COUNTLESS else ''}"
            raise ValueError(f"{shown(text)} stands for {many}; write variants: {{random: 4}} to draw from them")
        else:
            self.expansion.add(values=count - 1, letters=count * (longest + choices))


def joined(left: str, right: str) -> str:
    """Two pieces of a prompt with a space between, where none stands there and none is wrong there."""
    if not left or not right or left[-1].isspace() or right[0].isspace() or right.startswith(_NO_SPACE_BEFORE):
        return left + right
    return f"{left} {right}"


def read_variants(written: object) -> int | None:
    """How many texts are drawn of a template: 0 for all, None for off. Raises ``ValueError``."""
    if written in ("off", False):
        return None
    if written == "all":
        return 0
    if isinstance(written, dict) and set(written) == {"random"}:
        return whole(written["random"], 1, DRAWN)
    raise ValueError(f"{shown(written)} is not possible; write off, all, or {{random: 4}}")


def read_styles(document: Document, folder: Path, problems: Problems) -> dict[str, Style]:
    """The section ``styles``: by name, or a file with the columns name, prompt, negative_prompt."""
    written = document.sections.get("styles")
    if not isinstance(written, dict):
        return {}
    if set(written) == {"file"} and isinstance(written["file"], str):
        try:
            path = referenced(written["file"], folder, TABLE_SUFFIXES)
            table = read_table(path)
        except ValueError as error:
            problems.add(("styles", "file"), f"styles: {error}")
            return {}
        except ManifestError as error:
            problems.extend(error.problems)
            return {}
        lacking = next((needed for needed in ("name", "prompt") if needed not in table.columns), None)
        if lacking is not None:
            has = ", ".join(table.columns)
            problems.add(("styles", "file"), f"styles: {path} has no column '{lacking}'; it has {has}")
            return {}
        found: dict[str, Style] = {}
        for row in table.rows:
            cells = row.cells
            if "name" not in cells:  # a line of JSON names its own columns
                problems.extend([Problem(*row.place, "styles: this row has no 'name'")])
            found[str(cells.get("name")).strip()] = Style(
                str(cells.get("prompt") or ""), str(cells.get("negative_prompt") or "")
            )
        return found
    styles = {}
    for name, value in written.items():
        try:
            styles[name] = _style(value)
        except ValueError as error:
            problems.add(("styles", name), f"styles: {name}: {error}")
    return styles


def _style(value: Yaml) -> Style:
    if isinstance(value, str):
        return Style(prompt=value)
    possible = ("prompt", "negative_prompt")
    if not isinstance(value, dict) or not value:
        raise ValueError("a style is a text, or a mapping of prompt and negative_prompt")
    texts: dict[str, str] = {}
    for key, text in value.items():
        if key not in possible:
            raise ValueError(f"unknown key '{key}'; {suggest(key, possible)}")
        if not isinstance(text, str):
            raise ValueError(f"{key}: {shown(text)} is not a text")
        texts[key] = text
    return Style(**texts)


def styled(prompt: str, negative: str, names: Sequence[str], styles: Mapping[str, Style]) -> tuple[str, str]:
    """A prompt and its negative prompt under styles, one after the other.

    Raises ``ValueError`` when one of the two becomes too long.
    """
    for name in names:
        prompt = _applied(styles[name].prompt, prompt)
        negative = _applied(styles[name].negative_prompt, negative)
    return prompt, negative


def _applied(style: str, text: str) -> str:
    if len(style) + max(1, style.count("{prompt}")) * len(text) > PROMPT:
        raise ValueError(f"it makes texts of more than {PROMPT:,} letters")
    if "{prompt}" in style:
        return style.replace("{prompt}", text)
    return ", ".join(part for part in (text, style) if part)
