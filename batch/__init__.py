"""run_batch: resumable batch rendering for text-to-image diffusion models.

The data flow is the folder list: ``manifest`` reads what the user wrote, ``plan`` makes tasks of it,
``engines`` drive a ``render`` session and the ``store``, ``report`` shows what came out. ``runner.py`` is
one run from top to bottom.
"""

__version__ = "0.1.0"
