"""One file per model family, all with the same functions.

Staged: encode and decode, and join where the embeddings of a batch do not just stand one below the other;
loading and denoising are the same for all and stand in ``common``. The parts together give the same bits as one
call of the pipeline. ``generic``: load and call.
"""
