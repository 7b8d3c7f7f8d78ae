"""The table of axes: how a value of each is read, what the docs say of it, and what an editor checks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from batch.manifest import limits, loras, values
from batch.manifest.foreign import samplers


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the grid: how a value is read, the help that the docs print, and what an editor checks."""

    read: Callable[[object], object]
    """One value as it counts, or a list of them for a range; ``ValueError`` says what would be right."""
    help: str
    schema: Mapping[str, object]
    """JSON Schema of one value."""
    text: bool = False
    """A cell of a table is one text, whatever characters it holds; elsewhere ``|`` parts several values."""


PLAIN: Mapping[str, object] = {"type": ["string", "number", "boolean"]}
"""A text, also without quotes: what YAML would make of ``1984`` or ``no`` is read as it is written."""
MAYBE_EMPTY: Mapping[str, object] = {"type": ["string", "number", "boolean", "null"]}
_WORD: Mapping[str, object] = {"type": "string", "minLength": 1}
_RANGE: Mapping[str, object] = {"type": "string", "pattern": r"^\s*\d+\s*\.\.\s*\d+\s*$"}
_SIZE: Mapping[str, object] = {"type": "string", "pattern": r"^\s*\d{1,6}\s*[xX×]\s*\d{1,6}\s*$"}


def random(most: int, **more: object) -> Mapping[str, object]:
    """JSON Schema of ``{random: n}``."""
    return {
        "type": "object",
        "properties": {"random": {"type": "integer", "minimum": 1, "maximum": most}, **more},
        "required": ["random"],
        "additionalProperties": False,
    }


_SEED: Mapping[str, object] = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": values.MAX_SEED},
        _RANGE,
        random(limits.RANGE, per={"const": "prompt"}),
    ]
}

_LORA: Mapping[str, object] = {
    "type": "object",
    "properties": {
        **{key: _WORD for key in ("file", "repo", "weight", "revision")},
        **{key: {"type": "number"} for key in ("strength", "scale")},
    },
    "additionalProperties": False,
}


def _vae(value: object) -> str:
    """An autoencoder's name; "" for the model's own. Raises ``ValueError``, for A1111's words for that too."""
    name = values.word(value)
    if name.casefold() in ("automatic", "none"):
        raise ValueError(
            f"{values.shown(name)} is another program's word; write default, which is the model's own"
        )
    return "" if name == "default" else name


AXES: dict[str, Axis] = {
    "model": Axis(
        values.word,
        "a name that `models` lists, a checkpoint (models/x.safetensors), a Hub id (id@revision), a folder, "
        "random:NAME",
        _WORD,
    ),
    "prompt": Axis(values.prompt, "a text, a list, or a file of prompts", _WORD, text=True),
    "negative_prompt": Axis(values.text, "what the picture should not show", MAYBE_EMPTY, text=True),
    "style": Axis(values.word, "a name from styles:, several joined with +, or none", {**PLAIN, "minLength": 1}),
    "seed": Axis(values.seeds, "a whole number, a range 0..3, {random: 4}, or {random: 1, per: prompt}", _SEED),
    "size": Axis(values.size, "WIDTHxHEIGHT in pixels", _SIZE),
    "steps": Axis(
        lambda value: values.numbers(value, 1, 1000),
        "denoising steps",
        {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 1000}, _RANGE]},
    ),
    "guidance": Axis(
        values.number,
        "guidance scale; 1 or less turns guidance off",
        {"type": "number", "minimum": 0, "maximum": 1_000_000},
    ),
    "scheduler": Axis(samplers.read, "a scheduler, with overrides: dpm++(flow_shift=6)", _WORD),
    "memory": Axis(values.memory, "how a session saves VRAM: a profile, or steps joined with +", _WORD),
    "dtype": Axis(
        values.dtype,
        "float32, bfloat16 or float16; components apart as in bfloat16(vae=float32)",
        {"type": "string", "pattern": r"^\s*(float32|bfloat16|float16)\s*(\(.*\))?\s*$"},
    ),
    "vae": Axis(
        _vae,
        "another autoencoder: a file, a folder, a Hub id (id@revision), or default, the model's own",
        _WORD,
    ),
    "lora": Axis(
        loras.lora,
        "a LoRA's file or Hub id, with (scale=0.8), several joined with ' + '; {file, strength}; "
        "{repo, weight, revision, strength}; or none",
        {"anyOf": [{"type": ["string", "null"]}, _LORA]},
    ),
}
"""Every axis; ``extra.<argument>`` comes beside these for any other argument of the pipeline's call."""

EXTRA = re.compile(r"extra\.([A-Za-z_]\w*)")
_EXTRA_AXIS = Axis(values.frozen, "an argument of the pipeline's call", {})

_ELSEWHERE = {
    "cfg": "guidance", "cfg_scale": "guidance", "cfgscale": "guidance", "guidance_scale": "guidance",
    "sampler": "scheduler", "sampler_name": "scheduler", "sampling_method": "scheduler", "positive": "prompt",
    "positive_prompt": "prompt", "num_inference_steps": "steps", "width": "size", "height": "size",
    "resolution": "size", "checkpoint": "model", "negative": "negative_prompt", "loras": "lora",
    "clip_skip": "extra.clip_skip",
}  # fmt: skip
"""What axes are called in other programs."""


_NEAR = 0.7
"""Of two words: a slip is nearer, ``notes`` and ``steps`` are not."""


def axis_meant(word: str) -> str:
    """The axis that a word names, also by its name elsewhere or nearly; "" when none is like it."""
    if axis(word) is not None:
        return word
    plain = folded(word)
    known = _ELSEWHERE.get(plain)
    near = get_close_matches(plain, AXES, n=1, cutoff=_NEAR)
    return known or (near[0] if near else "")


def folded(word: str) -> str:
    """A name as an axis would be written: ``Negative Prompt`` is ``negative_prompt``."""
    return "_".join(re.split(r"[\s_-]+", word.strip().casefold()))


def unknown_axis(word: str) -> str:
    """What to say of a word that is no axis."""
    meant = axis_meant(word)
    if folded(word) in ("width", "height"):
        return "width and height are one axis here: size, as 512x512"
    return f"did you mean '{meant}'?" if meant else f"possible are {', '.join([*AXES, 'extra.<argument>'])}"


def axis(name: str) -> Axis | None:
    """The axis of that name, or None."""
    return _EXTRA_AXIS if EXTRA.fullmatch(name) else AXES.get(name)
