"""What a manifest may ask for at most, each bound with its reason.

No real use comes near one. They turn a slip, or a file that is no manifest, into a message before time and
memory are spent: what would be expanded is counted first.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20

FILE_BYTES = 256 * MIB
"""Of a table or a list of prompts: more prompts than :data:`TASKS`, at fifty letters each."""

UNPACKED = 64 * MIB
"""Of a workbook, which is a zip file: some 200,000 rows, which take half a minute and half a gigabyte to read."""

STYLE_BYTES = 16 * MIB
"""Of a file of styles: the largest that people share have a thousand of a kilobyte."""

STYLE_FILES = 10_000
"""Of a folder of styles: SD.Next keeps a file for each."""

STYLES = 100_000
"""Of all files of styles together, those that replace one another too: a tenth of a gigabyte."""

SHEET_CELLS = 5_000_000
"""From the first to the last of a sheet, empty ones too: a blank in the last row makes a million rows.

Of the file itself, what takes openpyxl as long: 2,500,000 cells, or ranges of 500,000 merged or linked ones."""

YAML_LETTERS = 64 * MIB
"""Of YAML, which takes a hundred times its size in memory: what is longer belongs into a table."""

NODES = 2_000_000
"""Of YAML: keys and values, a kilobyte and a half of memory each. Prompts by the million belong into a table."""

DEPTH = 50
"""Lists, mappings, groups and wildcards inside one another; manifests have six, Python's stack room for 200."""

ALIASED = 100_000
"""Values that aliases of YAML add to those written; ten lines of them can stand for ten thousand million."""

DIGITS = 400
"""Of a number: no seed has more than 20, and no float more than 309."""

WILDCARD_FILES = 20_000
"""Below ``wildcards/``: the largest collections have two thousand."""

COLUMNS = 1_000
"""Of a table: there are a dozen axes, and an ``extra.`` for every argument of a pipeline."""

NAME = 10_000
"""Letters of a name as it is written, several joined with ``+`` counted together; a path has at most 4,096."""

TEMPLATE = 1_000
"""Letters of ``output.name``, which is filled in for every task."""

FOLDERS = 10
"""Parts of a file's name: with 150 bytes each they stay well below the 4,096 of a path."""

LORAS = 100
"""On one picture, each of which is loaded and stays in memory beside the others."""

PROMPT = 100_000
"""Letters of a prompt with all that stands around it: the longest text encoders read a few thousand."""

LETTERS = 1_000_000_000
"""Of all prompts of a plan together: five million of two hundred letters, a gigabyte."""

TASKS = 5_000_000
"""A slip in a range, not a job: this many take two minutes and 3 GiB to plan."""

RANGE = 1_000_000
"""Values of one range, and seeds drawn at once."""

TEXTS = 1_000_000
"""Texts that one prompt with alternatives stands for."""

VARIABLES = 1_000
"""Of one prompt with alternatives, with those that the lines of its wildcards set: people set three."""

DRAWN = 10_000
"""Texts drawn of one prompt with alternatives."""

CHOICES = 5_000_000
"""Made at random for all the texts that are drawn: some ten seconds."""

COUNTLESS = 10**18
"""Where counting ends: lists that name one another soon stand for numbers that fill the memory."""


@dataclass(slots=True)
class Expansion:
    """What a manifest's values stand for, counted before it is made."""

    values: int = 0
    letters: int = 0
    choices: int = 0

    def add(self, *, values: int = 0, letters: int = 0, choices: int = 0) -> None:
        """Raises ``ValueError`` when it is too much, with all that came before."""
        self.values += values
        self.letters += letters
        self.choices += choices
        if self.values > TASKS or self.letters > LETTERS or self.choices > CHOICES:
            raise ValueError(f"with this and all before it {self.too_much}")

    @property
    def too_much(self) -> str:
        """What there is too much of; nothing while all is well."""
        if self.values > TASKS:
            return f"the manifest has more than {TASKS:,} values, as many as are planned"
        if self.letters > LETTERS:
            return f"all prompts together have more than {LETTERS:,} letters"
        if self.choices > CHOICES:
            return f"drawing takes more than {CHOICES:,} choices; draw fewer texts"
        return ""
