"""A run folder: where things lie, what is done, and how an image becomes done.

An image is done when its receipt is there and the file it names has the size it names. Nothing else
decides: no mtimes, no order in a directory, no log.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from batch.base import atomic, disk
from batch.base.collector import without_gc
from batch.base.errors import ForeignFolder, UserError
from batch.manifest import Manifest, formats
from batch.manifest.schema import Output, RunOptions
from batch.manifest.tables import TABLE_SUFFIXES
from batch.plan import Pins
from batch.records import (
    Failure,
    FileRef,
    Receipt,
    Task,
    failure_from_json,
    receipt_from_json,
    task_from_json,
    to_json,
)
from batch.store import images, measured

LAYOUT = 1
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Scan:
    """What a run folder holds: valid receipts and the last failures, by task id."""

    receipts: Mapping[str, Receipt] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Of a measurement: why tasks are not tried."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """Every receipt that can be read, whatever became of its file, and the receipts that cannot, with why."""

    receipts: Mapping[str, Receipt] = field(default_factory=dict)
    damaged: Mapping[Path, str] = field(default_factory=dict)


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


class RunFolder:
    """``outputs/<name>``: reading it needs no lock, writing it does."""

    def __init__(self, root: Path, runner: str = "any") -> None:
        self.root = root
        self.runner = runner
        self.state = root / ".run"
        self.images = root / "images"
        self.thumbs = root / "thumbs"
        self.latents = root / "latents"
        self.trash = root / "trash"

    def exists(self) -> bool:
        """Whether this is a run folder."""
        return (self.state / "format.json").is_file()

    # Reading

    def require(self) -> None:
        """Raise :class:`UserError` when this is no run folder."""
        if not self.exists():
            raise UserError(f"{self.root} is not a run folder: it has no .run/format.json")

    def scan(self) -> Scan:
        """Every valid receipt and failure. What is damaged or foreign is not there."""
        with without_gc():
            receipts = {
                receipt.task.id: receipt
                for path in self._records("receipts")
                if (receipt := self._receipt(path)) is not None
            }
        failures = {key: failure for key, failure in self.failures().items() if key not in receipts}
        skipped = {
            key: why
            for key, why in measured.skipped(self.state).items()
            if key not in receipts and key not in failures
        }
        return Scan(receipts, failures, skipped)

    def failures(self) -> dict[str, Failure]:
        """The last failure of every task that has one, also where a receipt came later."""
        failures = {}
        for path in self._records("failures"):
            with suppress(*_UNREADABLE):
                failure = failure_from_json(_read_json(path))
                if failure.task.id == path.stem:
                    failures[path.stem] = failure
        return failures

    def _records(self, kind: str) -> Iterator[Path]:
        return (self.state / kind).glob("[0-9a-f]*.json" if kind == "failures" else "[0-9a-f]?/[0-9a-f]*.json")

    def _receipt(self, path: Path) -> Receipt | None:
        try:
            receipt = receipt_from_json(_read_json(path))
            size = os.stat(f"{self.root}/{receipt.file.path}").st_size  # noqa: PTH116 - a third of pathlib's time
        except _UNREADABLE:
            return None
        return receipt if receipt.task.id == path.stem and size == receipt.file.bytes else None

    def receipt(self, task_id: str) -> Receipt | None:
        """The receipt of one task, if it is done."""
        return self._receipt(self.receipt_path(task_id))

    def is_done(self, task_id: str) -> bool:
        """Whether that one task is done."""
        return self.receipt(task_id) is not None

    def inspect(self) -> Inspection:
        """Every receipt, without a look at the files they name."""
        receipts, damaged = {}, {}
        for path in sorted((self.state / "receipts").rglob("[!.]*.json")):
            try:
                receipt = receipt_from_json(_read_json(path))
                if receipt.task.id != path.stem:
                    damaged[path] = f"it is the receipt of another image ({receipt.task.id})"
                elif not _inside(receipt.file.path):
                    damaged[path] = f"it names a file outside of the run folder ({receipt.file.path})"
                else:
                    receipts[path.stem] = receipt
            except _UNREADABLE as error:
                damaged[path] = f"it cannot be read ({type(error).__name__})"
        return Inspection(receipts, damaged)

    def image_files(self) -> Iterator[Path]:
        """Every image file below ``images/``; hidden files and what is no image are left out."""
        suffixes = images.suffixes()
        for path in sorted(self.images.rglob("[!.]*")):
            if path.suffix.lower() in suffixes and path.is_file():
                yield path

    def receipt_path(self, task_id: str) -> Path:
        """Where the receipt of a task lies."""
        return self.state / "receipts" / task_id[:2] / f"{task_id}.json"

    def latents_path(self, task_id: str) -> Path:
        """Where the latents of a task lie, if they are kept."""
        return self.latents / f"{task_id}.safetensors"

    def thumb_path(self, task_id: str) -> Path:
        """Where the thumbnail of a task lies."""
        return self.thumbs / f"{task_id}.webp"

    def tasks(self) -> list[Task]:
        """The tasks of the last plan that was run here, in order."""
        path = self.state / "tasks.jsonl"
        try:
            with path.open(encoding="utf-8") as lines:
                return [task_from_json(json.loads(line)) for line in lines]
        except FileNotFoundError:
            return []
        except _UNREADABLE as error:
            raise UserError(f"{path} is damaged ({error}); run the manifest again to restore it") from None

    def name(self) -> str:
        """The run's name."""
        return str(self._format().get("name", self.root.name))

    def kind(self) -> str:
        """``render`` or ``measure``."""
        return str(self._format().get("kind", ""))

    def _manifests(self) -> list[Path]:
        return [self.root / f"manifest{suffix}" for suffix in (".yaml", *TABLE_SUFFIXES)]

    def origin(self) -> Origin:
        """Where the manifest came from; the defaults for what was not kept in a readable form."""
        kept = next((path for path in self._manifests() if path.is_file()), None)
        text = ""
        with suppress(*_UNREADABLE):
            text = kept.read_text(encoding="utf-8") if kept else ""
        suffix = kept.suffix if kept else ".yaml"
        try:
            data = _read_json(self.state / "origin.json")
        except _UNREADABLE:
            return Origin(text=text, suffix=suffix)
        output, run = Output(), RunOptions()
        with suppress(*_UNREADABLE):  # written by a version with other keys
            output = Output.model_validate(data["output"])
        with suppress(*_UNREADABLE):
            run = RunOptions.model_validate(data["run"])
        return Origin(
            text=text,
            suffix=suffix,
            source=str(data.get("source", "")),
            output=output,
            run=run,
            allow_pickle=_words(data.get("allow_pickle")),
            trust_remote_code=_words(data.get("trust_remote_code")),
        )

    def pins(self) -> Pins:
        """Seeds drawn and revisions resolved by an earlier run."""
        path = self.state / "plan.json"
        if not path.is_file():
            return Pins()
        try:
            data = _read_json(path)
            return Pins(
                seeds={key: tuple(int(seed) for seed in value) for key, value in data["seeds"].items()},
                revisions=dict(data["revisions"]),
                variants={key: tuple(map(str, value)) for key, value in data.get("variants", {}).items()},
                numerics=_numbers(data.get("numerics")),
            )
        except _UNREADABLE as error:
            raise ForeignFolder(
                f"{path} is damaged ({error}): it holds the seeds drawn and the model revisions of this run. "
                "Restore it, or render into another folder with --out"
            ) from None

    def _format(self) -> dict[str, Any]:
        try:
            return _read_json(self.state / "format.json")
        except _UNREADABLE:
            raise ForeignFolder(f"{self.state / 'format.json'} is damaged; render into another folder") from None

    # Writing

    def check(self, name: str, kind: str) -> None:
        """Raise :class:`ForeignFolder` unless the folder is new, or belongs to this job."""
        if self.root.exists() and not self.root.is_dir():
            raise UserError(f"{self.root} is a file; a run folder is needed")
        if not self.exists():
            if self.root.is_dir() and any(item.name != ".run" for item in self.root.iterdir()):
                raise ForeignFolder(f"{self.root} holds other files and is no run folder; choose another --out")
            return
        found = self._format()
        if found.get("schema") != LAYOUT:
            raise ForeignFolder(
                f"{self.root} was written by another version of run_batch "
                f"(layout {found.get('schema')}, this one writes {LAYOUT})"
            )
        if (found.get("name"), found.get("kind")) != (name, kind):
            raise ForeignFolder(
                f"{self.root} belongs to the {found.get('kind')} job '{found.get('name')}', not to the {kind} "
                f"job '{name}'; choose another folder with --out, or give the manifest that name"
            )

    def begin(self, name: str, kind: str, origin: Origin, tasks: Iterable[Task], pins: Pins) -> None:
        """Record what is about to be run. Call it under the lock."""
        self.check(name, kind)
        if not self.exists():
            self._write_json(self.state / "format.json", {"schema": LAYOUT, "name": name, "kind": kind})
        pinned = {
            "seeds": pins.seeds,
            "revisions": pins.revisions,
            "variants": pins.variants,
            "numerics": pins.numerics,
        }
        self._write_json(self.state / "plan.json", pinned)
        self._keep(origin)
        lines = (json.dumps(to_json(task), ensure_ascii=False, sort_keys=True) for task in tasks)
        atomic.write_parts(self.state / "tasks.jsonl", (f"{line}\n".encode() for line in lines), self.runner)

    def _keep(self, origin: Origin) -> None:
        kept = self.root / f"manifest{origin.suffix}"
        atomic.write(kept, origin.text.encode(), self.runner)
        for other in self._manifests():
            if other != kept:
                other.unlink(missing_ok=True)
        data = {
            "source": origin.source,
            "output": origin.output.model_dump(mode="json"),
            "run": origin.run.model_dump(mode="json"),
            "allow_pickle": sorted(origin.allow_pickle),
            "trust_remote_code": sorted(origin.trust_remote_code),
        }
        self._write_json(self.state / "origin.json", data)

    def save_latents(self, task: Task, data: bytes) -> None:
        """Keep the latents of an image, a safetensors file's bytes; before :meth:`commit`."""
        atomic.write(self.latents_path(task.id), data, self.runner)

    def save_image(self, task: Task, pixels: NDArray[np.uint8], notes: Mapping[str, str] | None = None) -> FileRef:
        """Write image and thumbnail. The image is not done yet: :meth:`commit` makes it so.

        ``notes`` go into the image's metadata beside its task.
        """
        data = images.encode(pixels, task, notes)
        path = image_path(task)
        self._save_thumb(task.id, pixels)
        atomic.write(self.root / path, data, self.runner)
        height, width = pixels.shape[:2]
        digest = hashlib.sha256(data).hexdigest()
        return FileRef(path=path, bytes=len(data), sha256=digest, width=width, height=height)

    def _save_thumb(self, task_id: str, pixels: NDArray[np.uint8]) -> None:
        """Write a thumbnail. Where that fails the image is as good as with it; a full disk alone is raised."""
        # Not synced: two syncs an image less, for what :meth:`remake_thumb` makes again.
        data = images.thumbnail(pixels)
        try:
            atomic.write(self.thumb_path(task_id), data, self.runner, durable=False)
        except OSError as error:
            if disk.is_full(error):
                raise

    def remake_thumb(self, receipt: Receipt) -> bool:
        """Make the thumbnail of an image anew, where it is gone or torn; whether there is one now."""
        try:
            self._save_thumb(receipt.task.id, images.read_pixels(self.root / receipt.file.path))
        except (*_UNREADABLE, UserError, MemoryError):
            return False
        return self.thumb_path(receipt.task.id).is_file()

    def discard(self, task: Task) -> None:
        """Remove what was written of an image that could not be committed; one that is done stays."""
        if not self.is_done(task.id):
            for path in (self.root / image_path(task), self.thumb_path(task.id), self.latents_path(task.id)):
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def commit(self, receipt: Receipt) -> None:
        """Write the receipt: from here on the image is done."""
        self._write_json(self.receipt_path(receipt.task.id), to_json(receipt))
        with suppress(FileNotFoundError):
            (self.state / "failures" / f"{receipt.task.id}.json").unlink()

    def fail(self, failure: Failure) -> None:
        """Record a failed attempt; on a full disk it goes unrecorded, and its outcome alone carries it."""
        with suppress(OSError):
            self._write_json(self.state / "failures" / f"{failure.task.id}.json", to_json(failure))

    def forget_failures(self, keep: Callable[[Failure], bool] = lambda _failure: False) -> None:
        """Start the count of attempts anew, save for those that ``keep`` says."""
        kept = {key for key, failure in self.failures().items() if keep(failure)}
        for path in self._records("failures"):
            if path.stem not in kept:
                path.unlink(missing_ok=True)

    def sweep(self, *, own: bool = False) -> int:
        """Remove temp files of dead runners; its own too, once its worker is dead. Call it under the lock."""
        return atomic.sweep(self.root, "" if own else self.runner)

    def _write_json(self, path: Path, data: Mapping[str, Any]) -> None:
        text = json.dumps(data, ensure_ascii=False, sort_keys=True, indent=1)
        atomic.write(path, text.encode("utf-8", "surrogatepass"), self.runner)


def _numbers(value: Any) -> dict[str, dict[str, int]]:
    """What is pinned of batches and compiling; where that is damaged it is decided anew and costs no picture."""
    try:
        return {key: {name: int(number) for name, number in item.items()} for key, item in value.items()}
    except (AttributeError, TypeError, ValueError):
        return {}


def _words(value: Any) -> frozenset[str]:
    return frozenset(map(str, value)) if isinstance(value, list) else frozenset()


def image_path(task: Task) -> str:
    """Where the image of a task lies in its run folder."""
    return f"images/{task.name}.{formats.FORMATS[task.format].suffix}"


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
    )


def _inside(path: str) -> bool:
    """Whether a receipt's path stays below the run folder, on any system."""
    parts = PurePosixPath(path)
    return bool(parts.parts) and not (
        parts.is_absolute() or ".." in parts.parts or PureWindowsPath(path).anchor or "\\" in path
    )


def _read_json(path: Path) -> dict[str, Any]:
    # Unbuffered and with pydantic's parser: twice as fast, which counts for 100,000 receipts.
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        data = from_json(file.read())
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    return data


def runner_id() -> str:
    """A name for this process in temp files: host and process id."""
    import platform

    host = "".join(character for character in platform.node() if character.isalnum())[:24] or "host"
    return f"{host}-{os.getpid()}"
