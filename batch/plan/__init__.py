"""Manifest to plan: grid, identity, order, names, and as data the models and the memory steps. No torch."""

from batch.plan.build import Lookup, Plan, SizeUse, build_plan, encode_tasks
from batch.plan.expand import Pins

__all__ = ["Lookup", "Pins", "Plan", "SizeUse", "build_plan", "encode_tasks"]
