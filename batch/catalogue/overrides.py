"""What a manifest overrides of a scheduler: settings that it has, and values that it and the model can live with.

Nothing here is a list of schedulers: settings, their defaults and their words come from diffusers' source.
"""

from __future__ import annotations

import math
from difflib import get_close_matches

from batch.catalogue import signatures
from batch.catalogue.families import FAMILIES
from batch.catalogue.model import Model
from batch.manifest.values import shown
from batch.records.values import Call

_PREDICTED = {"flow": "flow_prediction"}
"""What a model predicts, as schedulers call it; where it is missing they use the same word."""

_FROM_ONE = (
    "num_train_timesteps",
    "solver_order",
    "predictor_order",
    "corrector_order",
    "original_inference_steps",
)
_MOST = {"num_train_timesteps": 1_000_000, "solver_order": 3}
"""UniPC alone takes higher orders, which nobody has seen to help."""

_ABOVE_NOUGHT = ("flow_shift", "shift", "sigma_min", "sigma_max", "sigma_data")
_SHARES = ("beta_start", "beta_end", "dynamic_thresholding_ratio")
"""Above 0 and below 1."""

_LISTS = ("trained_betas", "scale_factors", "disable_corrector")
_LARGEST_SHIFT = 1000

SPACINGS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
"""Settings that space the sigmas otherwise."""
_ENDS_BEFORE_NOUGHT = ("dpmsolver", "sde-dpmsolver")
"""Values of ``algorithm_type`` that cannot go down to a sigma of 0."""


def objection(model: Model, call: Call, kind: str, settings: signatures.Parameters) -> str:
    """What is wrong with the overrides of a scheduler of class ``kind``, which has these settings, if anything."""
    for name, value in call.arguments:
        if name not in settings:
            near = get_close_matches(name, settings, 1)
            hint = f"did you mean {near[0]}?" if near else f"possible are {', '.join(settings)}"
            return f"{call.name} has no setting {name}; {hint}"
        wanted = _wanted(kind, name, value, settings[name])
        if wanted:
            return f"{name} of {call.name} is {wanted}, not {shown(value)}"
        wrong = _contradiction(model, name, value) or _spacing(model, kind, call.name, name, value)
        if wrong:
            return wrong
    # Each is right by itself; together they may be wrong.
    given = dict(call.arguments)
    spacings = [name for name in SPACINGS if given.get(name) is True]
    if len(spacings) > 1:
        return f"{spacings[0]} and {spacings[1]} cannot both be true; each spaces the sigmas in its own way"
    ends = given.get("final_sigmas_type", settings.get("final_sigmas_type"))
    if given.get("algorithm_type") in _ENDS_BEFORE_NOUGHT and ends == "zero":
        return f"algorithm_type={given['algorithm_type']} goes with final_sigmas_type=sigma_min only; add that"
    return ""


def _contradiction(model: Model, name: str, value: object) -> str:
    """A scheduler that takes what the model says for something else gives noise, at best."""
    if name == "prediction_type" and model.prediction:
        right = _PREDICTED.get(model.prediction, model.prediction)
        if value != right:
            return (
                f"{model.name} predicts {right}, and a scheduler that takes it for {value} gives no picture; "
                "leave prediction_type out. If its own configuration is wrong, override that in a models.yaml"
            )
    if name == "use_flow_sigmas" and model.prediction and value != (model.prediction == "flow"):
        is_flow = "a flow" if model.prediction == "flow" else "no flow"
        return f"{model.name} is {is_flow} model; leave use_flow_sigmas out"
    by_size = model.dynamic_shift or model.trust_remote_code or "mu" in FAMILIES[model.family].extra
    if name == "use_dynamic_shifting" and value is True and not by_size:
        return f"the pipeline of {model.name} passes no shift for a size; leave use_dynamic_shifting out"
    return ""


def _spacing(model: Model, kind: str, scheduler: str, name: str, value: object) -> str:
    """Sigmas spaced otherwise run up to 157 in diffusers, where a flow ends at 1: every pixel becomes NaN.

    UniPC alone turns Karras' into those of a flow; schedulers for flows alone have them right.
    """
    if model.prediction != "flow" or value is not True or name not in (*SPACINGS, "use_lu_lambdas"):
        return ""
    if kind.startswith("FlowMatch") or (kind, name) == ("UniPCMultistepScheduler", "use_karras_sigmas"):
        return ""
    return f"{name} of {scheduler} gives no picture of a flow model such as {model.name}; leave it out"


def _wanted(kind: str, name: str, value: object, default: object) -> str:
    """What a setting is where the value is something else; "" where it fits or nobody knows."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else f"true or false (by default {str(default).lower()})"
    if isinstance(default, int):
        least, most = 1 if name in _FROM_ONE else 0, _MOST.get(name, 2**31 - 1)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return ""
        span = f"from {least} to {most:,}" if name in _MOST else f"from {least} on"
        return f"a whole number {span} (by default {default})"
    if isinstance(default, float) or default is signatures.COMPUTED or name in _ABOVE_NOUGHT:
        return "" if default is None and value is None else _number(name, value, default)
    if name in _LISTS:
        fits = value is None or (isinstance(value, tuple) and all(isinstance(item, int | float) for item in value))
        return "" if fits else "a list of numbers, as in [0, 1]"
    if isinstance(default, str):
        words = signatures.scheduler_words(kind, name)
        checked = len(words) > 1 and default in words
        if isinstance(value, str) and (value in words or value == default or not checked):
            return ""
        known = words if default in words else (default,)
        return f"{'one of ' if len(known) > 1 else 'a text such as '}{', '.join(sorted(known))}"
    return ""


def _number(name: str, value: object, default: object) -> str:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if name in _SHARES:
        fits, span = 0 < number < 1, " between 0 and 1"
    elif name in ("flow_shift", "shift"):
        fits, span = 0 < number <= _LARGEST_SHIFT, f" above 0 and up to {_LARGEST_SHIFT}"
    elif name in _ABOVE_NOUGHT:
        fits, span = 0 < number < math.inf, " above 0"
    else:
        fits, span = -math.inf < number < math.inf, ""
    known = default is not None and default is not signatures.COMPUTED
    return "" if fits else f"a number{span}" + (f" (by default {default})" if known else "")
