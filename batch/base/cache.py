"""Where this program keeps what it can make again: embeddings, predictions, compiled models, copies of pickles."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def default_folder() -> Path:
    """``RUN_BATCH_CACHE``, or the user's cache folder; an empty variable is as good as none."""
    named = os.environ.get("RUN_BATCH_CACHE", "").strip()
    return Path(named) if named else user_cache_path("run_batch", appauthor=False)
