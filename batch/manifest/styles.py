"""Styles: what the section ``styles`` holds, which of them an axis names, and what they make of a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from batch.base.errors import ManifestError
from batch.manifest.document import Document, Place, Yaml
from batch.manifest.files import Problems
from batch.manifest.limits import PROMPT, STYLES
from batch.manifest.schema import Style
from batch.manifest.several import several
from batch.manifest.style_files import STYLE_SUFFIXES, TEXTS, NamedStyle, read_style_files
from batch.manifest.values import HINTS, more_like, shown, suggest
from batch.manifest.variant_tokens import looks_varied

_INSTEAD = "write them into the prompt, or every one as a style of its own"


@dataclass(slots=True)
class Styles:
    """The styles of a manifest by name."""

    known: Mapping[str, Style] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    """Where each is written."""
    remarks: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    """What is to be told of a style that is used: kind and message."""
    used: dict[str, None] = field(default_factory=dict)
    varied: set[str] = field(default_factory=set)
    """Those named that look as if they held alternatives, while ``variants`` is off."""
    folded: Mapping[str, str] = field(default_factory=dict)
    """The names as they are alike, once one is sought."""
    unknown: int = 0

    def named(self, written: str, *, variants: bool) -> tuple[str, ...]:
        """``none``, a style's name, or several joined with ``+``: a name that holds one is tried whole first.

        Raises ``ValueError`` for one that is not there, and under ``variants`` for alternatives in it.
        """
        if written in ("none", "None") and written not in self.known:
            return ()
        names = tuple(several(written, "+", self.known.__contains__))
        if not all(names):
            raise ValueError(f"{shown(written)} is not a style; write a name, or several joined with +")
        for name in dict.fromkeys(names):
            style = self.known.get(name)
            if style is None:
                raise ValueError(f"'{name}' is unknown{self._otherwise(name) or self._hint(name)}")
            self.used[name] = None
            found = next(filter(looks_varied, (style.prompt, style.negative_prompt)), None)
            if found is None:
                continue
            if variants:
                raise ValueError(
                    f"'{name}' holds alternatives ({shown(found)}), which styles do not have; {_INSTEAD}"
                )
            self.varied.add(name)
        return names

    def _otherwise(self, name: str) -> str:
        """What was written is no name at all."""
        if Path(name).suffix.lower() in STYLE_SUFFIXES:
            return f"; a file of styles stands under styles: {{file: {name}}}, and 'style' names those in it"
        parts = [part.strip() for part in name.split(",")]
        if len(parts) > 1 and all(map(self.known.__contains__, parts)):
            return f"; several are joined with +: {' + '.join(parts)}"
        return ""

    def _hint(self, name: str) -> str:
        """What may have been meant, for the first that are unknown.

        Fooocus shows ``SAI Anime`` for a style that its file calls ``sai-anime``.
        """
        self.unknown += 1
        if self.unknown > HINTS:
            return ""
        # The first of several that are alike.
        self.folded = self.folded or {_folded(known): known for known in reversed(list(self.known))}
        alike = self.folded.get(_folded(name))
        if alike is not None:
            return f"; did you mean '{alike}'?"
        return f"; {suggest(name, self.known)}" if self.known else "; write it under styles:"

    def warnings(self) -> tuple[str, ...]:
        """What is told of the styles in use: of each kind the first, and how many more there are."""
        kinds: dict[str, list[str]] = {}
        for name in self.used:
            for kind, message in self.remarks.get(name, ()):
                kinds.setdefault(kind, []).append(f"{self.places[name]}: {message}")
        for name in sorted(self.varied):
            said = f"the style '{name}' holds alternatives, which are rendered as they stand; {_INSTEAD}"
            kinds.setdefault("varied", []).append(f"{self.places[name]}: {said}")
        return tuple(said[0] + more_like(len(said)) for said in kinds.values())


def _folded(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def read_styles(document: Document, folder: Path, problems: Problems) -> Styles:
    """The section ``styles``: by name, and under ``file`` those of files, which give way to the manifest's own."""
    written = document.sections.get("styles")
    if not isinstance(written, dict):
        return Styles()
    named: dict[str, NamedStyle] = {}
    for name, value in written.items():
        if name == "file" and not isinstance(value, dict):
            _add_files(named, value, folder, problems)
    for name, value in written.items():
        if name == "file" and not isinstance(value, dict):
            continue
        try:
            named[name] = NamedStyle(name, _style(value), document.place(("styles", name)))
        except ValueError as error:
            problems.add(("styles", name), f"styles: {name}: {error}")
    return Styles(
        {name: found.style for name, found in named.items()},
        {name: found.place for name, found in named.items()},
        {name: found.remarks for name, found in named.items() if found.remarks},
    )


def _add_files(found: dict[str, NamedStyle], written: Yaml, folder: Path, problems: Problems) -> None:
    names = written if isinstance(written, list) else [written]
    count = 0
    for index, name in enumerate(names):
        where = ("styles", "file", index) if isinstance(written, list) else ("styles", "file")
        try:
            if not isinstance(name, str):
                raise ValueError(f"{shown(name)} is not the name of a file or a folder")
            for style in read_style_files(name, folder, problems.remark):
                count += 1
                if count > STYLES:
                    raise ValueError(f"more than {STYLES:,} in all files; name fewer")
                remarks = [*style.remarks]
                if first := found.get(style.name):
                    remarks.append(("twice", f"the style '{style.name}' replaces that of {first.place}"))
                found[style.name] = replace(style, remarks=remarks)
        except ValueError as error:
            problems.add(where, f"styles: {error}")
        except ManifestError as error:
            problems.extend(error.problems)


def _style(value: Yaml) -> Style:
    if isinstance(value, str):
        return Style(prompt=value)
    if not isinstance(value, dict) or not value:
        raise ValueError("a style is a text, or a mapping of prompt and negative_prompt")
    texts: dict[str, str] = {}
    for key, text in value.items():
        if key not in TEXTS:
            raise ValueError(f"unknown key '{key}'; {suggest(key, TEXTS)}")
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
