"""Models and LoRAs by name: the catalogue, folders of this machine, and the Hugging Face Hub with its cache.

What is named is looked up (:func:`find_model`, :func:`find_lora`), had on this machine (:func:`ensure`) and told
to a session (:func:`source`), which reads local files only.
"""

from __future__ import annotations

from batch.hub.cache import cache_folder, decided_by, hub_cache, known_commit, offline_by, old_switches, used
from batch.hub.downloads import STALL_S, FetchOptions
from batch.hub.fetch import ensure
from batch.hub.loras import find_lora, lora_here
from batch.hub.mending import mend_snapshot
from batch.hub.models import find_model, here, source
from batch.hub.watch import INTERRUPTED

__all__ = [
    "INTERRUPTED",
    "STALL_S",
    "FetchOptions",
    "cache_folder",
    "decided_by",
    "ensure",
    "find_lora",
    "find_model",
    "here",
    "hub_cache",
    "known_commit",
    "lora_here",
    "mend_snapshot",
    "offline_by",
    "old_switches",
    "source",
    "used",
]
