"""Texts in portions: what is encoded before an image is what the images from there on need, and no more.

Where text encoders and what renders both have room (:mod:`batch.run.encoders`), a portion is for a few images at
first, so that the first picture comes soon, and for twice as many each time. Elsewhere the encoders are loaded
once, for all images that the limits let start. Several seats share a portion, which is for so many times more.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import hardware
from batch.base.cache import default_folder
from batch.base.errors import BatchError
from batch.catalogue.families import FAMILIES
from batch.engines.batches import alike, most
from batch.hub.models import source
from batch.plan.alike import session_key, texts_key
from batch.plan.texts import each_text, encode_tasks
from batch.records.events import Encoded, Loading
from batch.run import encoders
from batch.store.embeds import EmbedCache

if TYPE_CHECKING:
    from batch.plan.alike import SessionKey
    from batch.plan.plan import Plan
    from batch.records.events import Listener
    from batch.records.receipts import Outcome
    from batch.records.spec import RunSpec
    from batch.records.tasks import EncodeTask, Task

FIRST, LARGEST = 4, 256
"""Images of the first portion, and of the largest: beside so many, to bring the encoders to a card and away again
(a second or two) is nothing."""

Ahead = Callable[[Iterable["Task"]], Iterable["Task"]]
"""Of the images that come next, those that limits would let start."""


class Portions:
    """A run's :data:`~batch.engines.base.Texts`. Tells of each portion, and of each of its texts."""

    def __init__(self, spec: RunSpec, listener: Listener, ahead: Ahead, seats: int = 1) -> None:
        self._spec, self._listener, self._ahead = spec, listener, ahead
        self._cache = EmbedCache(Path(spec.cache))
        self._size, self._largest = FIRST * seats, LARGEST * seats
        self._sessions: set[SessionKey] = set()
        """Of all portions."""
        self._provided: set[str] = set()
        """Ids of images whose texts are encoded or asked for."""
        self._seen: set[Hashable] = set()
        self._known: set[str] = set()
        """Keys of texts that are in the cache or asked for."""
        self._portion: dict[str, EncodeTask] = {}
        """The last one, with what was not encoded yet of the one before when it was asked for."""
        self._encoded = 0

    def __call__(self, waiting: Iterable[Task]) -> Sequence[EncodeTask]:
        """The texts to be encoded before the first of these images; mostly none."""
        rest = iter(waiting)
        first = next(rest)
        more = list(islice(rest, most(first, self._spec) - 1))
        group = [first, *alike(first, more, self._spec)]
        if self._provided.issuperset(task.id for task in group):
            return ()
        found: dict[str, EncodeTask] = {}
        for task in self._window(group, chain([first, *more], rest)):
            self._provided.add(task.id)
            found |= {text.key: text for text in self._lacking(task)}
        if found or not self._sessions:
            session = session_key(first)
            loaded = session in self._sessions and self._spec.models[first.model].keeps_encoders
            self._sessions.add(session)
            if self._encoded == len(self._portion):
                self._portion, self._encoded = {}, 0
            self._portion |= found
            self._listener.on(Loading(len(found), loaded))
        return list(found.values())

    def encoded(self, outcome: Outcome) -> bool:
        """Whether an outcome is that of a text, which is told then."""
        if outcome.key in self._portion:
            self._encoded += 1
            self._listener.on(Encoded(self._encoded, len(self._portion)))
        return outcome.key in self._known

    def _window(self, group: Sequence[Task], waiting: Iterable[Task]) -> Iterator[Task]:
        """The images of the next portion."""
        session, allowed = session_key(group[0]), self._ahead(waiting)
        if not self._spec.models[group[0].model].keeps_encoders:
            return (task for task in allowed if session_key(task) == session)
        # What goes into one call is never torn apart.
        size, self._size = max(self._size, len(group)), min(2 * self._size, self._largest)
        return islice(takewhile(lambda task: session_key(task) == session, allowed), size)

    def _lacking(self, task: Task) -> Iterator[EncodeTask]:
        """A task's texts that are neither in the cache nor asked for."""
        same = texts_key(task)
        if same in self._seen:
            return
        self._seen.add(same)
        for text in encode_tasks(task, self._spec.models[task.model].family, self._spec.device):
            if text.key not in self._known:
                self._known.add(text.key)
                if not self._cache.has(text.key):
                    yield text


def count(tasks: Iterable[Task], families: Callable[[str], str], cache: Path, device: str) -> tuple[int, int]:
    """How many texts tasks need in all, and how many of them are to be encoded; ``families`` by a model's name."""
    kept = EmbedCache(cache)
    lacking = [not kept.has(text.key) for text in each_text(tasks, families, device)]
    return len(lacking), sum(lacking)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextsOutlook:
    """The texts of what is to be rendered."""

    texts: int
    to_encode: int
    at_once: Mapping[str, str]
    """Models whose texts are encoded all at once, each with the reason."""

    @property
    def said(self) -> Iterator[str]:
        """For people."""
        if not self.texts:
            return
        cached = f", {self.texts - self.to_encode} are cached" if self.to_encode < self.texts else ""
        yield f"texts: {self.to_encode} to encode{cached}"
        for model, why in self.at_once.items() if self.to_encode else ():
            yield f"texts of {model} all at once: {why}"


def outlook(
    plan: Plan, tasks: Sequence[Task], *, recycled: bool, devices: str | None = None, workers: int = 1
) -> TextsOutlook:
    """What a run on this machine would encode, and how; of a model that is not here yet that is not told."""
    device = hardware.kind(devices)
    texts, lacking = count(tasks, lambda name: plan.models[name].family, default_folder(), device)
    at_once = {}
    for name, own in encoders.by_model(tasks).items():
        with suppress(BatchError):
            if FAMILIES[plan.models[name].family].staged:
                at_once[name] = encoders.apart(
                    source(plan.models[name]), own, device, recycled=recycled, devices=devices,
                    workers=max(1, workers),
                )  # fmt: skip
    return TextsOutlook(
        texts=texts, to_encode=lacking, at_once={name: why for name, why in at_once.items() if why}
    )
