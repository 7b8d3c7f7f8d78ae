"""Templates of file names: what may stand in braces, and those of other programs, which are refused with ours."""

from __future__ import annotations

import re

from batch.manifest.axes import EXTRA
from batch.manifest.limits import FOLDERS, TEMPLATE
from batch.manifest.values import suggest

NAME_FIELDS = (
    "prompt", "negative_prompt", "style", "seed", "size", "width", "height", "steps", "guidance",
    "scheduler", "memory", "dtype", "vae", "lora", "model", "index", "date", "time", "id",
)  # fmt: skip
"""What a name template may hold in braces."""

CUT_FIELDS = ("prompt", "negative_prompt", "style", "vae", "lora", "model")
"""Texts, which may be cut: ``{prompt:40}``."""

LETTERS = 150
"""The most that a field is cut to: one part of a path holds no more."""

FIELD = re.compile(r"\{([^{}]*)\}")

_ELSEWHERE = {
    "seed": "{seed}", "seed_first": "{seed}", "seed_last": "{seed}", "noise_seed": "{seed}",
    "steps": "{steps}", "cfg": "{guidance}", "cfg_scale": "{guidance}", "cfgscale": "{guidance}",
    "guidance_scale": "{guidance}",
    "width": "{width}", "height": "{height}", "resolution": "{size}",
    "sampler": "{scheduler}", "sampler_name": "{scheduler}", "scheduler": "{scheduler}",
    "model": "{model}", "model_name": "{model}", "model_shortname": "{model}", "basemodelname": "{model}",
    "modelname": "{model}", "ckpt_name": "{model}", "unet_name": "{model}", "checkpoint": "{model}",
    "lora": "{lora}", "loras": "{lora}", "style": "{style}", "styles": "{style}",
    "prompt": "{prompt}", "prompt_words": "{prompt}", "prompt_spaces": "{prompt}", "prompt_no_styles": "{prompt}",
    "negative_prompt": "{negative_prompt}",
    "date": "{date}", "datetime": "{date}-{time}", "timestamp": "{date}-{time}", "job_timestamp": "{date}-{time}",
    "year": "{date}", "month": "{date}", "day": "{date}", "time": "{time}", "hour": "{time}", "minute": "{time}",
    "second": "{time}", "epoch": "{date}-{time}", "request_time_inc": "{date}-{time}",
    "num": "{index}", "number": "{index}", "seq": "{index}", "counter": "{index}",
    "generation_number": "{index}", "batch_number": "{index}", "batch_num": "{index}", "batch_id": "{index}",
    "iter_number": "{index}",
    "uuid": "{id}", "hash": "{id}", "image_hash": "{id}", "prompt_hash": "{id}",
    "full_prompt_hash": "{id}", "negative_prompt_hash": "{id}",
    "model_hash": "", "clip_skip": "", "denoising": "", "batch_size": "", "user": "", "username": "",
    "user_name": "", "vae_filename": "{vae}", "vae_name": "{vae}", "hasprompt": "", "none": "", "hostname": "",
    "millisecond": "",
}  # fmt: skip
"""What stands in brackets or per cent signs in other programs, and what is written here; "" for nothing."""

_NAMES = "|".join(sorted(_ELSEWHERE, key=len, reverse=True))
_BRACKETS = rf"\[({_NAMES})(?:[<:(][^\[\]]*)?\]"
"""A1111, Forge, SD.Next, SwarmUI: ``[seed]``, ``[datetime<%Y%m%d>]``, ``[time(%H-%M)]``, ``[prompt:40]``."""
_NODE = rf"%[^%/.]{{1,100}}\.({_NAMES})%"
"""ComfyUI: ``%KSampler.seed%``."""
_PER_CENT = rf"%({_NAMES})(?::[^%]*%|%|(?![a-z]))"
"""ComfyUI: ``%date:yyyy-MM-dd%``, ``%width%``; its savers of images: ``%seed_%counter``."""
_FOREIGN = re.compile("|".join((_BRACKETS, _NODE, _PER_CENT)), re.IGNORECASE)


def check_template(template: str) -> str:
    """The template. Raises ``ValueError`` for what is no template here."""
    if len(template) > TEMPLATE:
        raise ValueError(f"the template has {len(template):,} letters; at most {TEMPLATE:,} are possible")
    if template.count("/") >= FOLDERS:
        raise ValueError(f"the template has {template.count('/') + 1} parts; at most {FOLDERS} are possible")
    for field in FIELD.findall(template):
        _check_field(field)
    if not template.strip():
        raise ValueError("the template is empty")
    if re.search(r"[{}]", FIELD.sub("", template)):
        raise ValueError("a brace is left open; write {prompt}")
    _refuse_foreign(template)
    _refuse_elsewhere(template)
    return template


def _refuse_elsewhere(template: str) -> None:
    """What would not lie in the run folder as it is written."""
    if template.startswith(("/", "\\", "~")) or re.match(r"[A-Za-z]:[\\/]", template):
        raise ValueError("pictures lie in the run folder, which --out names; begin with a folder in it, or a name")
    if "\\" in template:
        raise ValueError("folders are parted by /, also on Windows")
    if {".", ".."}.intersection(part.strip() for part in template.split("/")):
        raise ValueError("pictures lie in the run folder, which --out names; leave out . and ..")


def _check_field(field: str) -> None:
    name, colon, letters = field.partition(":")
    if name not in NAME_FIELDS and not EXTRA.fullmatch(name):
        possible = [*NAME_FIELDS, "extra.<argument>"]
        ours = _ELSEWHERE.get(name.strip().lower())
        raise ValueError(f"{{{field}}} is unknown; {f'write {ours}' if ours else suggest(name, possible)}")
    if not colon:
        return
    if name not in CUT_FIELDS:
        cut = ", ".join(f"{{{name}:40}}" for name in CUT_FIELDS)
        raise ValueError(f"{{{field}}} cannot be cut to so many letters; {cut} can")
    if not re.fullmatch(r"[1-9]\d{0,2}", letters) or int(letters) > LETTERS:
        raise ValueError(f"{{{field}}} is cut to so many letters: write {{{name}:40}}, at most {LETTERS}")


def _refuse_foreign(template: str) -> None:
    found = {match[0]: _ELSEWHERE[match[match.lastindex or 0].lower()] for match in _FOREIGN.finditer(template)}
    for written, ours in found.items():
        if not ours:
            raise ValueError(f"{written} is another program's, and has nothing like it here; leave it out")
    if found:
        named = ", ".join(f"{ours} for {written}" for written, ours in found.items())
        raise ValueError(f"it is written as another program does; here it is {named}")
