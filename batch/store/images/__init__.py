"""Pixels to the bytes of an image file, with metadata that tells how to render it again; and the metadata back."""

from batch.store.images.encoders import encode, require, thumbnail
from batch.store.images.reading import read_metadata, read_pixels, suffixes
from batch.store.images.texts import JSON_KEY, PARAMETERS_KEY, parameters, rerun_json

__all__ = [
    "JSON_KEY",
    "PARAMETERS_KEY",
    "encode",
    "parameters",
    "read_metadata",
    "read_pixels",
    "require",
    "rerun_json",
    "suffixes",
    "thumbnail",
]
