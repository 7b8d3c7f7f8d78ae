"""A manifest's YAML out of pictures: a grid where they are one, else the fewest that together are all of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from types import MappingProxyType

import yaml

from batch.base.text import is_plain, visible
from batch.manifest.recovered import Recovered

MOST_NAMES, MOST_NOTES = 20, 50

_NONE: Mapping[str, object] = MappingProxyType({})

_Block = Mapping[str, tuple[int, ...]]
"""Axes that multiply: each with the numbers of its values."""


def to_data(
    pictures: Sequence[Recovered], head: Mapping[str, object] = _NONE, several: Collection[str] = ()
) -> dict[str, object]:
    """A manifest that renders the pictures, as data.

    ``head`` comes before the grid. What makes a product is written as one, in the grid where it is all of them,
    else in an entry of ``include``, which takes from the grid what has one value: axes that have ``several`` in
    every picture stand in each entry.
    """
    values = _Values()
    blocks = _merged([values.numbered(picture.axes) for picture in pictures])
    shared = set(blocks[0])
    if len(blocks) > 1:
        first, one = blocks[0], 1
        shared = {
            name
            for name in first
            if name not in {"prompt", *several}
            and len(first[name]) == one
            and all(b.get(name) == first[name] for b in blocks)
        }
    data: dict[str, object] = {**head, **pictures[0].texts, "grid": values.written(blocks[0], shared)}
    if len(blocks) > 1:
        data["include"] = [values.written(block, block.keys() - shared) for block in blocks]
    if any(picture.resize for picture in pictures):
        data["resize"] = True
    outputs = [picture.output for picture in pictures]
    if outputs[0] != {"format": "png"} and all(output == outputs[0] for output in outputs):
        data["output"] = dict(outputs[0])
    return data


def to_yaml(data: Mapping[str, object], names: Sequence[str], notes: Sequence[str] = ()) -> str:
    """A manifest's text. Where its pictures came from, and what is said of them, stands in comments."""
    body = yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=100)
    # A letter that turns others round is printable for YAML; it is written as a number then.
    body = body if is_plain(body) else yaml.safe_dump(data, allow_unicode=False, sort_keys=False, width=100)
    said = _comment(notes, MOST_NOTES)
    return (
        f"# Made from\n{_comment(names, MOST_NAMES)}"
        + (f"# Not carried over, or to look at:\n{said}" if said else "")
        + body
    )


def _comment(lines: Sequence[str], most: int) -> str:
    shown = "".join(f"# {visible(' '.join(line.split()))}\n" for line in lines[:most])
    return shown + (f"# and {len(lines) - most:,} more\n" if len(lines) > most else "")


class _Values:
    """The values of each axis, numbered as they appear: lists of them compare as numbers do."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str, int]] = {}
        self._values: dict[str, list[object]] = {}

    def numbered(self, axes: Mapping[str, object]) -> _Block:
        """One picture as a block of one value on each axis."""
        block = {}
        for name, value in axes.items():
            known, values = self._numbers.setdefault(name, {}), self._values.setdefault(name, [])
            block[name] = (known.setdefault(repr(value), len(known)),)
            if len(known) > len(values):
                values.append(value)
        return block

    def written(self, block: _Block, names: Iterable[str]) -> dict[str, object]:
        """The axes of these names as a manifest has them: one value, or a list."""
        wanted = set(names)
        return {name: self._written(name, numbers) for name, numbers in block.items() if name in wanted}

    def _written(self, name: str, numbers: tuple[int, ...]) -> object:
        values = [self._values[name][number] for number in numbers]
        if len(values) == 1:
            return deepcopy(values[0])  # YAML would write one object twice as an alias
        if name == "seed":
            seeds = sorted(seed for seed in values if isinstance(seed, int))
            row = len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1
            return f"{seeds[0]}..{seeds[-1]}" if row else seeds
        # An argument that is a list stands in a list of its own, so as to be one value.
        return [item for value in values for item in (value if isinstance(value, list) else [value])]


def _merged(blocks: Iterable[_Block]) -> list[_Block]:
    """Blocks that differ on one axis alone become one, axis by axis: of a whole product one block remains."""
    found = list({tuple(sorted(block.items())): block for block in blocks}.values())
    axes = dict.fromkeys(["seed", "prompt", *(name for block in found for name in block)])
    for axis in axes:
        groups: dict[object, list[_Block]] = {}
        for block in found:
            rest = frozenset(item for item in block.items() if item[0] != axis)
            groups.setdefault((rest, axis in block), []).append(block)
        found = [_joined(axis, group) if axis in group[0] else group[0] for group in groups.values()]
    return found


def _joined(axis: str, group: Sequence[_Block]) -> _Block:
    return {**group[0], axis: tuple(sorted({number for block in group for number in block[axis]}))}
