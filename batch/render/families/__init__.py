"""One file per model family, all with the same functions.

Staged: encode and decode; loading and denoising are the same for all and stand in ``common``. The parts together
give the same bits as one call of the pipeline. ``generic``: load and call.
"""
