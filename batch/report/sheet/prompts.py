"""The prompts of a run as rows of a sheet: as they were before styles, where every prompt has every style."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from batch.records.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Which prompt each task has, and the text of each."""

    keys: Sequence[Hashable]
    values: Mapping[Hashable, str]
    styled: bool
    """Styles are an axis of their own."""


def of(tasks: Sequence[Task]) -> Texts:
    """The prompts of tasks that stand in the manifest's order."""
    by_style: dict[str, dict[str, int]] = {}
    for task in tasks:
        numbers = by_style.setdefault(task.style, {})
        numbers.setdefault(task.prompt, len(numbers))
    plain: dict[Hashable, str] = {task.prompt: task.prompt for task in tasks}
    counts = set(map(len, by_style.values()))
    if len(by_style) < 2 or len(counts) > 1 or len(plain) < len(by_style) * max(counts):
        return Texts(keys=[task.prompt for task in tasks], values=plain, styled=False)
    # Styles are gone through for every prompt alike: the third prompt of one is the third of all others.
    texts = list(zip(*by_style.values(), strict=True))
    bare = list(by_style).index("") if "" in by_style else None
    return Texts(
        keys=[by_style[task.style][task.prompt] for task in tasks],
        values={number: same[bare] if bare is not None else _common(same) for number, same in enumerate(texts)},
        styled=True,
    )


def _common(texts: Sequence[str]) -> str:
    """What some texts have in common, at their beginning or at their end."""
    start = _beginning(texts).rstrip(" ,.;:-")
    end = _beginning([text[::-1] for text in texts])[::-1].lstrip(" ,.;:-")
    return max(start, end, key=len) or texts[0]


def _beginning(texts: Sequence[str]) -> str:
    return "".join(
        letters[0] for letters in takewhile(lambda some: len(set(some)) == 1, zip(*texts, strict=False))
    )
