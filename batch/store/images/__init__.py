"""Pixels to the bytes of an image file, with metadata that tells how to render it again; and the metadata back."""

from batch.store.images.encoders import encode, require, thumbnail
from batch.store.images.reading import read_metadata
from batch.store.images.texts import JSON_KEY, PARAMETERS_KEY, parameters, rerun_json

__all__ = [
    "JSON_KEY",
    "PARAMETERS_KEY",
    "encode",
    "parameters",
    "read_metadata",
    "require",
    "rerun_json",
    "thumbnail",
]
