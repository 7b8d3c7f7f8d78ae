"""What is tried next when memory runs out: rungs below the memory setting asked for, stage by stage. Pure.

A stage that fails is repeated one rung further down, from the cheapest to the dearest; rungs that change more
than the low bits of a picture come last. What has been taken once holds for all further images of that model and
size on that card.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from batch.manifest.values import Size
from batch.memory import profiles
from batch.memory.steps import OFFLOADS, TEXTS, excludes, tiling_of
from batch.records.kinds import Stage
from batch.records.values import Call

_TILES = (profiles.tiled(profiles.AUTO_TILE), profiles.tiled(profiles.SMALL_TILE))
_OFFLOADS = (*profiles.AUTO_OFFLOADS, "sequential_cpu_offload")
_CUTS = ("split_guidance", "chunked_ff")

LADDERS: dict[str, tuple[str, ...]] = {
    Stage.ENCODE: ("text_encoder_offload", "text_encoder_cpu"),
    # Halves and bands cost next to nothing at the sizes that run out, and move no weights.
    Stage.DENOISE: (*_CUTS, *_OFFLOADS),
    # Moving the transformer away costs a second and no pixel, so it comes before smaller tiles.
    Stage.DECODE: ("model_cpu_offload", *_TILES, "vae_cpu"),
    # A pipeline that is called whole does not say which of its stages ran out.
    Stage.RENDER: (*_TILES, *_OFFLOADS),
}
"""The rungs of every stage, from the mildest to the last."""

BATCH, ALONE = "batch", "alone"
"""Images that ran out of memory together are rendered one by one: a rung, but no memory setting."""

KNOWN: Mapping[str, tuple[str, ...]] = {**LADDERS, BATCH: (ALONE,)}
"""All that may have been taken."""

_FOR_A_CARD = {*_OFFLOADS, "vae_cpu", "text_encoder_offload", "text_encoder_cpu"}
"""Rungs that move things to host memory: without a card they are there already."""

Taken = Mapping[str, tuple[str, ...]]
"""The rungs taken, by stage, in order."""


def lowered(steps: tuple[Call, ...], taken: Taken) -> tuple[Call, ...]:
    """A memory setting with the rungs taken: what a stage runs under.

    A rung that the setting already lies below changes nothing. Those of ``encode`` are not in it, since texts
    are encoded apart, nor is what became of a batch.
    """
    for stage, rungs in taken.items():
        for rung in rungs if stage not in (Stage.ENCODE, BATCH) else ():
            steps = _with(steps, rung)
    return steps


def next_text_rung(steps: tuple[Call, ...], device: str) -> str | None:
    """The next rung for a text whose encoder ran out of memory under ``steps``; None when there is none."""
    return next_rung(Stage.ENCODE, steps, Size(1, 1), device)


def next_rung(
    stage: str,
    steps: tuple[Call, ...],
    size: Size,
    device: str,
    impossible: Collection[str] = (),
    *,
    in_host: bool = False,
) -> str | None:
    """The next rung for a stage that ran out of memory under ``steps``; None when there is none.

    ``size`` is the one rendered: tiles that cover it whole save nothing. ``impossible`` names rungs that this
    pipeline cannot take. ``in_host``: it was the host's memory, of which beside a card only decoding under
    ``vae_cpu`` can do with less.
    """
    if in_host and device != "cpu":
        if stage != Stage.DECODE or all(step.name != "vae_cpu" for step in steps):
            return None
        device = "cpu"
    for rung in LADDERS[stage]:
        helps = rung not in impossible and (device != "cpu" or rung not in _FOR_A_CARD)
        if helps and _with(steps, rung) != steps and profiles.acts(profiles.step(rung), size):
            return rung
    return None


def _with(steps: tuple[Call, ...], rung: str) -> tuple[Call, ...]:
    """The steps with one rung, unless they save as much already."""
    step = profiles.step(rung)
    names = [item.name for item in steps]
    if step.name == "vae_tiling":
        if any(item.name == "vae_tiling" and tiling_of(item).pixels <= tiling_of(step).pixels for item in steps):
            return steps
        return (step, *(item for item in steps if item.name != "vae_tiling"))
    if step.name in names or (step.name == "text_encoder_offload" and not TEXTS.isdisjoint(names)):
        return steps
    if step.name in OFFLOADS and not set(OFFLOADS[OFFLOADS.index(step.name) :]).isdisjoint(names):
        return steps  # it offloads more already
    return (*(item for item in steps if item.name not in excludes(step.name)), step)
