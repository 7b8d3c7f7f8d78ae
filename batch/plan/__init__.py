"""Manifest to plan: grid, identity, order, names, and as data the models and the memory steps. No torch."""

from batch.plan.build import build_plan
from batch.plan.pins import Pins
from batch.plan.plan import Lookup, Plan, SizeUse
from batch.plan.texts import encode_tasks

__all__ = ["Lookup", "Pins", "Plan", "SizeUse", "build_plan", "encode_tasks"]
