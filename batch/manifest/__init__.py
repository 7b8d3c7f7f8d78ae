"""What the user wrote: text to a checked :class:`~batch.manifest.schema.Manifest`."""

from batch.manifest.read import read_manifest
from batch.manifest.schema import AXES, Entry, Factor, Grid, Manifest, Rule

__all__ = ["AXES", "Entry", "Factor", "Grid", "Manifest", "Rule", "read_manifest"]
