"""Pipelines of our own for models that diffusers has in blocks only, each named as there."""
