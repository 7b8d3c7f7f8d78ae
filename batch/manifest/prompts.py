"""What stands around a prompt: prefix and suffix, alternatives and their wildcards."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from batch.base.errors import ManifestError
from batch.manifest import emphasis
from batch.manifest.document import Document, Yaml
from batch.manifest.files import Problems, referenced
from batch.manifest.limits import COUNTLESS, DRAWN, PROMPT, TEXTS, Expansion
from batch.manifest.tables import read_prompts
from batch.manifest.values import shown, suggest, whole
from batch.manifest.variants import Grammar, Template, looks_varied

LoraNames = tuple[tuple[str, float], ...]
"""LoRAs as the axis names them: file or Hub id, and strength."""

LORA_FOLDERS = ("", "loras", "lora", "Lora", "models/Lora")
"""Where ``<lora:name:1>`` is looked for, from the manifest's folder: A1111's own is the last."""

_WILDCARD_FOLDER = "wildcards"
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
    loras: Path | None = None
    """The folder in which ``<lora:name:0.8>`` in a prompt names a file; None where that is text."""
    expansion: Expansion = field(default_factory=Expansion)
    """What all prompts stand for so far."""
    ignored: set[str] = field(default_factory=set)
    """Prompts that look as if they held alternatives, while ``variants`` is off."""

    def read(self, text: str) -> tuple[str | Template, LoraNames]:
        """A prompt, and the LoRAs that it names.

        Raises ``ValueError`` for a template or a LoRA that cannot be read, and for what is too long.
        """
        length = len(self.prefix) + len(text) + len(self.suffix)
        if length > PROMPT:
            raise ValueError(f"with prefix and suffix it has {length:,} letters; at most {PROMPT:,} are possible")
        whole_text = joined(joined(self.prefix, text), self.suffix)
        loras: LoraNames = ()
        if self.loras is not None:
            whole_text, loras = self._without_loras(whole_text, self.loras)
        if self.grammar is None:
            if looks_varied(text):
                self.ignored.add(text)
            self.expansion.add(letters=length)
            return whole_text, loras
        template = self.grammar.parse(whole_text)
        self._count(template, text)
        return (template if template.plain is None else template.plain), loras

    def _without_loras(self, text: str, folder: Path) -> tuple[str, LoraNames]:
        if self.grammar is not None and (found := emphasis.lora_in_alternatives(text)):
            raise ValueError(f"{found} stands inside alternatives; write the LoRAs as values of the axis lora")
        rest, named = emphasis.without_loras(text)
        if named and not rest:
            raise ValueError("nothing but LoRAs")
        return rest, tuple((lora_named(name, folder), strength) for name, strength in named)

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


def lora_named(name: str, folder: Path) -> str:
    """The file that ``<lora:name:1>`` means, as the axis ``lora`` would name it. Raises ``ValueError``."""
    for place in LORA_FOLDERS:
        for file in (f"{name}.safetensors", name):
            inner = f"{place}/{file}" if place else file
            with suppress(OSError, ValueError):
                if (folder / inner).is_file():
                    return inner
    raise ValueError(
        f"<lora:{shown(name)}>: there is no {name}.safetensors beside the manifest or in its folder loras; "
        "put it there, or name it under lora:"
    )


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


class Wildcards:
    """The lines of a wildcard: those of the manifest, else ``wildcards/NAME.txt`` beside it."""

    def __init__(self, document: Document, folder: Path, problems: Problems) -> None:
        self._folder = folder
        self._lines: dict[str, Sequence[str]] = {}
        written = document.sections.get("wildcards")
        for name, value in written.items() if isinstance(written, dict) else ():
            try:
                self._lines[name] = self._read(value)
            except ValueError as error:
                problems.add(("wildcards", name), f"wildcards: {name}: {error}")

    def _read(self, value: Yaml) -> Sequence[str]:
        if isinstance(value, dict):
            named = {key: item for key, item in value.items() if isinstance(item, str)}
            if set(value) - {"column"} != {"file"} or len(named) < len(value):
                raise ValueError("as a mapping a wildcard is {file: colours.txt}")
            return self._file(referenced(named["file"], self._folder), named.get("column"))
        lines = value if isinstance(value, list) else [value]
        texts = [line for line in lines if isinstance(line, str)]
        if not texts or len(texts) < len(lines):
            raise ValueError("a wildcard is a list of texts, or {file: colours.txt}")
        return texts

    @staticmethod
    def _file(path: Path, column: str | None = None) -> Sequence[str]:
        try:
            lines = [text for text, _ in read_prompts(path, column)]
        except ManifestError as error:
            raise ValueError("; ".join(map(str, error.problems))) from None
        if not lines:
            raise ValueError(f"{path} holds no line")
        return lines

    def __call__(self, name: str) -> Sequence[str]:
        """Raises ``ValueError`` when there is no such wildcard."""
        if name not in self._lines:
            try:
                path = referenced(f"{_WILDCARD_FOLDER}/{name}.txt", self._folder)
            except ValueError:
                there = [*self._lines, *(found.stem for found in (self._folder / _WILDCARD_FOLDER).glob("*.txt"))]
                hint = suggest(name, there) if there else f"write it under wildcards:, or {name}.txt in wildcards/"
                raise ValueError(f"there is no wildcard __{name}__; {hint}") from None
            self._lines[name] = self._file(path)
        return self._lines[name]
