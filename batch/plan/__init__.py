"""Manifest to plan: grid, identity, order, names, and as data the models and the memory steps. No torch."""

from batch.plan.build import Lookup, Pins, Plan, SizeUse, build_plan, encode_tasks

__all__ = ["Lookup", "Pins", "Plan", "SizeUse", "build_plan", "encode_tasks"]
