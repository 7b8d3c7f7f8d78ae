"""What the user wrote: text to a checked :class:`~batch.manifest.schema.Manifest`."""

from batch.manifest.read import read_manifest
from batch.manifest.schema import Manifest

__all__ = ["Manifest", "read_manifest"]
