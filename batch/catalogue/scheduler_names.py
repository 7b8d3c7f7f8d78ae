"""Schedulers by the names that a manifest uses."""

from __future__ import annotations

from batch.records.values import Value

SCHEDULERS = {
    "dpm++": "DPMSolverMultistepScheduler",
    "dpm++-sde": "DPMSolverMultistepScheduler",
    "dpm++-2s": "DPMSolverSinglestepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "deis": "DEISMultistepScheduler",
    "sa-solver": "SASolverScheduler",
    "flow-euler": "FlowMatchEulerDiscreteScheduler",
    "flow-heun": "FlowMatchHeunDiscreteScheduler",
    "flow-lcm": "FlowMatchLCMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-a": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "dpm2": "KDPM2DiscreteScheduler",
    "dpm2-a": "KDPM2AncestralDiscreteScheduler",
    "lms": "LMSDiscreteScheduler",
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "pndm": "PNDMScheduler",
    "lcm": "LCMScheduler",
    "tcd": "TCDScheduler",
    "scm": "SCMScheduler",
}
"""Schedulers by the name a manifest uses and diffusers' class; a class's own name does as well."""

OWN_SCHEDULER = "default"
"""What a manifest calls the model's own; a :class:`Call` only where it has overrides."""

SCHEDULER_PRESETS: dict[str, dict[str, Value]] = {
    "dpm++-sde": {"algorithm_type": "sde-dpmsolver++"},
    # The configuration of a DPM-Solver names an algorithm that this one does not have.
    "sa-solver": {"algorithm_type": "data_prediction"},
}
"""What a name sets beyond its class."""
