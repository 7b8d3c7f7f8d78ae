"""What a run folder keeps of its job: whose it is, the manifest, what was drawn and resolved, the tasks."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from batch.base import atomic, regular
from batch.base.errors import ForeignFolder, UserError, in_words
from batch.catalogue.repositories import COMMIT
from batch.manifest.schema import Manifest, Output, RunOptions
from batch.manifest.tables import TABLE_SUFFIXES
from batch.plan.pins import Pins
from batch.records.reading import from_json, to_json
from batch.records.tasks import Task
from batch.store import files
from batch.store.pictures import image_path
from batch.store.trash import Trash

LAYOUT = 1
"""Of the folder: what a version that arranges it otherwise writes another number for."""

_MOST_ORDERED = 10_000
"""Values of an axis whose order is kept."""

Section = TypeVar("Section", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """``format.json``: which job a folder belongs to, in which layout."""

    schema: int
    name: str | None = None
    kind: str | None = None
    id: str = ""
    """Drawn when the folder is made, and kept wherever it is moved. "" in those that older versions made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a run keeps of its manifest: the text, where it lay, and its sections as they were read."""

    text: str = ""
    suffix: str = ".yaml"
    source: str = ""
    output: Output = field(default_factory=Output)
    run: RunOptions = field(default_factory=RunOptions)
    allow_pickle: frozenset[str] = frozenset()
    trust_remote_code: frozenset[str] = frozenset()
    order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of :data:`ORDERED` axes the values as the manifest has them: rendering goes from large to small."""


ORDERED = ("size", "steps")


def origin_of(manifest: Manifest) -> Origin:
    """What a run folder keeps of a manifest."""
    return Origin(
        text=manifest.text,
        suffix=manifest.suffix,
        source=str(Path(manifest.source).resolve()),
        output=manifest.output,
        run=manifest.run,
        allow_pickle=manifest.allow_pickle,
        trust_remote_code=manifest.trust_remote_code,
        order={name: _in_order(manifest, name) for name in ORDERED},
    )


def _in_order(manifest: Manifest, axis: str) -> tuple[str, ...]:
    entries = (str(entry.value) for grid in manifest.grids for entry in grid.entries(axis))
    return tuple(islice(dict.fromkeys(entries), _MOST_ORDERED))


def read_owner(state: Path) -> Owner:
    """Whose the folder is. Raises :class:`ForeignFolder` where that cannot be read."""
    path = state / "format.json"
    try:
        return files.read(Owner, path)
    except files.UNREADABLE as error:
        raise ForeignFolder(
            f"{path} is damaged ({in_words(error)}): it says whose the folder is. "
            "Restore it, or render into another folder with --out"
        ) from None


def write_owner(state: Path, name: str, kind: str, runner: str) -> None:
    """Make the folder the job's."""
    files.write(state / "format.json", to_json(_owned(name, kind)), runner)


def create_owner(state: Path, name: str, kind: str, runner: str) -> bool:
    """The same; False where another run has done so meanwhile."""
    return files.create(state / "format.json", to_json(_owned(name, kind)), runner)


def _owned(name: str, kind: str) -> Owner:
    return Owner(schema=LAYOUT, name=name, kind=kind, id=uuid.uuid4().hex[:12])


# plan.json


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pinned:
    seeds: Mapping[str, tuple[int, ...]]
    revisions: Mapping[str, str]
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    begun: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _PinnedNumerics:
    numerics: Mapping[str, Mapping[str, int | bool]] = field(default_factory=dict)


NOTHING_PINNED = Pins()


def read_pins(state: Path) -> Pins:
    """Seeds drawn and revisions resolved by an earlier run. Raises :class:`ForeignFolder` for damaged ones."""
    path = state / "plan.json"
    try:
        found = files.read(_Pinned, path)
        for name, commit in found.revisions.items():
            if commit and not COMMIT.fullmatch(commit):  # a branch, or the path of a folder anywhere
                raise ValueError(f"the revision of {name} is no commit")
    except FileNotFoundError:
        return Pins()
    except files.UNREADABLE as error:
        raise ForeignFolder(
            f"{path} is damaged ({in_words(error)}): it holds the seeds drawn and the model revisions of this "
            "run. Restore it, or render into another folder with --out"
        ) from None
    numerics = _PinnedNumerics()
    with suppress(*files.UNREADABLE):  # where they are damaged they are decided anew, which costs no picture
        numerics = files.read(_PinnedNumerics, path)
    return Pins(
        seeds=found.seeds,
        revisions=found.revisions,
        variants=found.variants,
        begun=found.begun,
        numerics=numerics.numerics,
    )


def write_pins(state: Path, pins: Pins, runner: str) -> None:
    """Keep what was drawn and resolved."""
    files.write(state / "plan.json", to_json(pins), runner)


def create_pins(state: Path, pins: Pins, runner: str) -> bool:
    """Keep what was drawn and resolved first of all; False where another run has done so meanwhile."""
    return files.create(state / "plan.json", to_json(pins), runner)


# The manifest and origin.json


def read_origin(root: Path, state: Path) -> Origin:
    """Where the manifest came from; the defaults for what was not kept in a readable form."""
    kept = next((path for path in _manifests(root) if path.is_file()), None)
    text = ""
    with suppress(*files.UNREADABLE):
        text = regular.read(kept, files.MAX_TABLE).decode() if kept else ""
    data: Mapping[str, object] = {}
    with suppress(*files.UNREADABLE):
        data = files.read(dict[str, object], state / "origin.json")
    return Origin(
        text=text,
        suffix=kept.suffix if kept else ".yaml",
        source=str(data.get("source", "")),
        output=_section(Output, data.get("output")),
        run=_section(RunOptions, data.get("run")),
        allow_pickle=_words(data.get("allow_pickle")),
        trust_remote_code=_words(data.get("trust_remote_code")),
        order=_orders(data.get("order")),
    )


def write_origin(root: Path, state: Path, origin: Origin, runner: str) -> None:
    """Keep the manifest and how it was read, in place of what was kept before."""
    kept = root / f"manifest{origin.suffix}"
    atomic.write(kept, origin.text.encode(), runner)
    trash = Trash(root)
    for other in _manifests(root):
        if other != kept and other.is_file():  # an earlier run's, or somebody's own
            trash.take(other.name)
    data = {
        "source": origin.source,
        "output": origin.output.model_dump(mode="json"),
        "run": origin.run.model_dump(mode="json"),
        "allow_pickle": sorted(origin.allow_pickle),
        "trust_remote_code": sorted(origin.trust_remote_code),
        "order": {name: list(values) for name, values in origin.order.items()},
    }
    files.write(state / "origin.json", data, runner)


def _manifests(root: Path) -> list[Path]:
    return [root / f"manifest{suffix}" for suffix in (".yaml", *TABLE_SUFFIXES)]


def _section(kind: type[Section], data: object) -> Section:
    try:
        return kind.model_validate(data)
    except ValueError:  # written by a version with other keys
        return kind()


def _orders(data: object) -> dict[str, tuple[str, ...]]:
    found = data if isinstance(data, dict) else {}
    return {str(name): tuple(map(str, values)) for name, values in found.items() if isinstance(values, list)}


def _words(value: object) -> frozenset[str]:
    return frozenset(map(str, value)) if isinstance(value, list) else frozenset()


# tasks.jsonl


def read_tasks(state: Path) -> list[Task]:
    """The tasks of the last plan that was run here, in order. Raises :class:`UserError` where they are damaged."""
    path = state / "tasks.jsonl"
    try:
        with regular.opened(path) as lines:
            return [_task(line) for line in iter(lambda: lines.readline(files.MAX_RECORD), b"")]
    except FileNotFoundError:
        return []
    except files.UNREADABLE as error:
        raise UserError(f"{path} is damaged ({in_words(error)}); run the manifest again to restore it") from None


def _task(line: bytes) -> Task:
    task = from_json(Task, line)
    if not task.id.isalnum():  # thumbnails and latents are named after it
        raise ValueError(f"id: {task.id!r} is none")
    image_path(task)
    return task


def write_tasks(state: Path, tasks: Iterable[Task], runner: str) -> None:
    """Keep the tasks of a plan; there may be a million of them."""
    lines = (json.dumps(to_json(task), ensure_ascii=False, sort_keys=True) for task in tasks)
    atomic.write_parts(state / "tasks.jsonl", (f"{line}\n".encode() for line in lines), runner)
