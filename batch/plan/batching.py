"""Batches and compiled models: what moves the low bits of a picture and nothing else. Pure.

Decided once for every model, dtype and size rendered, when a run is begun, and pinned: a run that goes on
elsewhere goes on as it began. What the manifest says itself is not pinned; it can be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from batch.catalogue import pag
from batch.catalogue.families import FAMILIES, PIPELINE_FAMILY
from batch.catalogue.model import Model
from batch.memory.footprint import DENOISE_PER_PIXEL, GIB
from batch.memory.steps import LAYERWISE
from batch.plan import alike
from batch.plan.estimate import cost
from batch.records.spec import Numerics
from batch.records.tasks import Task

Wish = Literal["auto", "off", "on"]

BATCH_PIXELS = 4 * 1024 * 1024
"""Pixels of one call under ``batch: auto``: from there on a large card has all it can do."""

MOST = 8
"""Images of one call under ``batch: auto``; a small size gains little beyond."""

COMPILE_PAYS_S = 600.0
"""Compiling the blocks takes about a minute for each size, and saves perhaps a tenth of the denoising."""

FAST_CARD_S = 5e-9
"""Seconds per pixel and call of the model on the fastest card there is: what an unknown card is held to be, so
that compiling starts later rather than too early. An H200 takes that at best: 3.31 s for 20 steps of SANA 1.6B at
5376x3072 with guidance (``benchmarks/roofline.py``, not compiled)."""

SPREAD = 1.54
"""Times the activations that are predicted, which a call of several images is allowed for. More than for
one image (:func:`batch.memory.footprint.fitting`): a batch that does not fit costs the time of all its images."""

WEIGHTS = 5 * GIB
"""Bytes that a model keeps on the card, where its catalogue entry does not say."""

BESIDES = GIB
"""The context on the card, and fragmentation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the decision depends on beside the plan."""

    card: bool = False
    memory: int | None = None
    no_compiler: str = ""
    batch: int | Literal["auto"] = 1
    compile: Wish = "auto"
    rate: Callable[[Task], float | None] = lambda _task: None
    """Seconds per unit of :func:`batch.plan.estimate.cost`, where earlier images tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericsChoice:
    """What was decided for one model in one dtype at one size, and why."""

    model: str
    size: str
    numerics: Numerics
    why_batch: str
    why_compile: str
    pins: Mapping[str, int]
    """Of ``batch`` and ``compile`` what was left to ``auto``."""


@dataclass(slots=True)
class _Group:
    sample: Task
    cost: int = 0
    passes: int = 2
    """The most images that a call of the model has for one of its tasks
    (:func:`batch.catalogue.pag.passes`)."""


def choose(
    tasks: Iterable[Task], models: Mapping[str, Model], around: Surroundings, pins: Mapping[str, Mapping[str, int]]
) -> dict[str, NumericsChoice]:
    """The decision for every model, dtype and size of a plan; what is pinned stays."""
    groups: dict[alike.SizeKey, _Group] = {}
    for task in tasks:  # a million of them: no text is put together for each
        key = alike.size_key(task)
        group = groups.get(key)
        if group is None:
            group = groups[key] = _Group(task)
        group.cost += cost(task)
        if task.extra:
            group.passes = max(group.passes, pag.passes(task))
    choices: dict[str, NumericsChoice] = {}
    for group in groups.values():
        task, name = group.sample, alike.size_name(group.sample)
        model, pinned = models[task.model], pins.get(name, {})
        batch, why_batch = _batch(group, model, around, pinned)
        compiled, why_compile = _compile(group, model, around, pinned)
        choices[name] = NumericsChoice(
            model=task.model,
            size=f"{task.rendered_width}x{task.rendered_height}",
            numerics=Numerics(batch=batch, compile=compiled),
            why_batch=why_batch,
            why_compile=why_compile,
            pins=({"batch": batch} if around.batch == "auto" else {})
            | ({"compile": compiled} if around.compile == "auto" else {}),
        )
    return choices


def _batch(group: _Group, model: Model, around: Surroundings, pinned: Mapping[str, int]) -> tuple[int, str]:
    if not FAMILIES[model.family].staged:
        return 1, "its pipeline is called whole"
    if group.sample.long_prompts:
        return 1, "texts in pieces are of several lengths"
    if FAMILIES[model.family].alone:
        return 1, FAMILIES[model.family].alone
    if around.batch != "auto":
        return around.batch, "as the manifest says"
    if "batch" in pinned:
        return pinned["batch"], "as this run began"
    if not around.card:
        return 1, "without a card it gains nothing"
    pixels = group.sample.rendered_width * group.sample.rendered_height
    wished = max(1, min(MOST, BATCH_PIXELS // pixels))
    if wished == 1:
        return 1, "one image of this size is enough for a card"
    if around.memory is None:
        return wished, "small images together are faster"
    weights = WEIGHTS if model.weights_gib is None else int(model.weights_gib * GIB)
    each = SPREAD * DENOISE_PER_PIXEL * (pixels * group.passes // 2)
    fitting = max(1, int((around.memory - weights - BESIDES) / each))
    if fitting < wished:
        return fitting, "more would not fit the card"
    return wished, "small images together are faster"


def _compile(group: _Group, model: Model, around: Surroundings, pinned: Mapping[str, int]) -> tuple[bool, str]:
    if any(step.name in LAYERWISE for step in group.sample.memory_steps):
        return False, "its memory setting moves or casts its layers one by one"
    if around.compile != "auto":
        return around.compile == "on", "as the manifest says"
    if "compile" in pinned:
        return bool(pinned["compile"]), "as this run began"
    if not around.card:
        return False, "without a card it does not pay"
    if around.no_compiler:
        return False, around.no_compiler
    # By its class: a distilled Qwen-Image is called whole, and its texts are of many lengths all the same.
    if FAMILIES[PIPELINE_FAMILY.get(model.pipeline, model.family)].texts_vary or group.sample.long_prompts:
        return False, "its texts are of many lengths, each of which may be compiled anew"
    seconds = (around.rate(group.sample) or FAST_CARD_S) * group.cost
    if seconds < COMPILE_PAYS_S:
        return False, f"about {seconds / 60:.0f} min of this size are too little to pay for it"
    return True, f"about {seconds / 60:.0f} min of this size pay for it"
