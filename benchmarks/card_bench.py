"""What a visit to a card measures: models, sizes, shapes and rates, for a card and for a machine without one.

No torch here: the process that holds the visit together stays light, and never has a context on the card.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from batch.catalogue.model import Model
from batch.hub import models
from batch.hub.models import find_model
from batch.manifest.values import Size
from batch.memory import profiles
from batch.records.spec import ModelSource
from batch.records.tasks import Task
from benchmarks import cards

ROOT = Path(__file__).parent.parent

os.environ.setdefault("RUN_BATCH_SHIPPED", str(ROOT / "tests" / "models"))

COPY, MATRIX, FLOAT32 = "copy bandwidth", "matrix product", "matrix product, float32"
"""Rows of the device's rates, in GB/s and TFLOP/s."""

PROMPT = "a lighthouse on a cliff at dusk, long exposure, film grain"

STEP_SETTINGS: tuple[tuple[str, str], ...] = (
    ("encode_first", "encode_first"),
    ("vae_slicing", "vae_slicing"),
    ("split_guidance", "split_guidance"),
    ("chunked_ff", "chunked_ff"),
    ("vae_tiling", "vae_tiling(512, 448)"),
    ("model_cpu_offload", "model_cpu_offload"),
    ("group_offload", "group_offload(block, 1)"),
    ("group_offload", "group_offload(leaf)"),
    ("fp8_weights", "fp8_weights"),
    ("quantize", "quantize(bnb8)"),
    ("quantize", "quantize(bnb4)"),
    ("quantize", "quantize(torchao_int8)"),
    ("quantize", "quantize(torchao_float8)"),
    ("text_encoder_offload", "text_encoder_offload"),
    ("sequential_cpu_offload", "sequential_cpu_offload"),
    ("text_encoder_cpu", "text_encoder_cpu"),
    ("vae_cpu", "vae_cpu"),
)
"""Every memory step and how it is asked for; those last that may take longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A picture to render: a model, a size, a number of steps and a memory setting."""

    model: str
    size: Size
    steps: int
    memory: str
    dtype: str
    guidance: float = 4.5

    def found(self) -> Model:
        """The model as the catalogue knows it."""
        return find_model(self.model, Path(), {}, online=False)

    def source(self) -> ModelSource:
        """Where a session loads it from."""
        return models.source(self.found())

    def task(self, setting: str = "", *, seed: int = 0, steps: int = 0) -> Task:
        """One image of it, under another memory setting or number of steps where they are given."""
        setting = setting or self.memory
        width, height = self.size.width, self.size.height
        return Task(
            id=f"{seed:016x}", model=self.model, dtype=self.dtype, prompt=PROMPT, seed=seed, width=width,
            height=height, rendered_width=width, rendered_height=height, steps=steps or self.steps,
            guidance=self.guidance, memory=setting, memory_steps=profiles.resolve(setting, self.size),
        )  # fmt: skip

    def key(self, stage: str, setting: str = "", kind: str = "allocated") -> str:
        """The name of a prediction of memory in a stage: ``allocated``, or ``needed`` with what is beside it."""
        return f"{stage} {self.size} {setting or self.memory} {kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """What the kernels of one block, and of one tile of the decoder, work on."""

    rows: int
    columns: int
    """Of latents."""
    width: int
    hidden: int
    """Channels of the feed-forward, both halves."""
    heads: int
    """Of the linear attention."""
    cross_heads: int
    keys: int
    """Tokens of a text."""
    tile: int
    """Side of a tile in pixels."""
    channels: int
    """Of the decoder at full resolution."""
    images: int = 2
    """Both halves of guidance."""

    @property
    def tokens(self) -> int:
        """Of one image."""
        return self.rows * self.columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a device can do, in bytes and floating-point operations a second."""

    bandwidth: float
    matrix: float
    """In the model's dtype."""
    float32: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The whole visit. What a CPU does otherwise than a card is said here, and nowhere else."""

    device: str
    large: Scene
    """What the goals are about."""
    small: Scene
    """What every memory step renders."""
    program: Scene
    """What the program itself renders, started as a user starts it."""
    tile: tuple[int, int]
    """Tile and stride in pixels."""
    shapes: Shapes
    load_s: float
    """How long a device is kept at full load to see what it sustains."""
    loop_images: int
    loop_options: tuple[str, ...]
    """What the comparison with the loop is told where it knows the option, and blocks can be compiled."""
    compile_batch: bool
    """Compile for a batch too: on a CPU that takes as long again, and says nothing about a card."""
    vram_limit: int | None
    """Bytes; None where there is no card to hold a process to a part of."""
    patience: float
    """By which the sections' deadlines are multiplied."""

    @property
    def on_card(self) -> bool:
        """Whether there is a card: without one the driver and CUDA's allocator have nothing to say."""
        return self.device.startswith("cuda")

    @property
    def one_tile(self) -> Scene:
        """A picture that is a single tile of the large one."""
        return replace(self.large, size=Size(self.tile[0], self.tile[0]), memory="full")

    def settings(self) -> Iterator[tuple[Scene, str]]:
        """Every scene and memory setting whose memory is predicted."""
        yield from ((self.large, setting) for setting in (self.large.memory, "full"))
        yield from ((self.small, setting) for setting in ("full", *(written for _, written in STEP_SETTINGS)))


_LARGE = Scene(
    model="random:sana-1.6b-4k", size=Size(5376, 3072), steps=4, memory="vae_tiling(1024, 896)", dtype="bfloat16",
)  # fmt: skip

CARD = Bench(
    device="cuda:0",
    large=_LARGE,
    small=replace(_LARGE, model="random:sana-1.6b-1k", size=Size(1024, 1024), memory="full"),
    program=replace(_LARGE, steps=20),
    tile=(1024, 896),
    shapes=Shapes(
        rows=96,
        columns=168,
        width=2240,
        hidden=11_200,
        heads=70,
        cross_heads=20,
        keys=300,
        tile=1024,
        channels=128,
    ),
    load_s=3.0,
    loop_images=4,
    loop_options=("--compile", "both"),
    compile_batch=True,
    vram_limit=5 * 2**30,
    patience=1.0,
)

_TINY = Scene(
    model="random:demo-1k", size=Size(1024, 1024), steps=2, memory="vae_tiling(512, 448)", dtype="float32",
)  # fmt: skip

CPU = Bench(
    device="cpu",
    large=_TINY,
    small=replace(_TINY, model="random:demo", size=Size(640, 640), memory="full"),
    program=replace(_TINY, model="random:demo", size=Size(512, 512), steps=1),
    tile=(512, 448),
    shapes=Shapes(
        rows=12, columns=21, width=64, hidden=320, heads=2, cross_heads=2, keys=30, tile=64, channels=16
    ),
    load_s=0.2,
    loop_images=2,
    loop_options=(),
    compile_batch=False,
    vram_limit=None,
    patience=5.0,
)


def sheet(device: str) -> Rates | None:
    """What the data sheet of a card says, by the driver's name for it; None of one that is not known."""
    card = cards.of_device(device)
    if card is None:
        return None
    return Rates(bandwidth=card.bandwidth, matrix=card.matrix, float32=card.float32)
