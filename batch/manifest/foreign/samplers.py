"""Samplers and schedules as other programs call them, to ``scheduler`` here."""

from __future__ import annotations

import re

from batch.manifest import values
from batch.manifest.limits import NAME
from batch.manifest.values import shortened, shown
from batch.records.values import Call

_SAMPLERS = {
    "default": "default",
    "euler": "euler",
    "euler a": "euler-a",
    "euler ancestral": "euler-a",
    "heun": "heun",
    "lms": "lms",
    "ddim": "ddim",
    "ddpm": "ddpm",
    "plms": "pndm",
    "pndm": "pndm",
    "dpm2": "dpm2",
    "dpm2 a": "dpm2-a",
    "dpm2 ancestral": "dpm2-a",
    "kdpm2": "dpm2",
    "kdpm2 a": "dpm2-a",
    "dpm++ 2m": "dpm++",
    "dpm++ 2m sde": "dpm++(algorithm_type=sde-dpmsolver++)",
    "dpm++ sde": "dpm++-sde",
    "dpm++ 2s": "dpm++-2s",
    "unipc": "unipc",
    "lcm": "lcm",
    "tcd": "tcd",
    "deis": "deis",
    "sa solver": "sa-solver",
}
"""By their names in lower case, as :func:`_plain` spells them."""

_SCHEDULES = {"karras": "use_karras_sigmas=true", "exponential": "use_exponential_sigmas=true"}

_USUAL = {"", "automatic", "normal", "simple", "default", "uniform", "native", "none"}
"""Schedules that are the sampler's own, or nearly."""

_KARRAS = {"dpm++ 2m", "dpm++ 2m sde", "dpm++ sde", "dpm2", "dpm2 a"}
"""What A1111 takes for these where the schedule is ``Automatic``."""


KNOWN = tuple(name for name in _SAMPLERS if name != "default")
"""Names of samplers elsewhere, in small letters."""


def read(value: object) -> Call | None:
    """A value of the axis ``scheduler``; of another program's name the model decides what to write instead."""
    if isinstance(value, str) and len(value) <= NAME:
        ours, _ = scheduler(value)
        if ours and ours != value.strip():
            return Call(name=value.strip())
        if not ours and re.search(r"\S\s+\w", value) and "(" not in value:
            possible = [name for name in dict.fromkeys(_SAMPLERS.values()) if "(" not in name]
            raise ValueError(f"{shown(value)} is unknown; possible are {', '.join(possible)}")
    return values.scheduler(value)


def scheduler(name: str, schedule: str = "") -> tuple[str, list[str]]:
    """The scheduler of that name, "" where there is none, and what is to be said of it."""
    if not name:
        return "", []
    plain, meant = _plain(name), schedule.strip().lower()
    for suffix, kind in ((" karras", "karras"), (" k", "karras"), (" exponential", "exponential")):
        if plain.endswith(suffix):
            plain, meant = plain.removesuffix(suffix), kind
    found = _SAMPLERS.get(plain)
    if found is None:
        return "", [f"sampler {shortened(name)} is not known here; the model's own scheduler is used"]
    if meant == "automatic" and plain in _KARRAS:
        meant = "karras"
    if meant in _SCHEDULES and found != "default":
        return _with(found, _SCHEDULES[meant]), []
    return found, [] if meant in _USUAL else [f"left out: schedule {shortened(schedule)}"]


def _with(call: str, argument: str) -> str:
    return f"{call[:-1]}, {argument})" if call.endswith(")") else f"{call}({argument})"


def _plain(name: str) -> str:
    """One spelling: ``k_dpmpp_2m_sde_gpu`` is ``dpm++ 2m sde``."""
    words = name.strip().lower().replace("dpmpp", "dpm++").replace("-", " ").replace("_", " ").split()
    if words[:1] == ["k"]:  # NovelAI, and InvokeAI before version 3
        del words[0]
    if words[-1:] == ["gpu"]:
        del words[-1]
    plain = " ".join(words)
    for written, meant in (("kdpm 2", "kdpm2"), ("dpm 2", "dpm2"), ("uni pc", "unipc"), (" bh2", "")):
        plain = plain.replace(written, meant)
    return plain
