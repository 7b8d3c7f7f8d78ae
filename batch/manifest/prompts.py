"""What stands around a prompt: prefix and suffix, alternatives and their wildcards."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from batch.manifest import emphasis
from batch.manifest.alternatives import Template
from batch.manifest.document import Place
from batch.manifest.files import is_there
from batch.manifest.limits import COUNTLESS, DRAWN, PROMPT, TEXTS, Expansion
from batch.manifest.syntax import Foreign
from batch.manifest.values import shortened, shown, whole
from batch.manifest.variant_tokens import looks_varied, uncommented
from batch.manifest.variants import Grammar

LoraNames = tuple[tuple[str, float], ...]
"""LoRAs as the axis names them: file or Hub id, and strength."""

LORA_FOLDERS = ("", "loras", "lora", "Lora", "models/Lora")
"""Where ``<lora:name:1>`` is looked for, from the manifest's folder: A1111's own is the last."""

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
    ignored: dict[str, Place] = field(default_factory=dict)
    """Prompts that look as if they held alternatives, while ``variants`` is off."""
    foreign: Foreign = field(default_factory=Foreign)
    """Syntax of other programs that has been seen."""

    def read(self, text: str, place: Place) -> tuple[str | Template, LoraNames]:
        """A prompt, and the LoRAs that it names.

        Raises ``ValueError`` for a template or a LoRA that cannot be read, and for what is too long.
        """
        length = len(self.prefix) + len(text) + len(self.suffix)
        if length > PROMPT:
            raise ValueError(f"with prefix and suffix it has {length:,} letters; at most {PROMPT:,} are possible")
        if self.grammar is None:
            if looks_varied(text):
                self.ignored.setdefault(text, place)
            self.expansion.add(letters=length)
            whole_text, loras = self._without_loras(joined(joined(self.prefix, text), self.suffix))
            return whole_text, loras
        bare = uncommented(text)
        if not bare and text.strip():
            raise ValueError(f"{shown(text)} is a comment, and no prompt; write \\# for the character")
        around = uncommented(self.prefix), uncommented(self.suffix)
        whole_text, loras = self._without_loras(joined(joined(around[0], bare), around[1]))
        template = self.grammar.parse(whole_text)
        self._count(template, text)
        return (template if template.plain is None else template.plain), loras

    def _without_loras(self, text: str) -> tuple[str, LoraNames]:
        folder = self.loras
        if folder is None:
            return text, ()
        if self.grammar is not None and (found := emphasis.lora_in_alternatives(text)):
            raise ValueError(f"{found} stands inside alternatives; write the LoRAs as values of the axis lora")
        rest, named = emphasis.without_loras(text)
        if named and not rest:
            raise ValueError("nothing but LoRAs")
        return rest, tuple((lora_named(name, folder), strength) for name, strength in named)

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


def lora_named(name: str, folder: Path) -> str:
    """The file that ``<lora:name:1>`` means, as the axis ``lora`` would name it. Raises ``ValueError``."""
    for place in LORA_FOLDERS:
        for file in (f"{name}.safetensors", name):
            inner = f"{place}/{file}" if place else file
            if is_there(folder, inner):
                return inner
    raise ValueError(
        f"<lora:{shortened(name)}>: there is no {name}.safetensors beside the manifest or in its folder loras; "
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
