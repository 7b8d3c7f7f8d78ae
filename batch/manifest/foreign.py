"""What other programs write into their pictures, as axes of a manifest; the same pixels are not promised.

Each function takes such a text and raises ``ValueError``, ``KeyError``, ``TypeError``, ``AttributeError`` or
``OverflowError`` for one that is damaged, or another program's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from batch.manifest.recovered import Recovered

_SETTING = re.compile(r'\s*([\w][\w \-/]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')

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


def a1111(text: str) -> Recovered:
    """Of A1111 and the many that write like it: prompt, ``Negative prompt: …`` and a last line of settings."""
    lines = text.replace("\r\n", "\n").strip().split("\n")
    settings = dict(_SETTING.findall(lines[-1])) if lines[-1].lstrip().startswith("Steps:") else {}
    body = "\n".join(lines[:-1] if settings else lines)
    prompt, _, negative = body.partition("\nNegative prompt:")
    if not prompt.strip() or not settings:
        raise ValueError("not the text of A1111")
    given = {key: value.strip() for key, value in settings.items()}
    given = {key: str(json.loads(value)) if value.startswith('"') else value for key, value in given.items()}
    scheduler, notes = _sampler(given.get("Sampler", ""), given.get("Schedule type", ""))
    notes += _left_out(set(given) - _CARRIED)
    if re.search(r"<lora:|\([^()]*:\d", prompt):
        notes.append("weights such as (word:1.2) and <lora:…> in the prompt are not understood here")
    return _recovered(
        model=given.get("Model"),
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
    data = json.loads(text)["sui_image_params"]
    scheduler, notes = _sampler(str(data.get("sampler") or ""), str(data.get("scheduler") or ""))
    return _recovered(
        model=data.get("model"),
        prompt=str(data["prompt"]),
        negative=data.get("negativeprompt"),
        seed=int(data["seed"]),
        size=f"{int(data['width'])}x{int(data['height'])}",
        steps=int(data["steps"]),
        guidance=float(data["cfgscale"]),
        scheduler=scheduler,
        notes=notes + _left_out(set(data) - _SWARM),
    )


def invoke(text: str) -> Recovered:
    """Of InvokeAI from version 3 on."""
    data = json.loads(text)
    model = data.get("model") or {}
    name = model.get("name") or model.get("model_name") if isinstance(model, dict) else model
    left_out = ["left out: loras; name their files under lora:"] if data.get("loras") else []
    scheduler, notes = _sampler(str(data.get("scheduler") or ""))
    return _recovered(
        model=name,
        prompt=str(data["positive_prompt"]),
        negative=data.get("negative_prompt"),
        seed=int(data["seed"]),
        size=f"{int(data['width'])}x{int(data['height'])}",
        steps=int(data["steps"]),
        guidance=float(data["cfg_scale"]) if data.get("cfg_scale") is not None else None,
        scheduler=scheduler,
        notes=left_out + notes,
    )


def old_invoke(text: str) -> Recovered:
    """Of InvokeAI before version 3: the negative prompt in brackets, samplers with a ``k_`` before their names."""
    data = json.loads(text)
    image = data["image"]
    prompt = image["prompt"]
    if isinstance(prompt, list):  # [{"prompt": …, "weight": 1.0}]
        prompt = ", ".join(str(part["prompt"]) for part in prompt)
    positive, _, negative = str(prompt).partition(" [")
    scheduler, notes = _sampler(str(image.get("sampler") or "").removeprefix("k_"))
    return _recovered(
        model=data.get("model_weights"),
        prompt=positive,
        negative=negative.rstrip("]"),
        seed=int(image["seed"]),
        size=f"{int(image['width'])}x{int(image['height'])}",
        steps=int(image["steps"]),
        guidance=float(image["cfg_scale"]),
        scheduler=scheduler,
        notes=notes,
    )


def _sampler(name: str, schedule: str = "") -> tuple[str, list[str]]:
    """The scheduler of that name, and what is to be said of it."""
    wanted = name.strip().lower()
    karras = wanted.endswith(" karras") or schedule.lower() == "karras"
    found = SAMPLERS.get(wanted.removesuffix(" karras"))
    if found is None:
        unknown = f"sampler {name} is not known here; the model's own scheduler is used"
        return "default", [unknown] if name else []
    return (f"{found}(use_karras_sigmas=true)" if karras and "(" not in found else found), []


def _left_out(keys: Iterable[str]) -> list[str]:
    names = ", ".join(sorted(keys))
    return [f"left out: {names}"] if names else []


def _recovered(
    *,
    model: object,
    prompt: str,
    negative: object,
    seed: int,
    size: str,
    steps: int,
    guidance: float | None,
    scheduler: str,
    notes: Iterable[str],
) -> Recovered:
    axes = {
        "model": str(model or ""),
        "prompt": prompt,
        "negative_prompt": str(negative or ""),
        "seed": seed,
        "size": size,
        "steps": steps,
        **({"guidance": guidance} if guidance is not None else {}),
        "scheduler": scheduler,
    }
    return Recovered(axes=axes, output={"format": "png"}, notes=tuple(notes))
