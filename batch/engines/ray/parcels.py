"""What a worker made where the run cannot see it, packed to be sent: images, embeddings, rungs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from batch.engines.ray.wire import Delivered, Embeds, RungsTaken
from batch.records.kinds import Status
from batch.records.receipts import Outcome
from batch.store.folder import RunFolder
from batch.store.pictures import EncodedFiles
from batch.store.rungs import FILE

if TYPE_CHECKING:
    from batch.engines.messages import FromWorker
    from batch.engines.ray.wire import FromHost
    from batch.records.receipts import Receipt
    from batch.store.embeds import EmbedCache

KEPT_AS = ("{}", "{}-cpu")
"""Names of a text's embedding in the cache: as its task says, and where its encoder had to go to the CPU."""


class Parcels:
    """Of a run whose folder or cache is elsewhere; ``home`` is a run folder of this node alone."""

    def __init__(self, home: Path) -> None:
        self._folder = RunFolder(home)
        self._apart = False
        self._cache: EmbedCache | None = None
        self._known: set[str] = set()
        """Embeddings that the run has."""
        self.rungs = b""
        """``rungs.json`` as the run has it."""

    def begin(self, *, apart: bool, cache: EmbedCache | None) -> None:
        """A run: whether its folder is another than this node's, and the cache where that is this node's own."""
        self._apart, self._cache = apart, cache

    def known(self, name: str) -> None:
        """The run has that embedding."""
        self._known.add(name)

    def of(self, message: FromWorker) -> Iterator[FromHost]:
        """A message with all that it speaks of."""
        if self._apart:
            yield from self._rungs()
        if not isinstance(message, Outcome) or message.status != Status.DONE:
            yield message
        elif message.receipt is None:
            yield from self._embeds(message.key)
            yield message
        elif self._apart:
            yield self._packed(message, message.receipt)
        else:
            yield message

    def left(self) -> Iterator[FromHost]:
        """Images that a worker has committed and did not live to say so."""
        if self._apart:
            for key, receipt in self._folder.scan().receipts.items():
                yield self._packed(Outcome(key=key, status=Status.DONE, receipt=receipt), receipt)

    def _packed(self, outcome: Outcome, receipt: Receipt) -> Delivered:
        """An image with its files, which are taken away here."""
        task = receipt.task.id
        image = self._folder.root / receipt.file.path
        thumb, latents = self._folder.thumb_path(task), self._folder.latents_path(task)
        files = EncodedFiles(image=image.read_bytes(), thumb=_bytes(thumb), latents=_bytes(latents))
        for path in (self._folder.receipt_path(task), image, thumb, latents):
            path.unlink(missing_ok=True)
        return Delivered(outcome, files)

    def _embeds(self, key: str) -> Iterator[FromHost]:
        if self._cache is None:
            return
        names = [name for name in (form.format(key) for form in KEPT_AS) if name not in self._known]
        made = {name: data for name in names if (data := self._cache.read(name)) is not None}
        self._known.update(made)
        if made:
            yield Embeds(made)

    def _rungs(self) -> Iterator[FromHost]:
        with suppress(OSError):
            data = (self._folder.state / FILE).read_bytes()
            if data != self.rungs:
                self.rungs = data
                yield RungsTaken(data)


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
