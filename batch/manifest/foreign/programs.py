"""The JSON of SwarmUI, InvokeAI, Fooocus, NovelAI and Draw Things.

Each function takes the text, and raises one of :data:`batch.manifest.foreign.draft.FOREIGN` for one that is
damaged, or another program's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from batch.manifest.foreign.draft import Draft, figure, left_out, mapping, size, text
from batch.manifest.recovered import Recovered
from batch.records.reading import any_json

_SWARM = {
    "model", "prompt", "negativeprompt", "seed", "width", "height", "steps", "cfgscale", "fluxguidancescale",
    "sampler", "scheduler", "aspectratio", "swarm_version", "date", "generation_time", "nopreviews", "imageformat",
}  # fmt: skip

_FOOOCUS = {
    "prompt", "negative_prompt", "full_prompt", "full_negative_prompt", "base_model", "base_model_hash", "seed",
    "resolution", "width", "height", "steps", "guidance_scale", "sampler", "scheduler", "version",
    "metadata_scheme", "created_by",
}  # fmt: skip

_NOVELAI = {
    "prompt", "uc", "v4_prompt", "v4_negative_prompt", "seed", "width", "height", "steps", "scale", "sampler",
    "noise_schedule", "request_type", "signed_hash", "n_samples", "version",
}  # fmt: skip

_DRAW_THINGS = {"c", "uc", "model", "sampler", "scale", "seed", "seed_mode", "size", "steps", "strength", "v2"}


def swarm(written: str) -> Recovered:
    """Of SwarmUI, whose JSON stands where A1111 has its text."""
    data = mapping(mapping(any_json(written))["sui_image_params"])
    if "prompt" not in data:
        raise ValueError("it says nothing of a prompt")
    return Draft(
        model=text(data, "model"),
        prompt=text(data, "prompt"),
        negative=text(data, "negativeprompt"),
        seed=figure(data, "seed"),
        size=size(data),
        steps=figure(data, "steps"),
        guidance=figure(data, "fluxguidancescale", "cfgscale"),
        sampler=text(data, "sampler"),
        schedule=text(data, "scheduler"),
        notes=left_out(set(data) - _SWARM),
    ).recovered()


def invoke(written: str) -> Recovered:
    """Of InvokeAI from version 3 on."""
    data = mapping(any_json(written))
    model = data.get("model") or {}
    called = model if isinstance(model, Mapping) else {"name": model}
    notes = ["left out: loras; name their files under lora:"] if data.get("loras") else []
    if not {"positive_prompt", "steps", "width"} & set(data):
        raise ValueError("it says nothing of a prompt")
    return Draft(
        model=text(called, "name", "model_name"),
        prompt=text(data, "positive_prompt"),
        negative=text(data, "negative_prompt"),
        seed=figure(data, "seed"),
        size=size(data),
        steps=figure(data, "steps"),
        guidance=figure(data, "cfg_scale", "guidance"),
        sampler=text(data, "scheduler"),
        notes=notes,
    ).recovered()


def old_invoke(written: str) -> Recovered:
    """Of InvokeAI before version 3: the negative prompt in brackets, samplers with a ``k_`` before their names."""
    data = mapping(any_json(written))
    image = mapping(data["image"])
    prompt = image["prompt"]
    if isinstance(prompt, list):  # [{"prompt": …, "weight": 1.0}]
        prompt = ", ".join(text(mapping(part), "prompt") for part in prompt)
    positive, _, negative = text({"prompt": prompt}, "prompt").partition(" [")
    return Draft(
        model=text(data, "model_weights"),
        prompt=positive,
        negative=negative.rstrip("]"),
        seed=figure(image, "seed"),
        size=size(image),
        steps=figure(image, "steps"),
        guidance=figure(image, "cfg_scale"),
        sampler=text(image, "sampler"),
    ).recovered()


def fooocus(written: str) -> Recovered:
    """Of Fooocus' own scheme."""
    return fooocus_data(mapping(any_json(written)))


def fooocus_data(data: Mapping[str, object]) -> Recovered:
    """What Fooocus says of a picture, in the picture or in its log."""
    if not {"base_model", "performance", "resolution"} & set(data):
        raise ValueError("it is not Fooocus'")
    loras = [key for key in data if key.startswith("lora_") or key == "loras"]
    named = [value for key in sorted(loras) if isinstance(value := data[key], str) and value]
    notes = [f"left out: LoRA {name.replace(' : ', ', strength ')}; name its file under lora:" for name in named]
    sides = re.findall(r"\d{1,6}", text(data, "resolution")) or [data.get("width"), data.get("height")]
    styles = text(data, "styles")
    if styles not in ("", "[]"):
        notes.append(f"left out: styles {styles[:200]}; it draws on them, and on an expansion, beside the prompt")
    told = _FOOOCUS | set(loras) | {"styles"}
    return Draft(
        model=text(data, "base_model"),
        prompt=text(data, "prompt"),
        negative=text(data, "negative_prompt"),
        seed=figure(data, "seed"),
        size="x".join(map(str, sides[:2])) if len(sides) > 1 and None not in sides else "",
        steps=figure(data, "steps"),
        guidance=figure(data, "guidance_scale"),
        sampler=text(data, "sampler"),
        schedule=text(data, "scheduler"),
        notes=notes + left_out(set(data) - told),
    ).recovered()


def novelai(written: str) -> Recovered:
    """Of NovelAI's ``Comment``."""
    data = mapping(any_json(written))
    if not ("sampler" in data and {"uc", "v4_prompt", "request_type", "noise_schedule"} & set(data)):
        raise ValueError("it is not NovelAI's")
    prompt, characters = _caption(data.get("v4_prompt"))
    negative, others = _caption(data.get("v4_negative_prompt"))
    notes = ["left out: prompts of single characters and their places"] if characters or others else []
    prompt = prompt or text(data, "prompt")
    if "{" in prompt or "::" in prompt:
        notes.append("weights such as {word} and 1.2::word:: stand in the prompt as they are")
    return Draft(
        prompt=prompt,
        negative=negative or text(data, "uc"),
        seed=figure(data, "seed"),
        size=size(data),
        steps=figure(data, "steps"),
        guidance=figure(data, "scale"),
        sampler=text(data, "sampler"),
        schedule=text(data, "noise_schedule"),
        notes=notes + left_out(key for key in set(data) - _NOVELAI if data[key] not in (None, False, [], 0, 1)),
    ).recovered()


def _caption(data: object) -> tuple[str, bool]:
    """Of version 4 on: the prompt of the whole picture, and whether characters have some of their own."""
    if data is None:
        return "", False
    caption = mapping(mapping(data)["caption"])
    return text(caption, "base_caption"), bool(caption.get("char_captions"))


def draw_things(written: str) -> Recovered:
    """Of Draw Things, in the description of the picture."""
    data = mapping(any_json(written))
    if not {"c", "scale"} <= set(data):
        raise ValueError("it is not Draw Things'")
    return Draft(
        model=text(data, "model"),
        prompt=text(data, "c"),
        negative=text(data, "uc"),
        seed=figure(data, "seed"),
        size=text(data, "size"),
        steps=figure(data, "steps"),
        guidance=figure(data, "scale"),
        sampler=text(data, "sampler"),
        notes=left_out(set(data) - _DRAW_THINGS),
    ).recovered()
