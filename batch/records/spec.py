"""What a worker needs to know about the run and its models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from batch.records.kinds import TextsKept
from batch.records.shard import Shard
from batch.records.values import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """Where a session loads a model from, and how: everything ``from_pretrained`` needs."""

    name: str
    family: str
    location: str
    """A folder of this machine."""
    revision: str = ""
    """Of one from the Hub: the commit. Of a checkpoint in one file the hash of its content, as tasks have it."""
    variant: str = ""
    overrides: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    """Configuration values by component that replace those in the files."""
    allow_pickle: bool = False
    trust_remote_code: bool = False
    random: bool = False
    """Its weights are drawn; of the location only configurations and tokenizers are read."""
    architecture: str = ""
    """Of a random model: the packaged configuration that takes the place of the location's."""
    file: str = ""
    """Of a checkpoint in one file: where it lies. The location then holds its layout, and what the file lacks."""
    converted: str = ""
    """Where that was made of a pickle: the SHA-256 of the file itself; the revision has that of the pickle."""
    vae: str = ""
    """Another autoencoder, a file or a folder of this machine; "" for the model's own."""
    content: str = ""
    """The commit, or a hash of what a folder or a file holds: the next run may find another model in the place."""
    keeps_encoders: bool = False
    """There is room for its text encoders beside what renders: in host memory, where a card renders."""

    @property
    def allowed(self) -> tuple[str, ...]:
        """What the manifest had to accept for it: see :attr:`batch.records.receipts.Receipt.allowed`."""
        used = {
            "allow_pickle": self.allow_pickle or bool(self.converted),
            "trust_remote_code": self.trust_remote_code,
        }
        return tuple(name for name, is_used in used.items() if is_used)


@dataclass(frozen=True, slots=True, kw_only=True)
class Numerics:
    """What moves the low bits of a picture: the most images in one call, and a compiled model."""

    batch: int = 1
    compile: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The lock of a run folder as its holder knows it."""

    file: tuple[int, int] | None
    """Device and inode of the file that is locked, as ``machine`` numbers them; None where it has none."""
    machine: str
    """Which start of which machine that is."""
    token: str
    """As it stands in ``lock.json``."""
    note: str = ""
    """For people: of a holder before, whose death nobody has seen."""
    shard: Shard | None = None
    """Whose lock it is, where it is not that of the whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """What a worker needs to know about the run; can be pickled.

    A run makes one and changes it with :func:`dataclasses.replace`: ``device`` and ``models`` are known when the
    engine has chosen its device and the models are on this machine.
    """

    root: str
    """The run folder."""
    runner: str
    held: Held | None = None
    """The folder's lock, which its parent holds."""
    cache: str
    """The folder with the embeddings."""
    device: str = ""
    models: Mapping[str, ModelSource] = field(default_factory=dict)
    keep_latents: bool = False
    metadata: TextsKept = TextsKept.FULL
    """The texts in the image files."""
    fallback: bool = True
    """Out of memory: repeat the stage with a smaller setting. Else the image fails."""
    retries: int = 2
    """Attempts before an image is left."""
    redo: frozenset[str] = frozenset()
    """Ids of images that are done and rendered again all the same."""
    moved: frozenset[str] = frozenset()
    """Paths of finished pictures that somebody moved to where images to be rendered will lie: they step aside."""
    recycle_after: int = 0
    """Images after which the worker process is replaced; 0 is never."""
    task_timeout: float | None = None
    """Seconds without a sign of life after which the worker counts as hung; None learns them."""
    latents: Mapping[str, str] = field(default_factory=dict)
    """Kept latents by task id, as files: these tasks are decoded from them, nothing is denoised."""
    numerics: Mapping[str, Numerics] = field(default_factory=dict)
    """By :func:`batch.plan.alike.size_name`; what is not there is rendered alone, not compiled."""
    measure: bool = False
    """A measurement: what fails fails, with no other way tried, and encoding counts for every image."""
    vram_limit: int | None = None
    """Bytes that the process may take of the card, its context included; None: all there is."""
