"""Whether a model takes a scheduler, and which ones it takes."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

from batch.catalogue import overrides, signatures
from batch.catalogue.families import FAMILIES
from batch.catalogue.model import Model
from batch.catalogue.scheduler_names import OWN_SCHEDULER, SCHEDULER_PRESETS, SCHEDULERS
from batch.manifest import values
from batch.manifest.foreign import samplers
from batch.records.values import Call

_NEEDS = {"LMSDiscreteScheduler": "scipy", "DPMSolverSDEScheduler": "torchsde"}
"""Packages a scheduler imports that do not come with diffusers."""


def objection(model: Model, call: Call) -> str:
    """Why a model cannot be rendered with a scheduler; "" where it can."""
    if call.name == OWN_SCHEDULER:
        own = signatures.scheduler_settings(model.scheduler)
        # Of a scheduler that is not known here the render says which settings it has not.
        return overrides.objection(model, call, model.scheduler, own) if own is not None else ""
    kind = SCHEDULERS.get(call.name, call.name)
    settings = signatures.scheduler_settings(kind)
    names = ", ".join(possible(model))
    if settings is None:
        if kind in SCHEDULERS.values():
            return ""  # diffusers' source is not there to read
        if ours := samplers.scheduler(call.name)[0]:
            return f"{values.shown(call.name)} is another program's name; {_instead(model, ours)}"
        return f"{call.name} is unknown; possible are {names}"
    if not follows(model, kind):
        predicts = f"{model.prediction} prediction".replace("_prediction prediction", "-prediction")
        return f"{call.name} cannot follow {model.name} ({predicts}); possible are {names}"
    wrong = overrides.objection(model, call, kind, settings)
    if wrong:
        return wrong
    fixed = set(SCHEDULER_PRESETS.get(call.name, {})).intersection(dict(call.arguments))
    if fixed:
        return f"{call.name} sets {min(fixed)} itself; name the scheduler {kind} to choose it"
    package = _NEEDS.get(kind)
    if package is not None and find_spec(package) is None:
        return f"{call.name} needs the package {package}; install it with: pip install {package}"
    return ""


def _instead(model: Model, ours: str) -> str:
    """What to write for another program's sampler: the nearest that the model takes."""
    asked = values.scheduler(ours)
    if asked is None or not objection(model, asked):
        return f"write {ours}"
    kept = tuple((name, value) for name, value in asked.arguments if name not in overrides.SPACINGS)
    flows = (f"flow-{asked.name}", "flow-euler") if model.prediction == "flow" else ()
    for call in (replace(asked, arguments=kept), *(Call(name=name) for name in flows if name in SCHEDULERS)):
        if not objection(model, call):
            return f"write {call} ({model.name} does not take {ours})"
    return f"possible are {', '.join(possible(model))}"


def possible(model: Model) -> list[str]:
    """Names of schedulers that understand what the model predicts."""
    return ["default", *(name for name, kind in SCHEDULERS.items() if follows(model, kind))]


def follows(model: Model, kind: str) -> bool:
    """Whether a scheduler class understands what the model predicts."""
    settings = signatures.scheduler_settings(kind) or {}
    flow_only = kind.startswith("FlowMatch")
    if model.prediction == "flow":
        if not flow_only and "use_flow_sigmas" not in settings:
            return False
        # Some families pass a shift and their own sigmas with every call; others a shift where it is dynamic.
        if not FAMILIES[model.family].passes_shift and not model.dynamic_shift:
            return True
        if "mu" not in signatures.scheduler_timesteps(kind):
            return False
        return flow_only or (model.dynamic_shift and "use_dynamic_shifting" in settings)
    if model.prediction == "trigflow":
        return kind == "SCMScheduler"
    if model.prediction == "edm":
        return kind.startswith("EDM")
    if model.prediction:
        classical = bool({"beta_start", "trained_betas"} & set(settings)) and kind != "SCMScheduler"
        told = "prediction_type" in settings or model.prediction == "epsilon"
        return classical and told and not flow_only
    return True
