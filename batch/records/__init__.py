"""What flows between the rooms: frozen values, no behaviour beyond turning into JSON and back.

Units: seconds for durations, bytes for sizes. Conversion to MiB happens where a number is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

Scalar = str | int | float | bool | None
Value = Scalar | tuple["Value", ...]
Arguments = tuple[tuple[str, Value], ...]
"""Keyword arguments as sorted pairs: hashable, and the same JSON every time."""

Status = Literal["done", "failed"]

OUT_OF_MEMORY = "OutOfMemoryError"
"""``ErrorInfo.kind`` whatever form it came in."""

MISSING_EMBEDS = "MissingEmbeds"
"""``ErrorInfo.kind`` of an image whose texts were not encoded, or whose embeddings were deleted meanwhile."""

INVALID = "InvalidPicture"
"""``ErrorInfo.kind`` of latents or pixels that are no picture."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A name with arguments, as users write it: ``vae_tiling(1024, 896)``, ``dpm++(flow_shift=6)``."""

    name: str
    arguments: Arguments = ()

    def __str__(self) -> str:
        """The canonical spelling, arguments by name."""
        if not self.arguments:
            return self.name
        return f"{self.name}({', '.join(f'{key}={_written(value)}' for key, value in self.arguments)})"


def _written(value: Value) -> str:
    return f"[{', '.join(map(_written, value))}]" if isinstance(value, tuple) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """A LoRA adapter: where it lies, its content hash (what counts for identity) and its strength."""

    path: str
    sha256: str
    scale: float = 1.0
    in_text: bool = False
    """It changes the text encoders too, so embeddings depend on it."""
    source: str = ""
    """Of one from the Hub: ``owner/name@commit/file``."""

    @property
    def known(self) -> bool:
        """False for one of the Hub that is not on this machine: its content, and so an id, is not known."""
        return bool(self.path)

    @property
    def commit(self) -> str:
        """Of one from the Hub: the commit."""
        return lora_origin(self.source)[1]

    @property
    def place(self) -> str:
        """Its file, or ``owner/name/file`` of one from the Hub, wherever the cache lies."""
        repo, _, inner = lora_origin(self.source)
        return f"{repo}/{inner}" if repo else self.path

    def __str__(self) -> str:
        """Its file's name and strength, for people: ``style 0.8``."""
        file = self.place.replace("\\", "/").rpartition("/")[2]
        return f"{file.removesuffix('.safetensors')} {self.scale:g}"


def lora_origin(source: str) -> tuple[str, str, str]:
    """Repository, commit and file of :attr:`Lora.source`; all "" where it is from no Hub."""
    repo, _, rest = source.partition("@")
    commit, _, file = rest.partition("/")
    return repo, commit, file


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One image to make.

    Every field is declared identity, numerics or provenance in ``plan/identity.py``; a test fails
    otherwise. Sizes are in pixels; ``rendered_*`` is what the model renders, ``width``/``height`` what
    the file has (they differ only where the manifest says ``resize: true``).
    """

    id: str = ""
    picture_id: str = ""
    model: str
    revision: str = ""
    dtype: str
    prompt: str
    negative_prompt: str = ""
    seed: int
    width: int
    height: int
    rendered_width: int
    rendered_height: int
    steps: int
    guidance: float
    scheduler: Call | None = None
    loras: tuple[Lora, ...] = ()
    extra: Arguments = ()
    pixel_steps: tuple[Call, ...] = ()
    memory: str = "auto"
    memory_steps: tuple[Call, ...] = ()
    format: str = "png"
    format_options: Arguments = ()
    style: str = ""
    name: str = ""
    source: str = ""
    repeat: int | None = None
    """Of a measurement: which of its repeats, from 1."""
    warmup: bool | None = None
    """Of a measurement, True: rendered to warm a fresh process up, before that repeat."""

    @property
    def size(self) -> str:
        """``WIDTHxHEIGHT`` of the file."""
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeTask:
    """One text to turn into prompt embeddings, kept in the user's cache under ``key``."""

    key: str
    model: str
    dtype: str
    text: str
    negative: bool
    arguments: Arguments = ()
    loras: tuple[Lora, ...] = ()
    """Those that change the text encoders."""
    memory_steps: tuple[Call, ...] = ()
    """Of the image's memory setting those that decide how texts are encoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """Where a session loads a model from, and how: everything ``from_pretrained`` needs."""

    name: str
    family: str
    location: str
    """A folder of this machine."""
    revision: str = ""
    """Of one from the Hub: the commit."""
    variant: str = ""
    overrides: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    """Configuration values by component that replace those in the files."""
    allow_pickle: bool = False
    trust_remote_code: bool = False
    random: bool = False
    """Its weights are drawn; of the location only configurations and tokenizers are read."""
    architecture: str = ""
    """Of a random model: the packaged configuration that takes the place of the location's."""

    @property
    def allowed(self) -> tuple[str, ...]:
        """What the manifest had to accept for it: see :attr:`Receipt.allowed`."""
        return tuple(name for name in ("allow_pickle", "trust_remote_code") if getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Numerics:
    """What moves the low bits of a picture: the most images in one call, and a compiled model."""

    batch: int = 1
    compile: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """What a worker needs to know about the run; can be pickled."""

    root: str
    device: str
    cache: str
    models: Mapping[str, ModelSource]
    runner: str
    keep_latents: bool = False
    fallback: bool = True
    """Out of memory: repeat the stage with a smaller setting. Else the image fails."""
    retries: int = 2
    """Attempts before an image is left."""
    redo: frozenset[str] = frozenset()
    """Ids of images that are done and rendered again all the same."""
    recycle_after: int = 0
    """Images after which the worker process is replaced; 0 is never."""
    task_timeout: float | None = None
    """Seconds without a sign of life after which the worker counts as hung; None learns them."""
    faults: tuple[Any, ...] = ()
    """What a stand-in session (:mod:`batch.render.fake`) shall go through."""
    latents: Mapping[str, str] = field(default_factory=dict)
    """Kept latents by task id, as files: these tasks are decoded from them, nothing is denoised."""
    numerics: Mapping[str, Numerics] = field(default_factory=dict)
    """By :func:`batch.plan.batching.key`; what is not there is rendered alone, not compiled."""
    measure: bool = False
    """A measurement: what fails fails, with no other way tried, and encoding counts for every image."""
    vram_limit: int | None = None
    """Bytes that the process may take of the card, its context included; None: all there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePeak:
    """Time and peak memory of one stage. ``None`` means not known on this device."""

    seconds: float = 0.0
    allocated: int | None = None
    reserved: int | None = None
    device: int | None = None
    rss: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CardState:
    """How the card was when an image was done: what tells throttling from a leak when a run becomes slower."""

    temperature_c: int | None = None
    clock_mhz: int | None = None
    """Of the multiprocessors."""
    power_w: float | None = None
    throttled: str = ""
    """Why the driver holds the clock down, in its words; empty when it does not."""
    foreign: int = 0
    """Processes of others that computed on the card meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one image cost. ``load_s`` is set on the first image after a load only, and holds text encoders too.

    A pipeline that is called whole has ``whole`` and none of the three stages.
    """

    load_s: float | None = None
    encode: StagePeak | None = None
    denoise: StagePeak | None = None
    decode: StagePeak | None = None
    whole: StagePeak | None = None
    save_s: float | None = None
    between_s: float | None = None
    """Since the image before, what is in no stage and no loading: messages, a wait for a saver, a second try."""
    memory_source: str = ""
    energy_j: float | None = None
    warmup: bool = False
    card: CardState | None = None

    @property
    def _stages(self) -> list[StagePeak]:
        stages = (self.encode, self.denoise, self.decode, self.whole)
        return [stage for stage in stages if stage is not None]

    @property
    def total_s(self) -> float:
        """What the image took on the device and to disk, loading apart."""
        return sum(stage.seconds for stage in self._stages) + (self.save_s or 0.0)

    def peak(self, kind: Literal["allocated", "reserved", "device", "rss"]) -> int | None:
        """The largest value of one kind of memory over the stages, in bytes."""
        values = [value for stage in self._stages if (value := getattr(stage, kind)) is not None]
        return max(values, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Who rendered: written into every receipt."""

    device: str = ""
    device_memory: int | None = None
    driver: str = ""
    torch: str = ""
    diffusers: str = ""
    host: str = ""
    vram_limit: int | None = None
    """Bytes of the card that the process was held to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorInfo:
    """Why a task failed. ``requested`` is the allocation in bytes that did not fit, if memory ran out."""

    kind: str
    message: str
    stage: str = ""
    requested: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRef:
    """A committed image: path relative to the run folder, size in bytes, content hash."""

    path: str
    bytes: int
    sha256: str
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The commit record of one image: it is done when this is on disk, and not before."""

    task: Task
    file: FileRef
    measurement: Measurement
    machine: Machine
    attempts: int
    started_at: str
    degraded_from: str = ""
    """The memory setting asked for, where memory ran out and ``memory_used`` took its place."""
    memory_used: str = ""
    repaired: str = ""
    """What made a sound picture of a bad one: decoding in float32."""
    batch: int = 1
    """Images denoised in one call with this one, itself among them."""
    compile: bool = False
    """The model was compiled."""
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    """The ``class`` of the scheduler at work and its configuration in effect; empty where it was not recorded."""
    allowed: tuple[str, ...] = ()
    """What the manifest accepts for the model and the model really used: allow_pickle, trust_remote_code."""
    schema: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The last failure of a task; removed when a later attempt is committed."""

    task: Task
    error: ErrorInfo
    measurement: Measurement
    machine: Machine
    attempts: int
    started_at: str
    batch: int = 1
    """Images in the call that failed."""
    schema: int = 1

    @property
    def out_of_memory(self) -> bool:
        """Whether memory ran out."""
        return self.error.kind == OUT_OF_MEMORY


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one task or one text; no pixels and no tensors."""

    key: str
    status: Status
    receipt: Receipt | None = None
    failure: Failure | None = None
    error: ErrorInfo | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that a run's log keeps: memory ran out, the worker died, a picture was bad.

    ``kind`` is a word for programs, ``text`` a sentence for people; ``data`` is plain JSON.
    """

    kind: str
    text: str
    task: str = ""
    """Id of the task it happened to."""
    data: Mapping[str, Any] = field(default_factory=dict)


def to_json(record: Any) -> dict[str, Any]:
    """A record as plain JSON data (tuples become lists when it is written)."""
    return {name: _plain(getattr(record, name)) for name in record.__slots__}


def _plain(value: Any) -> Any:
    # `dataclasses.asdict` copies every leaf and takes ten times as long: a plan may have a million tasks.
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return to_json(value)


def _calls(items: Any) -> tuple[Call, ...]:
    return tuple(Call(name=item["name"], arguments=_pairs(item["arguments"])) for item in items)


def _pairs(items: Any) -> Arguments:
    return tuple((key, _frozen(value)) for key, value in items)


def _frozen(value: Any) -> Value:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else cast(Value, value)


@cache
def _types(kind: type[Any]) -> dict[str, tuple[type, ...]]:
    """What each field of a record may be at run time."""
    return {name: _allowed(hint) for name, hint in get_type_hints(kind).items()}


def _allowed(hint: Any) -> tuple[type, ...]:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return tuple(kind for part in get_args(hint) for kind in _allowed(part))
    if origin is Literal:
        return (str,)
    if hint is float:
        return (float, int)
    return (origin or hint,)


def _flat(kind: type[T], data: Mapping[str, Any]) -> T:
    """Build a record, ignoring keys a newer minor version may have added.

    Raises TypeError for a value of another type: a damaged file is found here, not where it is used.
    """
    types = _types(cast(Any, kind))
    known = {}
    for name, value in data.items():
        allowed = types.get(name)
        if allowed is not None:
            if not isinstance(value, allowed):
                raise TypeError(f"{name} is {type(value).__name__}")
            known[name] = value
    return kind(**known)


def task_from_json(data: Mapping[str, Any]) -> Task:
    """The task a receipt or a plan holds. Raises KeyError or TypeError when it is not one."""
    changed = dict(data)
    for name, read in _NESTED.items():
        if changed.get(name):
            changed[name] = read(changed[name])
        elif name in changed:
            changed[name] = None if name == "scheduler" else ()
    return _flat(Task, changed)


def source_from_json(data: Mapping[str, Any]) -> ModelSource:
    """The source that another process was told. Raises TypeError when it is not one."""
    return _flat(ModelSource, data)


_NESTED: dict[str, Callable[[Any], Any]] = {
    "scheduler": lambda item: _calls([item])[0],
    "loras": lambda items: tuple(_flat(Lora, item) for item in items),
    "extra": _pairs,
    "pixel_steps": _calls,
    "memory_steps": _calls,
    "format_options": _pairs,
}


def _measurement(data: Mapping[str, Any]) -> Measurement:
    nested: dict[str, Any] = {name: _flat(StagePeak, data[name]) for name in _STAGES if data.get(name)}
    if data.get("card"):
        nested["card"] = _flat(CardState, data["card"])
    return _flat(Measurement, {**data, **nested})


_STAGES = ("encode", "denoise", "decode", "whole")


def _machine(data: Mapping[str, Any]) -> Machine:
    return _known_machine(tuple(data.items()))


@lru_cache(maxsize=256)
def _known_machine(items: tuple[tuple[str, Any], ...]) -> Machine:
    """Thousands of receipts come from the same few machines."""
    return _flat(Machine, dict(items))


def receipt_from_json(data: Mapping[str, Any]) -> Receipt:
    """Read a receipt. Raises KeyError, TypeError or AttributeError when the data is not one."""
    return _flat(
        Receipt,
        {
            **data,
            "task": task_from_json(data["task"]),
            "file": _flat(FileRef, data["file"]),
            "measurement": _measurement(data["measurement"]),
            "machine": _machine(data["machine"]),
            "allowed": tuple(data.get("allowed", ())),
        },
    )


def failure_from_json(data: Mapping[str, Any]) -> Failure:
    """Read a failure record. Raises KeyError, TypeError or AttributeError when the data is not one."""
    return _flat(
        Failure,
        {
            **data,
            "task": task_from_json(data["task"]),
            "error": _flat(ErrorInfo, data["error"]),
            "measurement": _measurement(data["measurement"]),
            "machine": _machine(data["machine"]),
        },
    )
