"""Manifest to plan: grid, identity, order and names, as values. No torch."""
