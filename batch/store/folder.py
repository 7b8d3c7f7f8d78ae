"""A run folder: where things lie, what is done, and how an image becomes done.

The door to it: what each part does is in :mod:`batch.store.receipts`, :mod:`batch.store.pictures` and
:mod:`batch.store.job`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from batch.base import atomic, disk
from batch.base.errors import ForeignFolder, UserError
from batch.records.kinds import TextsKept
from batch.records.receipts import Failure, FileRef, Receipt
from batch.records.spec import Held
from batch.records.tasks import Task
from batch.store import inside, job, lock, shards
from batch.store.images.encoders import encode
from batch.store.pictures import Pictures, image_path
from batch.store.receipts import Receipts
from batch.store.trash import free

if TYPE_CHECKING:
    from batch.plan.pins import Pins
    from batch.records.shard import Shard
    from batch.store.job import Origin, Owner
    from batch.store.pictures import EncodedFiles
    from batch.store.receipts import Inspection, Scan
    from batch.store.unnamed import Unnamed


class RunFolder:
    """``outputs/<name>``: reading it needs no lock, writing it does.

    Where the lock is ``held``, what is written of an image raises :class:`~batch.base.errors.FolderLost` once it
    is not any more.
    """

    def __init__(
        self, root: Path, runner: str = "any", held: Held | None = None, shard: Shard | None = None
    ) -> None:
        """``shard`` is what a run divides the folder's images by; None: all are its."""
        self.root = root
        # Process numbers are alike in containers of one name.
        self.runner = runner if shard is None else f"{runner}-shard-{shard.name}"
        self.held = held
        self.shard = shard
        self._looked_into = False
        self.state = root / ".run"
        self.own = shards.own_state(self.state, shard)
        self._receipts = Receipts(root, self.state, self.runner)
        self._pictures = Pictures(root, self.runner, self.still_held)
        self.images = self._pictures.images
        self.thumbs = self._pictures.thumbs
        self.latents = self._pictures.latents
        self.trash = self._pictures.trash

    def exists(self) -> bool:
        """Whether this is a run folder. Raises :class:`FolderError` for what :mod:`batch.store.inside` refuses."""
        if not self._looked_into:
            inside.check(self.root)
            self._looked_into = True
        return os.path.lexists(self.state / "format.json")

    def require(self) -> None:
        """Raise :class:`UserError` when this is no run folder, :class:`FolderError` when it cannot be used."""
        if not self.exists():
            if not os.path.lexists(self.root):
                raise UserError(f"{self.root} is not there: nothing has been run there yet")
            raise UserError(f"{self.root} is not a run folder: it has no .run/format.json")
        self._owner()

    def _owner(self) -> Owner:
        owner = job.read_owner(self.state)
        if owner.schema != job.LAYOUT:
            raise ForeignFolder(
                f"{self.root} was written by another version of run_batch "
                f"(layout {owner.schema}, this one writes {job.LAYOUT})"
            )
        return owner

    def check(self, name: str, kind: str) -> None:
        """Raise :class:`ForeignFolder` unless the folder is new, or belongs to this job."""
        if self.root.exists() and not self.root.is_dir():
            raise UserError(f"{self.root} is a file; a run folder is needed")
        if not self.exists():
            if self.root.is_dir() and any(item.name != ".run" for item in self.root.iterdir()):
                raise ForeignFolder(f"{self.root} holds other files and is no run folder; choose another --out")
            return
        owner = self._owner()
        if (owner.name, owner.kind) != (name, kind):
            raise ForeignFolder(
                f"{self.root} belongs to the {owner.kind} job '{owner.name}', not to the {kind} "
                f"job '{name}'; choose another folder with --out, or give the manifest that name"
            )

    def begin(self, name: str, kind: str, origin: Origin, tasks: Iterable[Task], pins: Pins) -> None:
        """Record what is about to be run. Call it under the lock of the whole; see :mod:`batch.store.joining`."""
        self.check(name, kind)
        with disk.must_be_writable(self.root):
            if not self.exists():
                job.write_owner(self.state, name, kind, self.runner)
            shards.undivide(self.state)
            job.write_pins(self.state, pins, self.runner)
            job.write_origin(self.root, self.state, origin, self.runner)
            job.write_tasks(self.state, tasks, self.runner)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the folder's lock, or that of its shard: see :func:`batch.store.lock.hold`."""
        with ExitStack() as stack:
            if self.shard is None:
                self.held = stack.enter_context(lock.hold(self.state))
                stack.callback(self._let_go)
                shards.refuse_shards(self.state)
            else:
                with shards.gate(self.state):
                    held = stack.enter_context(lock.hold(self.own))
                    self.held = replace(held, shard=self.shard)
                    stack.callback(self._let_go)
                    shards.refuse_the_whole(self.state)
            yield

    def _let_go(self) -> None:
        self.held = None

    def running(self) -> list[shards.Running]:
        """Who is at work here: see :func:`batch.store.shards.running`."""
        return shards.running(self.state)

    def still_held(self) -> None:
        """Raise :class:`~batch.base.errors.FolderLost` where the lock is not this runner's any more."""
        if self.held is not None:
            lock.check(shards.own_state(self.state, self.held.shard), self.held)

    def sweep(self, *, own: bool = False) -> int:
        """Remove temp files of dead runners, or its own once its worker is dead. Call it under the lock."""
        return atomic.sweep(self.root, self.runner, own=own)

    # The job

    def name(self) -> str:
        """The run's name."""
        return job.read_owner(self.state).name or self.root.name

    def kind(self) -> str:
        """A :class:`~batch.records.kinds.RunKind`."""
        return job.read_owner(self.state).kind or ""

    def id(self) -> str:
        """What tells this folder from all others, wherever it is moved; of an old one its name."""
        return job.read_owner(self.state).id or self.name()

    def origin(self) -> Origin:
        """Where the manifest came from: see :func:`batch.store.job.read_origin`."""
        return job.read_origin(self.root, self.state)

    def pins(self) -> Pins:
        """Seeds drawn and revisions resolved by an earlier run: see :func:`batch.store.job.read_pins`."""
        return job.read_pins(self.state)

    def tasks(self) -> list[Task]:
        """The tasks of the last plan that was run here: see :func:`batch.store.job.read_tasks`."""
        return job.read_tasks(self.state)

    # What is done

    def receipt_path(self, task_id: str) -> Path:
        """Where the receipt of a task lies."""
        return self._receipts.path(task_id)

    def scan(self) -> Scan:
        """Every valid receipt and failure. What is damaged or foreign is not there."""
        return self._receipts.scan()

    def inspect(self) -> Inspection:
        """Every receipt, without a look at the files they name."""
        return self._receipts.inspect()

    def receipt(self, task_id: str) -> Receipt | None:
        """The receipt of one task, if it is done."""
        return self._receipts.find(task_id)

    def is_done(self, task_id: str) -> bool:
        """Whether that one task is done."""
        return self.receipt(task_id) is not None

    def failures(self) -> dict[str, Failure]:
        """The last failure of every task that has one, also where a receipt came later."""
        return self._receipts.failures()

    def commit(self, receipt: Receipt) -> None:
        """Write the receipt: from here on the image is done.

        What is torn of its picture under an earlier name goes to the trash, as what lies in its place does.
        """
        self.still_held()
        if left := self._receipts.commit(receipt):
            with suppress(OSError):  # the image is done, whatever becomes of it
                self.trash.take(left)

    def fail(self, failure: Failure) -> None:
        """Record a failed attempt, where there is room for it."""
        self.still_held()
        self._receipts.fail(failure)

    def unnamed(self, files: Iterable[Path], scan: Scan, tasks: Collection[Task], *, saving: bool) -> Unnamed:
        """What the image files are that no receipt names. List them before the scan, where one is ``saving``."""
        return self._receipts.unnamed(files, scan, tasks, saving=saving)

    def forget_failures(self, keep: Callable[[Failure], bool] = lambda _failure: False) -> None:
        """Start the count of attempts anew, save for those that ``keep`` says."""
        self._receipts.forget_failures(keep)

    # Pictures

    def image_files(self) -> Iterator[Path]:
        """Every image file below ``images/``; hidden files and what is no image are left out."""
        return self._pictures.image_files()

    def latents_path(self, task_id: str) -> Path:
        """Where the latents of a task lie, if they are kept."""
        return self._pictures.latents_path(task_id)

    def thumb_path(self, task_id: str) -> Path:
        """Where the thumbnail of a task lies."""
        return self._pictures.thumb_path(task_id)

    def save_image(
        self,
        task: Task,
        pixels: NDArray[np.uint8],
        notes: Mapping[str, str] | None = None,
        metadata: TextsKept = TextsKept.FULL,
    ) -> FileRef:
        """Write image and thumbnail. The image is not done yet: :meth:`commit` makes it so.

        ``notes`` go into the image's metadata beside its task, as far as ``metadata`` lets them. What lies in its
        place and is not as this program wrote it is moved to the trash.
        """
        ours = self._receipts.vouches_for(task.id, image_path(task))
        return self._pictures.save(task, encode(pixels, task, notes, metadata), pixels, replace=ours)

    def adopt(self, receipt: Receipt, files: EncodedFiles) -> Receipt:
        """Commit an image that was saved elsewhere; its receipt as it stands here.

        Raises OSError where it cannot be written, and ValueError for files that are not those of the receipt.
        """
        task = receipt.task
        if files.latents is not None:
            self.save_latents(task, files.latents)
        ours = self._receipts.vouches_for(task.id, image_path(task))
        mtime = self._pictures.adopt(task, receipt.file, files.image, files.thumb, replace=ours)
        receipt = replace(receipt, file=replace(receipt.file, mtime=mtime))
        self.commit(receipt)
        return receipt

    def save_latents(self, task: Task, data: bytes) -> None:
        """Keep the latents of an image, a safetensors file's bytes; before :meth:`commit`."""
        self.still_held()
        self._pictures.save_latents(task, data)

    def remake_thumb(self, receipt: Receipt) -> bool:
        """Make the thumbnail of an image anew, where it is gone or torn; whether there is one now."""
        return self._pictures.remake_thumb(receipt)

    def thumb_is_older(self, receipt: Receipt) -> bool:
        """Whether an image was written, or put in its place, after its thumbnail."""
        return self._pictures.thumb_is_older(receipt)

    def make_way(self, task: Task, moved: Collection[str]) -> tuple[str, str] | None:
        """Give another picture that lies in the place of a task's a name beside it; both names, if there was one.

        ``moved`` are paths of pictures that somebody moved there; one of another run tells by its text.
        """
        path = image_path(task)
        place = self.root / path
        if not inside.is_file(place) or self._receipts.vouches_for(task.id, path):
            return None
        if path not in moved and not self._pictures.holds_another(task):
            return None
        self.still_held()
        inside.require_here(self.root, place)
        aside = free(place)
        atomic.move(place, aside)
        return place.name, aside.name

    def discard(self, task: Task, file: FileRef | None) -> None:
        """Remove what was written of an image that could not be committed: ``file``, where it came to that."""
        self.still_held()
        if not self.is_done(task.id):
            self._pictures.remove(task, file)


def runner_id() -> str:
    """A name for this process in temp files: host and process id."""
    host = "".join(character for character in platform.node() if character.isalnum())[:24] or "host"
    return f"{host}-{os.getpid()}"
