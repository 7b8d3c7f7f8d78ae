"""The values of axes as they are written, each as an entry with its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

from batch.base.errors import SHOWN, ManifestError, Problem
from batch.manifest import values
from batch.manifest.axes import axis, unknown_axis
from batch.manifest.document import Location, Place, Yaml
from batch.manifest.files import Problems, is_there, referenced
from batch.manifest.loras import lora
from batch.manifest.prompt_files import read_prompts
from batch.manifest.prompts import Prompts
from batch.manifest.quotes import why_not_text
from batch.manifest.schema import Entry
from batch.manifest.styles import Styles
from batch.manifest.values import RandomSeeds

_SEVERAL = (list, range)
Axes = dict[str, tuple[Entry, ...]]


@dataclass(slots=True)
class EntryReader:
    """Reads values of axes; what is wrong goes to ``problems``."""

    folder: Path
    prompts: Prompts
    styles: Styles
    problems: Problems
    with_loras: list[Entry] = field(default_factory=list)
    """Prompts whose text names LoRAs."""

    def axes(self, written: Mapping[str, Yaml], location: Location) -> Axes:
        """Every axis of a mapping, by name."""
        axes: Axes = {}
        for name, value in written.items():
            if axis(name) is None:
                self.problems.add((*location, name), f"unknown axis '{name}'; {unknown_axis(name)}")
            else:
                axes[name] = self._values(name, value, (*location, name))
        return axes

    def _values(self, name: str, written: Yaml, location: Location) -> tuple[Entry, ...]:
        if written == []:
            self.problems.add(location, f"'{name}' is an empty list; give a value or remove it")
        many = isinstance(written, list)
        found: list[Iterable[Entry]] = []
        for index, item in enumerate(written if isinstance(written, list) else [written]):
            where = (*location, index) if many else location
            try:
                if name == "prompt" and isinstance(item, dict):
                    found.append(self._from_file(item, where) if "file" in item else self._with_own(item, where))
                else:
                    found.append(self.entries(name, item, self.problems.document.place(where)))
            except ValueError as error:
                self.problems.add(where, f"{name}: {error}{self._in_quotes(name, item, where)}")
            except ManifestError as error:
                self.problems.extend(error.problems)
        return () if self.prompts.expansion.too_much else tuple(chain.from_iterable(found))

    def _in_quotes(self, name: str, item: Yaml, where: Location) -> str:
        """What to write where a prompt was meant that YAML has read as something else."""
        if name not in ("prompt", "negative_prompt") or not isinstance(item, dict | list):
            return ""
        if len(self.problems.found) > SHOWN or (isinstance(item, dict) and {"file", "text"} & item.keys()):
            return ""
        why = why_not_text(self.problems.document.written(where))
        return f". If this is a text: {why}" if why else ""

    def entries(self, name: str, item: Yaml, place: Place) -> Iterable[Entry]:
        """One written value, or the several that a range stands for: counted here, and made as they are taken.

        Raises ``ValueError``.
        """
        known = axis(name)
        assert known is not None  # callers have checked the name
        found = lora(item, partial(is_there, self.folder)) if name == "lora" else known.read(item)
        if name == "prompt":
            return [self._prompt(str(found), place)]
        if name == "negative_prompt":
            self.prompts.foreign.look(str(found), place)
            found = self.prompts.fixed(str(found))
        elif name == "style":
            found = self.styles.named(str(found), variants=self.prompts.grammar is not None)
        if not isinstance(found, _SEVERAL):
            return [Entry(found, place)]
        drawn = [value.count - 1 for value in found if isinstance(value, RandomSeeds)]
        self.prompts.expansion.add(values=len(found) - 1 + sum(drawn))
        return (Entry(value, place) for value in found)

    def _with_own(self, item: Mapping[str, Yaml], where: Location) -> list[Entry]:
        """A prompt with values of its own on other axes."""
        if "text" not in item and "prompt" in item:
            text = values.shortened(str(item["prompt"]))
            raise ValueError(f"in a list of prompts one with values of its own is 'text'; write text: {text}")
        if "text" not in item:
            raise ValueError("a mapping is {file: prompts.txt}, or {text: …} with values of its own")
        rest = {key: item[key] for key in item if key != "text"}
        if "prompt" in rest:
            raise ValueError("'text' is the prompt; remove 'prompt'")
        text = values.prompt(item["text"])
        return [self._prompt(text, self.problems.document.place(where), self.axes(rest, where))]

    def _prompt(self, text: str, place: Place, own: Axes | None = None) -> Entry:
        """A prompt, with the LoRAs that its text names among its own values. Raises ``ValueError``."""
        self.prompts.foreign.look(text, place)
        value, loras = self.prompts.read(text, place)
        own = dict(own or {})
        if not loras:
            return Entry(value, place, own) if own else Entry(value, place)
        if "lora" in own:
            raise ValueError(
                "its text names LoRAs, and 'lora' beside it would replace them; write all in one place"
            )
        entry = Entry(value, place, own | {"lora": (Entry(loras, place),)})
        self.with_loras.append(entry)
        return entry

    def _from_file(self, item: Mapping[str, Yaml], where: Location) -> list[Entry]:
        named: dict[str, str] = {}
        for key, value in item.items():
            if key not in ("file", "column", "sheet"):
                raise ValueError(f"unknown key '{key}' beside 'file'; possible are 'column' and 'sheet'")
            if not isinstance(value, str) or not value:
                raise ValueError(f"{key}: {values.shown(value)} is not a name")
            named[key] = value
        path = referenced(named["file"], self.folder)
        entries = []
        failed = len(self.problems.found)
        for line in read_prompts(path, named, self.problems.remark):
            try:
                own = {name: tuple(self.entries(name, item, line.place)) for name, item in line.own.items()}
                entries.append(self._prompt(values.text(line.text), line.place, own))
            except ValueError as error:
                self.problems.found.append(Problem(*line.place, f"prompt: {error}"))
        if not entries and len(self.problems.found) == failed:
            self.problems.add(where, f"prompt: {path} holds no prompt")
        return entries
