"""What a manifest names against what a model was made for: it renders, and the picture is worse or costs more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from batch.catalogue.model import Model
from batch.manifest.values import Size


def warnings(model: Model, given: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Axis and message for every value that contradicts the model, with the right value."""
    steps, guidance, size = given.get("steps"), given.get("guidance"), given.get("size")
    if isinstance(steps, int) and (message := _steps(model, steps)):
        yield "steps", message
    if isinstance(guidance, int | float) and (message := _guidance(model, guidance)):
        yield "guidance", message
    if isinstance(size, Size) and (message := _size(model, size)):
        yield "size", message


def _steps(model: Model, steps: int) -> str:
    if model.steps_range is None or model.steps_range[0] <= steps <= model.steps_range[1]:
        return ""
    least, most = model.steps_range
    why = "leave noise in the picture" if steps < least else "take their time and better nothing"
    if steps > most and most <= 16:
        why = "are slower and worse: it was distilled to few"
    return f"{model.name} is made for {least} to {most} steps, {model.steps} is right; {steps} {why}"


def _guidance(model: Model, guidance: float) -> str:
    if model.guidance_range is None or model.guidance_range[0] <= guidance <= model.guidance_range[1]:
        return ""
    least, most = model.guidance_range
    if most <= 1 and guidance > most:
        return (
            f"{model.name} was distilled to do without guidance, {model.guidance:g} is right; {guidance:g} takes "
            "longer and spoils the picture"
        )
    return f"{model.name} is made for guidance {least:g} to {most:g}, {model.guidance:g} is right"


def _size(model: Model, size: Size) -> str:
    """Of models that render any size; those with a table say it in the sizes themselves."""
    pixels, native = size.width * size.height, model.native.width * model.native.height
    if model.largest is None:
        if pixels <= _FAR * native or model.sizes():
            return ""
        return (
            f"{model.name} is made for {model.native}; {size} has {pixels / native:.1f} times the pixels, and "
            "pictures as large as that repeat themselves"
        )
    most = model.largest.width * model.largest.height
    if pixels > 1.1 * most:
        return (
            f"{model.name} was trained at {model.native}; {size} has {pixels / native:.1f} times the pixels, "
            f"and larger pictures than about {model.largest} repeat themselves"
        )
    if pixels < 0.2 * native:
        return f"{model.name} was trained at {model.native}; pictures as small as {size} are poor"
    return ""


_FAR = 4
"""Times the pixels it is made for: more than that no model renders well, whatever is known of it."""
