"""Whether a model takes what a cell of the grid asks of it: an option without effect is a mistake, said early.

Each check knows only what diffusers' source and the model's own configuration tell; what they do not tell
is left to the render, which refuses it then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from importlib.util import find_spec

from batch.catalogue import autoencoders, pag, precision, signatures
from batch.catalogue.autoencoders import Autoencoder
from batch.catalogue.families import FAMILIES
from batch.catalogue.model import Model
from batch.plan import arguments, scheduler_checks
from batch.records.values import Call

Given = Mapping[str, object]
"""What a manifest names of one cell, by axis: values as its reader makes them. Of ``style`` it is whether the
negative prompt is a style's alone."""

_OURS = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "width": "size",
    "height": "size",
    "use_resolution_binning": "size",
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "generator": "seed",
    "num_images_per_prompt": "seed",
}
"""Arguments of a call that an axis sets."""

_NOT_DATA = ("_embeds", "_mask", "_kwargs", "_image", "_images", "_tensor_inputs", "_embeddings")
_NOT_SET = {
    "output_type", "return_dict", "callback", "callback_steps", "callback_on_step_end", "latents", "image",
    "images", "mask", "guidance_embeds", "self", "max_area", "_auto_resize", "output_resolution",
}  # fmt: skip
"""What the program sets itself or ``size`` decides, and what no manifest can write down (tensors, pictures,
mappings)."""


def objections(model: Model, given: Given) -> Iterator[tuple[str, str]]:
    """What a model cannot do of one cell, as axis and message."""
    call = signatures.pipeline_call(model.pipeline)
    # An architecture that comes with the program has tokenizers of its own kind; a folder has the model's.
    for package in () if model.architecture else {*FAMILIES[model.family].needs, *model.needs}:
        if find_spec(package) is None:
            yield "model", f"{model.name} needs the package {package}; install it with: pip install {package}"
    if call is None and model.trust_remote_code:
        # Only the code of the pipeline itself would tell, and nobody should guess.
        for axis, none in (("steps", 1), ("guidance", 0)):
            if axis not in given:
                yield (
                    axis,
                    f"{model.name} runs code of its own, and what {model.pipeline} does without one is not known "
                    f"here; name it ({axis}: {none} where it takes none)",
                )
    for axis, value in given.items():
        if message := _objection(model, call, axis, value, given):
            yield axis, message


def _objection(model: Model, call: signatures.Parameters | None, axis: str, value: object, given: Given) -> str:
    if axis == "scheduler" and isinstance(value, Call):
        return scheduler_checks.objection(model, value)
    if axis == "guidance":
        return _guidance(model, call, value)
    if axis == "dtype":
        return precision.objection(model, str(value))
    if axis == "vae" and isinstance(value, Autoencoder):
        return autoencoders.objection(model, value)
    if axis == "steps":
        return _steps(model, call, value, given)
    if axis == "negative_prompt" and value:
        return _negative(model, call, given)
    if axis == "lora" and value and call is not None:
        # Rendered as any of its family's: SanaPAGPipeline loads none, the SanaPipeline it becomes does.
        pipelines = {model.pipeline, *FAMILIES[model.family].pipelines}
        bases = frozenset[str]().union(*(signatures.ancestors(name) for name in pipelines))
        if not any(base.endswith(("LoraLoaderMixin", "LoraMixin")) for base in bases):
            return f"{model.pipeline} loads no LoRAs"
    return _extra(model, call, axis.removeprefix("extra."), given) if axis.startswith("extra.") else ""


def _guidance(model: Model, call: signatures.Parameters | None, value: object) -> str:
    if call is not None and FAMILIES[model.family].guidance not in call:
        own = call if model.embeds_guidance else ()
        other = ", ".join(f"extra.{name}" for name in own if "guidance" in name or "cfg" in name)
        return f"{model.pipeline} takes no guidance scale; leave it out{f', or set {other}' if other else ''}"
    if not model.embeds_guidance:
        return f"{model.name} was trained without guidance, so it has no effect; leave it out"
    least = FAMILIES[model.family].least_guidance
    if isinstance(value, int | float) and value < least:
        return f"{model.pipeline} takes no guidance below {least:g}; write {least:g} for none"
    return ""


def _steps(model: Model, call: signatures.Parameters | None, value: object, given: Given) -> str:
    if call is not None and "num_inference_steps" not in call:
        return f"{model.pipeline} takes no number of steps; leave it out"
    if model.fixed_steps and value != model.steps and given.get("extra.sigmas") is None:
        return f"the files of {model.name} fix {model.steps} steps, so {value} has no effect; leave it out"
    scheduled = call.get("num_inference_steps") if call is not None and "guidance_schedule" in call else value
    if value != scheduled and not (given.get("guidance") or given.get("extra.guidance_schedule")):
        return f"{model.pipeline} guides {scheduled} steps by a schedule of its own; for {value} write a guidance"
    return ""


def _negative(model: Model, call: signatures.Parameters | None, given: Given) -> str:
    family, guidance = FAMILIES[model.family], given.get("guidance", model.guidance)
    if call is not None and "negative_prompt" not in call:
        return f"{model.pipeline} takes no negative prompt; leave it out"
    if family.negative == "true_cfg_scale":
        if not _true_cfg(given):
            return f"{model.pipeline} uses a negative prompt only with extra.true_cfg_scale above 1"
    elif not (
        model.negative or given.get("style") or (isinstance(guidance, int | float) and family.guides(guidance))
    ):
        return f"{model.name} is distilled and ignores a negative prompt; leave it out"
    return ""


def idle(model: Model, given: Given, guidance: float) -> Iterator[tuple[str, str]]:
    """What does nothing in one cell because its guidance does not act, as axis and message.

    No mistake: a grid may compare guidance with none.
    """
    family = FAMILIES[model.family]
    if family.guides(guidance):
        return
    if "split_guidance" in str(given.get("memory", "")):
        yield "memory", f"memory: split_guidance has nothing to split at guidance {guidance:g}"
    if family.negative != "guidance":
        return
    for axis, value in given.items():
        extra = axis.removeprefix("extra.")
        if axis == "negative_prompt":
            # Of a distilled model one that is written is a mistake; a style brings its own.
            what = "a negative prompt" if value and (model.negative or given.get("style")) else ""
        else:
            what = axis if extra in family.with_guidance or family.extra.get(extra) == "encode-negative" else ""
        if what:
            yield axis, f"{what} has no effect at guidance {guidance:g}: it counts above {family.guidance_above:g}"


def _true_cfg(given: Given) -> bool:
    scale = given.get("extra.true_cfg_scale")
    return isinstance(scale, int | float) and scale > 1


def _extra(model: Model, call: signatures.Parameters | None, name: str, given: Given) -> str:
    axis = "guidance" if name == FAMILIES[model.family].guidance else _OURS.get(name)
    if axis is not None:
        return f"set it with {axis}"
    if call is None:
        return ""
    known = possible_extras(model)
    if name not in known:
        if name == "eta" and name in call:
            return "its scheduler takes no eta"
        if name in call:
            return "the program sets it, or a manifest cannot hold it" + _possible(name, known)
        return f"{model.name} takes no such argument" + _possible(name, known)
    if name in pag.NAMES and model.family == "sana":
        return pag.objection(model, name, given)
    if model.family == "sana_sprint" and name.endswith("timesteps"):
        return _sprint(model, name, given)
    return _alone(model, name, given) or arguments.objection(model.pipeline, name, given[f"extra.{name}"])


def _alone(model: Model, name: str, given: Given) -> str:
    """Why an argument that is possible does nothing beside the others; the call leaves it unread then."""
    if model.family in ("sdxl", "flux") and not given.get("negative_prompt"):
        if name == "negative_prompt_2":
            return "it counts only beside a negative_prompt"
        if name == "true_cfg_scale" and _true_cfg(given):
            return "it counts only beside a negative_prompt (one space will do for none)"
    if name.startswith("skip_layer_guidance_") and not given.get("extra.skip_guidance_layers"):
        return "it counts only beside extra.skip_guidance_layers"
    if name == "mu" and model.family == "sd3":
        scheduler = given.get("scheduler")
        told = dict(scheduler.arguments).get("use_dynamic_shifting") if isinstance(scheduler, Call) else None
        if not (model.dynamic_shift if told is None else told):
            return "it counts only with a scheduler of use_dynamic_shifting: true"
    if name == "guidance_schedule":
        steps, schedule = given.get("steps", model.steps), given["extra.guidance_schedule"]
        if given.get("guidance"):
            return "it counts only without guidance"
        if not isinstance(schedule, tuple) or len(schedule) != steps:
            return f"a list of {steps} numbers is wanted for {steps} steps"
    if name == "distilled_guidance_scale" and not model.embeds_guidance:
        return f"{model.name} has the guidance that its files set; it counts with the distilled one"
    return ""


_RIGHT_ANGLE = 1.5708
"""SANA-Sprint's time is an angle; half of pi, rounded up as its pipeline does."""


def _sprint(model: Model, name: str, given: Given) -> str:
    """The rules of SANA-Sprint's scheduler, which fails every image that breaks them."""
    value, named_steps = given[f"extra.{name}"], given.get("steps")
    steps = named_steps if isinstance(named_steps, int) else model.steps
    timed = given.get("extra.timesteps") is not None
    if name == "timesteps":
        if timed and len(value if isinstance(value, tuple) else ()) != steps + 1:
            return f"a list of {steps + 1} numbers is wanted for {steps} steps, the last one 0"
    elif name.endswith("timesteps"):
        number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _RIGHT_ANGLE
        may_be_none = timed or name != "max_timesteps"  # the beginning
        if not (number or (value is None and may_be_none)):
            return f"a number above 0 and up to {_RIGHT_ANGLE} (half of pi: nothing but noise) is wanted"
        if timed:
            return "it has no effect beside extra.timesteps"
        if name == "intermediate_timesteps" and value is not None and steps != 2:
            return f"it counts with exactly 2 steps, not with {steps}"
    return ""


def possible_extras(model: Model) -> list[str]:
    """What ``extra.<argument>`` may set on a model whose pipeline class diffusers has."""
    family = FAMILIES[model.family]
    if family.staged:
        return list(family.extra)
    call = signatures.pipeline_call(model.pipeline) or {}
    return [name for name in call if name not in _OURS and name not in _NOT_SET and not name.endswith(_NOT_DATA)]


def _possible(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, 1)
    if near:
        return f"; did you mean extra.{near[0]}?"
    return f"; possible are {', '.join(f'extra.{item}' for item in known)}" if known else ""
