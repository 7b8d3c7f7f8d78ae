"""Pixels to the bytes of an image file, with metadata that tells how to render it again; and the metadata back."""
