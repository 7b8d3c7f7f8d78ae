"""What is to be done: images, and the texts they need."""

from __future__ import annotations

from dataclasses import dataclass

from batch.records.values import Arguments, Call, Count

BY_CONTENT = "sha256:"
"""How the revision of a model begins that is one file: its content says what it is, whatever it is called."""


def short_revision(revision: str) -> str:
    """A revision for people: of a commit twelve digits, of a file the ten that other programs show, too."""
    digits = revision.removeprefix(BY_CONTENT)
    return digits[: 12 if digits == revision else 10]


def content_of(revision: str) -> str:
    """The SHA-256 in the revision of a model that is one file; "" in that of any other."""
    return revision.removeprefix(BY_CONTENT)[:64] if revision.startswith(BY_CONTENT) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Weights beside a model's own: where they lie, and the hash of their content, which counts for identity."""

    path: str
    """Of what is not on this machine: its name in the manifest."""
    sha256: str | None
    """None for what is on the Hub and not on this machine."""
    source: str = ""
    """Of what is from the Hub: ``owner/name@commit/file``, or its name where the commit is not known."""

    @property
    def known(self) -> bool:
        """Whether the content is, and so the id of an image with it."""
        return self.sha256 is not None

    @property
    def commit(self) -> str:
        """Of what is from the Hub: the commit."""
        return lora_origin(self.source)[1]

    @property
    def place(self) -> str:
        """The file, or ``owner/name/file`` of one from the Hub, wherever the cache lies."""
        repo, _, inner = lora_origin(self.source)
        return f"{repo}/{inner}".rstrip("/") if repo else self.path

    @property
    def short(self) -> str:
        """The file's name, for people."""
        return self.place.replace("\\", "/").rpartition("/")[2].removesuffix(".safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora(Weights):
    """A LoRA adapter and its strength."""

    scale: float = 1.0
    in_text: bool = False
    """It changes the text encoders too, so embeddings depend on it."""

    def __str__(self) -> str:
        """Its file's name and strength, for people: ``style 0.8``."""
        return f"{self.short} {self.scale:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vae(Weights):
    """An autoencoder in place of the model's own: a file, or a folder with its configuration."""

    name: str = ""
    """As the manifest has it; "" in what older versions wrote."""

    @property
    def written(self) -> str:
        """For a manifest: of one from the Hub by its name there, else as it is named."""
        return hub_name(self.source) or (self.place if self.source else self.name or self.path)

    def __str__(self) -> str:
        """Its name, for people."""
        return self.short


def lora_origin(source: str) -> tuple[str, str, str]:
    """Repository, commit and file of :attr:`Weights.source`; all "" where it is from no Hub."""
    repo, _, rest = source.partition("@")
    commit, _, file = rest.partition("/")
    return repo, commit, file


def hub_name(source: str) -> str:
    """What a manifest writes for weights of the Hub; "" of others, and where the commit is not known.

    ``owner/name/file@commit``, or ``owner/name@commit`` of an autoencoder in a folder.
    """
    repo, commit, file = lora_origin(source)
    if not (repo and commit):
        return ""
    return f"{repo}@{commit}" if file in ("", "vae") else f"{repo}/{file}@{commit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One image to make.

    Every field is declared identity, numerics or provenance in ``plan/identity.py``; a test fails
    otherwise. Sizes are in pixels; ``rendered_*`` is what the model renders, ``width``/``height`` what
    the file has (they differ only where the manifest says ``resize: true``); 0 where only a text is asked about.
    """

    id: str = ""
    picture_id: str = ""
    model: str
    revision: str = ""
    dtype: str
    prompt: str
    negative_prompt: str = ""
    seed: int
    width: Count
    height: Count
    rendered_width: Count
    rendered_height: Count
    steps: Count
    guidance: float
    scheduler: Call | None = None
    loras: tuple[Lora, ...] = ()
    vae: Vae | None = None
    """None: the model's own."""
    extra: Arguments = ()
    long_prompts: str = ""
    """``chunk``: texts are encoded in pieces; empty: cut where the encoder ends."""
    prompt_syntax: str = ""
    """``a1111``: brackets in texts are weights; empty: they are brackets."""
    pixel_steps: tuple[Call, ...] = ()
    memory: str = "auto"
    memory_steps: tuple[Call, ...] = ()
    format: str = "png"
    format_options: Arguments = ()
    prompt_template: str = ""
    """Of a prompt with alternatives: the text that it was drawn from, before styles."""
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
    long_prompts: str = ""
    prompt_syntax: str = ""
    loras: tuple[Lora, ...] = ()
    """Those that change the text encoders."""
    memory_steps: tuple[Call, ...] = ()
    """Of the image's memory setting those that decide how texts are encoded."""
