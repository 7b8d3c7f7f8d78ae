"""A picture of another program on its way to axes: what is there is kept, and what is not taken is said."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from batch.manifest.axes import AXES
from batch.manifest.foreign.samplers import scheduler
from batch.manifest.recovered import Recovered
from batch.manifest.values import shortened

FOREIGN = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
"""What a text raises that holds something else than it should."""

MOST_NAMED = 20

NO_PROMPT = "."
"""In place of an empty prompt, which no manifest takes."""

_LORA = re.compile(r"<(?:lora|lyco|hypernet):[^<>]*>")

_OWN_VAE = ("", "automatic", "none", "default (model)")
"""What others call the model's own autoencoder."""

Number = int | float | str | None


@dataclass(slots=True, kw_only=True)
class Draft:
    """What a text says, as it says it; None and "" for what it does not say."""

    prompt: str
    negative: str = ""
    model: str = ""
    model_hash: str = ""
    vae: str = ""
    seed: Number = None
    size: str = ""
    steps: Number = None
    guidance: Number = None
    sampler: str = ""
    schedule: str = ""
    notes: list[str] = field(default_factory=list)
    """What could not be carried over."""

    def recovered(self) -> Recovered:
        """As axes of a manifest, each of which a manifest takes. Raises one of :data:`FOREIGN`."""
        notes: list[str] = []
        prompt, negative = self._texts(notes)
        axes: dict[str, object] = {"model": _without_folders(self.model)} if self.model else {}
        axes |= {"prompt": prompt, "negative_prompt": negative}
        chosen, said = scheduler(self.sampler, self.schedule)
        given: dict[str, object] = {
            "seed": _figure(whole, self.seed),
            "size": re.sub(r"\s", "", self.size) or None,
            "steps": _figure(whole, self.steps),
            "guidance": _figure(number, self.guidance),
            "scheduler": chosen or None,
        }
        for name, value in given.items():
            if value is not None and _taken(name, value, notes):
                axes[name] = value
        if absent := [name for name in ("seed", "size", "steps", "guidance") if given[name] is None]:
            notes.append(f"it says nothing of {', '.join(absent)}: the model's own, and seed 0, are used")
        return Recovered(
            axes=axes,
            output={"format": "png"},
            notes=(*notes, *said, *self.notes),
            vae="" if self.vae.lower() in _OWN_VAE else self.vae,
            model_hash=self.model_hash,
        )

    def _texts(self, notes: list[str]) -> tuple[str, str]:
        """Prompt and negative prompt without LoRAs, which are named otherwise here."""
        texts = (self.prompt, self.negative)
        if found := [tag for text in texts for tag in _LORA.findall(text)]:
            notes.append(f"left out of the prompt: {named(found)}; name their files under lora: file(scale=0.8)")
        prompt, negative = (_without_loras(text) for text in texts)
        if not prompt:
            notes.append(f"its prompt is empty, which a manifest cannot say; {NO_PROMPT!r} stands in its place")
        if re.search(r"\([^()]*:\d", prompt):
            notes.append(
                "weights such as (word:1.2) stand in the prompt as they are; prompt_syntax: a1111 makes weights "
                "of them where a model's text encoders are CLIP"
            )
        return prompt or NO_PROMPT, negative


def _without_loras(text: str) -> str:
    """What stands around them, and one comma where there was one on each side."""
    first, *rest = _LORA.split(text)
    kept = [first.rstrip(" \t")]
    for piece in rest:
        after = piece.strip(" \t").lstrip(", \t" if kept[-1][-1:] in ("", ",") else "")
        if after:
            kept += [after if after[0] in ",\n" or not kept[-1] else f" {after}"]
    return "".join(kept).strip(" \t\r\n,") if rest else text.strip()


def _without_folders(model: str) -> str:
    """ComfyUI's files of models lie in folders of its own; what is no file may be a name of the Hub."""
    return model.replace("\\", "/").rpartition("/")[2] if model.endswith((".safetensors", ".ckpt")) else model


def _taken(name: str, value: object, notes: list[str]) -> bool:
    """Whether a manifest takes it, as one value."""
    try:
        AXES[name].read(value)
    except ValueError as error:
        notes.append(f"left out: {name} {shortened(str(value))} ({error})")
        return False
    return True


def _figure(read: Callable[[Number], Number], value: Number) -> Number:
    """A number, or a text that is none, as it stands: ``Seed: None`` spoils nothing else."""
    try:
        return read(value)
    except ValueError:
        if isinstance(value, str):
            return value
        raise


def whole(value: Number) -> int | float | None:
    """A whole number, or one that is not, as it stands: whether it will do is for the axis to say."""
    found = number(value)
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d{1,400}\s*", value):
        return int(value)
    if found is None or isinstance(value, int):
        return value if isinstance(value, int) else None
    return int(found) if found.is_integer() else found


def number(value: Number) -> float | None:
    """A number, finite."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError("not a number")
    found = float(value)
    if not math.isfinite(found):
        raise ValueError("it holds a number that is none")
    return found


def mapping(data: object) -> Mapping[str, object]:
    """Data that is a mapping; else TypeError."""
    if not isinstance(data, dict):
        raise TypeError("not a mapping")
    return data


def text(data: Mapping[str, object], *keys: str) -> str:
    """The first of these that is there, a text; "" where there is none, or null."""
    value = _first(data, keys)
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{keys[0]} is not a text")
    return value or ""


def figure(data: Mapping[str, object], *keys: str) -> Number:
    """The first of these that is there, a number or a text that should be one."""
    value = _first(data, keys)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float | str)):
        raise TypeError(f"{keys[0]} is not a number")
    return value


def size(data: Mapping[str, object]) -> str:
    """Of ``width`` and ``height``."""
    width, height = (whole(figure(data, side)) for side in ("width", "height"))
    return "" if width is None or height is None else f"{width}x{height}"


def _first(data: Mapping[str, object], keys: Iterable[str]) -> object:
    return next((data[key] for key in keys if data.get(key) is not None), None)


def named(keys: Iterable[str]) -> str:
    """Keys of a text, or of a picture's texts, in a line: there may be any number of them, of any length."""
    names = sorted(set(keys))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(map(shortened, names[:MOST_NAMED])) + more


def left_out(keys: Iterable[str]) -> list[str]:
    """The note of keys that have no counterpart; none where there are none."""
    names = named(keys)
    return [f"left out: {names}"] if names else []
