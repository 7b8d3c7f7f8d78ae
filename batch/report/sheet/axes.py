"""What the pictures of a run differ in: its axes, and which of them make the table of a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from batch.base.errors import UserError
from batch.records.tasks import Task
from batch.report.images import loras_of
from batch.report.sheet import prompts

if TYPE_CHECKING:
    from batch.report.sheet.prompts import Texts

Key = tuple[Hashable, ...]

_SAID: dict[str, Callable[[Task], object]] = {
    "model": lambda task: task.model,
    "prompt": lambda task: task.prompt,
    "negative_prompt": lambda task: task.negative_prompt or "none",
    "style": lambda task: task.style or "none",
    "seed": lambda task: task.seed,
    "size": lambda task: task.size,
    "steps": lambda task: task.steps,
    "guidance": lambda task: f"{task.guidance:g}",
    "scheduler": lambda task: task.scheduler or "default",
    "memory": lambda task: task.memory,
    "dtype": lambda task: task.dtype,
    "vae": lambda task: task.vae or "default",
}
"""What a value is called, by the manifest's axes in their order; then come ``lora`` and ``extra.NAME``."""

ORDER = (*_SAID, "lora")
_FIELDS = {"lora": "loras"}
_BARE = ("model", "prompt", "size")
"""Their values say what they are of."""

_UNSAID = {"negative_prompt": ("", "none"), "style": ("", "none"), "scheduler": ("default",), "vae": ("default",),
           "lora": ("none",)}  # fmt: skip
"""What is not worth a word where all pictures share it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetAxis:
    """An axis with its values in the manifest's order, and which of them each task has."""

    name: str
    keys: Sequence[Hashable]
    """Of each task, in the order of the tasks."""
    values: Mapping[Hashable, str]
    with_prompt: bool = False
    """It goes along with the prompt, and is left out where nobody names it."""

    def title(self, key: Hashable) -> str:
        """A value as it stands beside a row or above a column: ``steps 20``."""
        return self.values[key] if self.name in _BARE else f"{worded(self.name)} {self.values[key]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Which axes go down, across, and from table to table; and those that go along with one of these."""

    rows: tuple[SheetAxis, ...] = ()
    columns: tuple[SheetAxis, ...] = ()
    blocks: tuple[SheetAxis, ...] = ()
    with_rows: tuple[SheetAxis, ...] = ()
    """The row decides their value: they are said in its label."""
    with_columns: tuple[SheetAxis, ...] = ()


def worded(name: str) -> str:
    """An axis in a sentence."""
    return name.removeprefix("extra.").replace("_", " ")


def axes_of(tasks: Sequence[Task]) -> list[SheetAxis]:
    """The axes with several values among tasks that stand in the manifest's order.

    Where every prompt has every style, the prompts are those before it. Else a style goes with the prompt, as its
    negative prompt does.
    """
    if not tasks:
        return []
    texts = prompts.of(tasks)
    found = [_axis(name, tasks, texts) for name in _varying(tasks)]
    found += [_extra(name, tasks) for name in _varying_extras(tasks)]
    by_name = {axis.name: axis for axis in found if len(axis.values) > 1}
    if (style := by_name.get("style")) and not texts.styled:
        by_name["style"] = replace(style, with_prompt=True)
    if (negative := by_name.get("negative_prompt")) and (prompt := by_name.get("prompt")):
        deciding = [prompt, style] if style and texts.styled else [prompt]
        by_name["negative_prompt"] = replace(negative, with_prompt=decides(deciding, negative))
    return list(by_name.values())


def _varying(tasks: Sequence[Task]) -> list[str]:
    """Axes whose values differ, where 2 and 2.0 are two."""
    fields = {name: _FIELDS.get(name, name) for name in ORDER if name != "size"}
    first = {name: getattr(tasks[0], field) for name, field in fields.items()}
    differing = set()
    for task in tasks:
        for name, other in first.items():
            value = getattr(task, fields[name])
            if value is not other and (value != other or repr(value) != repr(other)):
                differing.add(name)
        if (task.width, task.height) != (tasks[0].width, tasks[0].height):
            differing.add("size")
    return [name for name in ORDER if name in differing]


def _varying_extras(tasks: Sequence[Task]) -> list[str]:
    """The extra arguments that have several values, "not given" being one."""
    values: dict[str, set[str]] = {}
    found = [dict(extra) for extra in {repr(task.extra): task.extra for task in tasks}.values()]
    for extra in found:
        for name, value in extra.items():
            values.setdefault(name, set()).add(repr(value))
    return [name for name, some in values.items() if len(some) > 1 or any(name not in extra for extra in found)]


def _axis(name: str, tasks: Sequence[Task], texts: Texts) -> SheetAxis:
    if name == "prompt":
        return SheetAxis(name=name, keys=texts.keys, values=texts.values)
    if name == "lora":
        return _made(name, tasks, lambda task: repr(task.loras), loras_of(tasks))
    said = _SAID[name]
    return _made(name, tasks, lambda task: _key(getattr(task, name)), lambda task: str(said(task)))


def _key(value: object) -> Hashable:
    return value if isinstance(value, str) else repr(value)


def _extra(name: str, tasks: Sequence[Task]) -> SheetAxis:
    given = [dict(task.extra) for task in tasks]
    keys = [repr(extra[name]) if name in extra else "" for extra in given]
    values: dict[Hashable, str] = {
        key: str(extra.get(name, "not given")) for key, extra in zip(keys, given, strict=True)
    }
    return SheetAxis(name=f"extra.{name}", keys=keys, values=values)


def _made(
    name: str, tasks: Sequence[Task], key_of: Callable[[Task], Hashable], said: Callable[[Task], str]
) -> SheetAxis:
    keys = [key_of(task) for task in tasks]
    values: dict[Hashable, str] = {}
    for key, task in zip(keys, tasks, strict=True):
        if key not in values:
            values[key] = said(task)
    return SheetAxis(name=name, keys=keys, values=values)


def decides(some: Iterable[SheetAxis], axis: SheetAxis) -> bool:
    """Whether the values of some axes leave one value of another."""
    by = list(zip(*(other.keys for other in some), strict=True))
    return bool(by) and len(set(zip(by, axis.keys, strict=True))) == len(set(by))


def per_prompt(axes: Mapping[str, SheetAxis]) -> int:
    """How many seeds a prompt has where prompts have seeds of their own; 0 where they share them."""
    if "prompt" not in axes or "seed" not in axes:
        return 0
    prompt, seed = axes["prompt"], axes["seed"]
    pairs = set(zip(prompt.keys, seed.keys, strict=True))
    if 2 * len(pairs) >= len(prompt.values) * len(seed.values):
        return 0
    return -(-len(pairs) // len(prompt.values))


def choose(axes: Sequence[SheetAxis], rows: Sequence[str] = (), columns: Sequence[str] = ()) -> Matrix:
    """Rows and columns: those that are named, else the two axes with the most values.

    The rule in one sentence: the axis with the most values goes down and that with the next most across, of equals
    the one that stands first in model, prompt, negative_prompt, style, seed, size, steps, guidance, scheduler,
    memory, dtype, vae, lora, extra.* before the other; one that the first decides is passed over, seeds that
    belong to prompts count as many as a prompt has, and prompts go down where they are one of the two.

    Raises :class:`UserError` for a name that is none of the axes.
    """
    by_name = {axis.name: axis for axis in axes}
    down = [_named(name, by_name) for name in dict.fromkeys(rows)]
    across = [_named(name, by_name) for name in dict.fromkeys(columns)]
    axes = [axis for axis in axes if not axis.with_prompt or axis in [*down, *across]]
    own = per_prompt(by_name)
    for axis in sorted(axes, key=lambda axis: -(own if own and axis.name == "seed" else len(axis.values))):
        taken = [*down, *across]
        if axis in taken or decides(taken, axis):
            continue
        if not down:
            down.append(axis)
        elif not across:
            across.append(axis)
    if across and not rows and not columns and across[0].name == "prompt":
        down, across = across, down
    return _completed(axes, down, across, by_name["seed"] if own else None)


def _completed(
    axes: Sequence[SheetAxis], down: list[SheetAxis], across: list[SheetAxis], own_seeds: SheetAxis | None
) -> Matrix:
    """With what becomes of the axes that are neither rows nor columns."""
    by_prompt = own_seeds is not None and any(axis.name == "prompt" for axis in down)
    if own_seeds and by_prompt and own_seeds not in [*down, *across] and not decides(down, own_seeds):
        down = [*down, own_seeds]  # else each would be a table
    rest = [axis for axis in axes if axis not in down and axis not in across]
    with_rows = [axis for axis in rest if down and decides(down, axis)]
    with_columns = [axis for axis in rest if axis not in with_rows and across and decides(across, axis)]
    blocks = [axis for axis in rest if axis not in with_rows and axis not in with_columns]
    return Matrix(
        rows=tuple(down),
        columns=tuple(across),
        blocks=tuple(blocks),
        with_rows=tuple(with_rows),
        with_columns=tuple(with_columns),
    )


def _named(name: str, by_name: Mapping[str, SheetAxis]) -> SheetAxis:
    if name in by_name:
        return by_name[name]
    vary = ", ".join(f"{axis.name} ({len(axis.values)} values)" for axis in by_name.values()) or "nothing"
    if name in ORDER or name.startswith("extra."):
        raise UserError(f"{name} does not differ between the images of this run; what does: {vary}")
    near = get_close_matches(name, [*by_name, *ORDER], n=1)
    meant = f" (did you mean '{near[0]}'?)" if near else ""
    raise UserError(f"'{name}' is no axis of this run{meant}; what differs between its images: {vary}")


def shared(tasks: Sequence[Task]) -> str:
    """What all pictures have in common, in the order of the axes."""
    if not tasks:
        return ""
    apart = set(_varying(tasks))
    loras = loras_of(tasks)(tasks[0])
    said = {name: str(say(tasks[0])) for name, say in _SAID.items()} | {"lora": loras}
    parts = [
        value if name in _BARE else f"{worded(name)} {value}"
        for name, value in said.items()
        if name not in apart and value not in _UNSAID.get(name, ())
    ]
    differing = set(_varying_extras(tasks))
    parts += [f"{name} {value}" for name, value in tasks[0].extra if name not in differing]
    return " · ".join(parts)
