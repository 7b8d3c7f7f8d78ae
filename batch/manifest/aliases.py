"""Aliases of YAML, which stand for what is written elsewhere: how much a file is when they are followed."""

from __future__ import annotations

from typing import NamedTuple

import yaml

from batch.base.errors import ManifestError, Problem
from batch.manifest.limits import ALIASED, DEPTH


class _Extent(NamedTuple):
    """Of a node when aliases are followed; one that contains itself counts as none inside itself."""

    nodes: int
    depth: int


def _extent(node: yaml.Node, known: dict[int, _Extent]) -> _Extent:
    if id(node) not in known:
        known[id(node)] = _Extent(0, 0)
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            inner = node.value
        elif isinstance(node, yaml.MappingNode):
            inner = [item for pair in node.value for item in pair]
        found = [_extent(item, known) for item in inner]
        known[id(node)] = _Extent(
            1 + sum(item.nodes for item in found), 1 + max((item.depth for item in found), default=0)
        )
    return known[id(node)]


def check_aliases(node: yaml.Node, source: str) -> None:
    """Raises :class:`ManifestError` for aliases that stand for more than can be meant."""
    known: dict[int, _Extent] = {}
    nodes, depth = _extent(node, known)
    if nodes - len(known) > ALIASED or depth > DEPTH:
        deep = f"nested more than {DEPTH} deep"
        wrong = deep if depth > DEPTH else f"too large: they add more than {ALIASED:,} values"
        line = node.start_mark.line + 1
        raise ManifestError([Problem(source, line, f"aliases make this file {wrong}; write the values out")])
