"""One file per model family, all with the same functions.

Staged: encode, denoise and decode, as ``table`` says; loading, and most of denoising, are the same for all and
stand in ``common``. The parts together give the same bits as one call of the pipeline. ``generic``: load and call.
"""
