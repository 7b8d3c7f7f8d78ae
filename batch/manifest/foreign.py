"""What other programs write into their pictures, as axes of a manifest; the same pixels are not promised.

Each function takes such a text and raises ``ValueError`` or one of :data:`FOREIGN` for one that is damaged, or
another program's. It goes over the text once, however long that is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from batch.manifest.recovered import Recovered
from batch.manifest.values import shortened
from batch.records.reading import any_json

FOREIGN = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
"""What a text raises that holds something else than it should."""

_KEY_BACKWARDS = re.compile(r"[\w \-/]*")
_VALUE = re.compile(r'\s*+("[^\\"]*+(?:\\.[^\\"]*+)*+"(?=,|$)|[^,]*+),?')
"""In quotes, or up to the next comma. What was read is never given back: each letter is looked at once."""

SAMPLERS = {
    "default": "default",
    "euler": "euler",
    "euler a": "euler-a",
    "euler ancestral": "euler-a",
    "heun": "heun",
    "lms": "lms",
    "ddim": "ddim",
    "plms": "pndm",
    "dpm2": "dpm2",
    "dpm2 a": "dpm2-a",
    "dpm++ 2m": "dpm++",
    "dpm++ 2m sde": "dpm++(algorithm_type=sde-dpmsolver++)",
    "dpm++ sde": "dpm++-sde",
    "unipc": "unipc",
    "lcm": "lcm",
    "deis": "deis",
    # InvokeAI
    "euler_a": "euler-a",
    "dpmpp_2m": "dpm++",
    "dpmpp_2m_k": "dpm++(use_karras_sigmas=true)",
    "dpmpp_sde": "dpm++-sde",
    "euler_k": "euler(use_karras_sigmas=true)",
    "kdpm_2": "dpm2",
    "kdpm_2_a": "dpm2-a",
    "pndm": "pndm",
}
"""Names of samplers elsewhere, in lower case, to names of ``scheduler`` here."""

_CARRIED = {
    "Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model", "Model hash", "Version",
}  # fmt: skip

_SWARM = {
    "model", "prompt", "negativeprompt", "seed", "width", "height", "steps", "cfgscale", "sampler", "scheduler",
    "aspectratio", "swarm_version",
}  # fmt: skip


def _settings(line: str) -> Iterator[tuple[str, str]]:
    """Of A1111's last line, ``Key: value`` with commas between; what is none of these is passed over."""
    at = 0
    while (colon := line.find(":", at)) >= 0:
        before = _KEY_BACKWARDS.match(line[at:colon][::-1])
        key = before[0][::-1].lstrip(" -/") if before else ""
        value = _VALUE.match(line, colon + 1) if key else None
        if value:
            yield key, value[1].strip()
        at = value.end() if value else colon + 1


def a1111(text: str) -> Recovered:
    """Of A1111 and the many that write like it: prompt, ``Negative prompt: …`` and a last line of settings."""
    lines = text.replace("\r\n", "\n").strip().split("\n")
    given = dict(_settings(lines[-1])) if lines[-1].lstrip().startswith("Steps:") else {}
    body = "\n".join(lines[:-1])
    prompt, _, negative = body.partition("\nNegative prompt:")
    if not prompt.strip() or not given:
        raise ValueError("not the text of A1111")
    given = {key: str(any_json(value)) if value.startswith('"') else value for key, value in given.items()}
    scheduler, notes = _sampler(given.get("Sampler", ""), given.get("Schedule type", ""))
    notes += _left_out(set(given) - _CARRIED)
    if re.search(r"<lora:|\([^()]*:\d", prompt):
        notes.append("weights such as (word:1.2) and <lora:…> in the prompt are not understood here")
    return _recovered(
        model=given.get("Model", ""),
        prompt=prompt.strip(),
        negative=negative.strip(),
        seed=int(given["Seed"]),
        size=given["Size"],
        steps=int(given["Steps"]),
        guidance=float(given["CFG scale"]),
        scheduler=scheduler,
        notes=notes,
    )


def swarm(text: str) -> Recovered:
    """Of SwarmUI, whose JSON stands where A1111 has its text."""
    data = _mapping(_mapping(any_json(text))["sui_image_params"])
    scheduler, notes = _sampler(_text(data, "sampler"), _text(data, "scheduler"))
    return _recovered(
        model=_text(data, "model"),
        prompt=_text(data, "prompt"),
        negative=_text(data, "negativeprompt"),
        seed=_whole(data, "seed"),
        size=f"{_whole(data, 'width')}x{_whole(data, 'height')}",
        steps=_whole(data, "steps"),
        guidance=_number(data, "cfgscale"),
        scheduler=scheduler,
        notes=notes + _left_out(set(data) - _SWARM),
    )


def invoke(text: str) -> Recovered:
    """Of InvokeAI from version 3 on."""
    data = _mapping(any_json(text))
    model = data.get("model") or {}
    named = model if isinstance(model, Mapping) else {"name": model}
    left_out = ["left out: loras; name their files under lora:"] if data.get("loras") else []
    scheduler, notes = _sampler(_text(data, "scheduler"))
    return _recovered(
        model=_text(named, "name") or _text(named, "model_name"),
        prompt=_text(data, "positive_prompt"),
        negative=_text(data, "negative_prompt"),
        seed=_whole(data, "seed"),
        size=f"{_whole(data, 'width')}x{_whole(data, 'height')}",
        steps=_whole(data, "steps"),
        guidance=None if data.get("cfg_scale") is None else _number(data, "cfg_scale"),
        scheduler=scheduler,
        notes=left_out + notes,
    )


def old_invoke(text: str) -> Recovered:
    """Of InvokeAI before version 3: the negative prompt in brackets, samplers with a ``k_`` before their names."""
    data = _mapping(any_json(text))
    image = _mapping(data["image"])
    prompt = image["prompt"]
    if isinstance(prompt, list):  # [{"prompt": …, "weight": 1.0}]
        prompt = ", ".join(_text(_mapping(part), "prompt") for part in prompt)
    positive, _, negative = _text({"prompt": prompt}, "prompt").partition(" [")
    scheduler, notes = _sampler(_text(image, "sampler").removeprefix("k_"))
    return _recovered(
        model=_text(data, "model_weights"),
        prompt=positive,
        negative=negative.rstrip("]"),
        seed=_whole(image, "seed"),
        size=f"{_whole(image, 'width')}x{_whole(image, 'height')}",
        steps=_whole(image, "steps"),
        guidance=_number(image, "cfg_scale"),
        scheduler=scheduler,
        notes=notes,
    )


def _mapping(data: object) -> Mapping[str, object]:
    if not isinstance(data, dict):
        raise TypeError("not a mapping")
    return data


def _text(data: Mapping[str, object], key: str) -> str:
    """A text; "" where there is none, or null."""
    value = data.get(key)
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{key} is not a text")
    return value or ""


def _whole(data: Mapping[str, object], key: str) -> int:
    value = data[key]
    if not isinstance(value, int | float | str):
        raise TypeError(f"{key} is not a number")
    return int(value)


def _number(data: Mapping[str, object], key: str) -> float:
    value = data[key]
    if not isinstance(value, int | float | str):
        raise TypeError(f"{key} is not a number")
    return float(value)


def _sampler(name: str, schedule: str = "") -> tuple[str, list[str]]:
    """The scheduler of that name, and what is to be said of it."""
    wanted = name.strip().lower()
    karras = wanted.endswith(" karras") or schedule.lower() == "karras"
    found = SAMPLERS.get(wanted.removesuffix(" karras"))
    if found is None:
        unknown = f"sampler {shortened(name)} is not known here; the model's own scheduler is used"
        return "default", [unknown] if name else []
    return (f"{found}(use_karras_sigmas=true)" if karras and "(" not in found else found), []


MOST_NAMED = 20


def named(keys: Iterable[str]) -> str:
    """Keys of a text, or of a picture's texts, in a line: there may be any number of them, of any length."""
    names = sorted(keys)
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(map(shortened, names[:MOST_NAMED])) + more


def _left_out(keys: Iterable[str]) -> list[str]:
    names = named(keys)
    return [f"left out: {names}"] if names else []


def _recovered(
    *,
    model: str,
    prompt: str,
    negative: str,
    seed: int,
    size: str,
    steps: int,
    guidance: float | None,
    scheduler: str,
    notes: Iterable[str],
) -> Recovered:
    axes = {
        "model": model,
        "prompt": prompt,
        "negative_prompt": negative,
        "seed": seed,
        "size": size,
        "steps": steps,
        **({"guidance": guidance} if guidance is not None else {}),
        "scheduler": scheduler,
    }
    return Recovered(axes=axes, output={"format": "png"}, notes=tuple(notes))
