"""Versions that must be the same wherever a run renders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch.engines.ray.node import Node

HERE = "this machine"


class Agreement:
    """``own`` are the versions of the machine that the run was started on, by name."""

    def __init__(self, own: Mapping[str, str]) -> None:
        self._own = own

    def broken(self, nodes: Sequence[Node]) -> str:
        """For people: which versions differ, and a table; "" where none do."""
        rows = {HERE: self._own, **{node.name: node.versions for node in nodes}}
        differ = [name for name in self._own if len({row.get(name, "none") for row in rows.values()}) > 1]
        if not differ:
            return ""
        said = f"versions differ in the Ray cluster, and with them would pictures or messages: {', '.join(differ)}"
        return "\n".join([said, *self._table(rows), REMEDY])

    def objection(self, node: Node) -> str:
        """What keeps one node from joining the others; "" where nothing does."""
        differ = [name for name, text in self._own.items() if node.versions.get(name, "none") != text]
        there = [f"{name} {node.versions.get(name, 'none')}" for name in differ]
        here = [f"{name} {self._own[name]}" for name in differ]
        return f"it has {', '.join(there)}, and this machine {', '.join(here)}" if differ else ""

    def _table(self, rows: Mapping[str, Mapping[str, str]]) -> list[str]:
        cells = [["", *self._own]]
        cells += [[name, *(row.get(column, "none") for column in self._own)] for name, row in rows.items()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return [
            "    " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in cells
        ]


REMEDY = "install the same versions on all nodes; builds of one torch version for CPU or CUDA may differ"
