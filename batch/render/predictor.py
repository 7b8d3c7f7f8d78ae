"""The predicting process, so that planning never loads torch: ``python -P -m batch.render.predictor``.

The first line on stdin holds all questions as JSON, every line on stdout is an answer.
"""

from __future__ import annotations

import logging
import os
import warnings

from batch.base.collector import importing
from batch.base.processes import Parent


def main() -> None:
    """Answer the questions in their order."""
    parent = Parent()
    warnings.simplefilter("ignore")
    with importing():
        from batch.render.foresight import answers
        from batch.render.loading import quiet
    quiet()
    logging.disable(logging.CRITICAL)
    for said in answers(parent.request):
        parent.tell(said)
    os._exit(0)  # whatever threads the libraries have


if __name__ == "__main__":
    main()
