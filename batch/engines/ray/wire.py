"""What travels between a run and the workers' hosts, beside the messages of workers themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batch.base.errors import BatchError
from batch.catalogue.model import Model
from batch.records.events import Downloading, Received
from batch.records.receipts import Outcome
from batch.records.spec import ModelSource
from batch.records.tasks import Weights

if TYPE_CHECKING:
    from batch.engines.death import Death
    from batch.engines.messages import FromWorker, ToWorker
    from batch.render.backend import Backend
    from batch.store.pictures import EncodedFiles


@dataclass(frozen=True, slots=True)
class Start:
    """To the host of a worker: what it renders with."""

    backend: Backend
    devices: str | None
    threads: str | None
    """What the run's own ``OMP_NUM_THREADS`` is; None where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """To the host: pass this on to the worker."""

    message: ToWorker
    apart: bool = False
    """Of a beginning: the run folder is not to be seen there, so that files are to be sent."""
    cache: bool = True
    """Of a beginning: the cache of embeddings is the run's own, so that none are to be sent."""
    embeds: tuple[str, ...] = ()
    """Names of embeddings that come with it."""
    rungs: bytes | None = None
    """``rungs.json`` as the run has it, where that has changed."""


@dataclass(frozen=True, slots=True)
class Renew:
    """To the host: start a fresh worker."""


ToHost = Told | Renew


@dataclass(frozen=True, slots=True)
class Hosted:
    """From the host, first of all: it has its device."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """From the host: an image that lies in no folder the run can see."""

    outcome: Outcome
    files: EncodedFiles


@dataclass(frozen=True, slots=True)
class Embeds:
    """From the host: embeddings that were made there, by name."""

    made: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class RungsTaken:
    """From the host: ``rungs.json`` as its worker has it now."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Died:
    """From the host: the worker is gone. What follows is another's."""

    death: Death


if TYPE_CHECKING:
    FromHost = FromWorker | Hosted | Delivered | Embeds | RungsTaken | Died


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether a folder is the same one here and there: a file in it, what that holds, and the answer's ending."""

    path: str
    token: str
    answer: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """To a node: have these models, and what images name beside them."""

    models: tuple[Model, ...]
    beside: tuple[Weights, ...] = ()
    """LoRAs and autoencoders, as they are on the run's own machine."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """From a node: where all that is, or why something cannot be had."""

    sources: Mapping[str, ModelSource] = field(default_factory=dict)
    beside: Mapping[str, str] = field(default_factory=dict)
    """Where LoRAs and autoencoders are that lie elsewhere there, by where they are on the run's own machine."""
    error: BatchError | None = None


Progress = Downloading | Received
