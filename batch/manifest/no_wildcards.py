"""What lies among wildcards and is none: files that programs keep of a model, shapes that are not read.

Nothing of it may be lost without a word: a pattern stands for all whose names fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from batch.manifest.document import Yaml
from batch.manifest.scalars import core_scalar
from batch.manifest.values import shown

_METADATA = (".info.json", ".api_info.json", ".cm-info.json", ".metadata.json", ".civitai.json")
"""Of Civitai's downloads, as its helpers for A1111, ComfyUI and their like name them."""

WEIGHTED = frozenset({"text", "content", "weight"})
"""Keys of a line with a weight."""

_UMI = frozenset({"Prompts", "Tags"})


class Unread(NamedTuple):
    """A file, or a part of one, whose lines no name reaches."""

    below: str
    """What the names in it would begin with."""
    said: str
    broken: bool = True
    """Lines may be lost; else it is plainly no list of lines, which is told beside the plan."""

    def may_hold(self, name: str) -> bool:
        """Whether a name, or one that a pattern stands for, may have been in it."""
        begins = re.split(r"[*?\[]", name, maxsplit=1)[0]
        return begins.startswith(self.below) or (begins != name and self.below.startswith(begins))


def is_metadata(name: str) -> bool:
    """Whether a file's name is that of a model's metadata."""
    return name.lower().endswith(_METADATA)


def is_umi(value: Yaml) -> bool:
    """Whether a mapping is an entry of UMI's: its tags would be read as lines."""
    return isinstance(value, dict) and value.keys() >= _UMI


def no_lines(data: Yaml) -> str:
    """What shows that the data of a file are no lists of lines; nothing where they may be."""
    return next(_no_lines(data, ""), "")


def _no_lines(value: Yaml, key: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _no_lines(inner, name)
    elif isinstance(value, list):
        if value and all(_is_record(item) for item in value):
            yield f"a list of {shown(value[0])}"
    elif key and isinstance(value, str) and value and not isinstance(core_scalar(value), str):
        yield f"'{key}' is {value}"


def _is_record(item: Yaml) -> bool:
    """A mapping of one key is a line that wants quotes."""
    return isinstance(item, dict) and len(item) > 1 and not WEIGHTED & item.keys()
