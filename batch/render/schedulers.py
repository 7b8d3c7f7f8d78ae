"""The scheduler a task names, made from the model's own."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers

from batch.errors import TaskError
from batch.plan.catalogue import SCHEDULER_PRESETS, SCHEDULERS
from batch.records import Call


def make(own: Any, call: Call | None) -> Any:
    """The model's own scheduler, or the one named, with the model's settings and the overrides.

    Raises :class:`TaskError` for a setting the scheduler does not have.
    """
    if call is None:
        return own
    kind = getattr(diffusers, SCHEDULERS.get(call.name, call.name))
    known = set(inspect.signature(kind.__init__).parameters)
    unknown = sorted(set(dict(call.arguments)) - known)
    if unknown:
        raise TaskError(f"scheduler {call.name} has no setting {unknown[0]}", stage="denoise")
    changes: dict[str, Any] = {**SCHEDULER_PRESETS.get(call.name, {}), **dict(call.arguments)}
    return kind.from_config(own.config, **(_flow(own.config, known) | changes))


def _flow(config: Any, known: set[str]) -> dict[str, Any]:
    """The two kinds of flow schedulers call the same settings by different names."""
    if "use_flow_sigmas" in config and "shift" in known:
        return {"shift": config["flow_shift"]} if "flow_shift" in config else {}
    if str(config.get("_class_name", "")).startswith("FlowMatch") and "use_flow_sigmas" in known:
        return {
            "use_flow_sigmas": True,
            "prediction_type": "flow_prediction",
            "flow_shift": config.get("shift", 1.0),
        }
    return {}
