"""One file per model family, all with the same functions.

Staged: load_text_encoder, load, load_decoder, encode, denoise, decode; the parts together give the same bits
as one call of the pipeline. ``generic``: load and call. What they share is in ``common``.
"""
