"""Models and LoRAs by name: the catalogue, folders of this machine, and the Hugging Face Hub with its cache.

What is named is looked up (:func:`lookup`, :func:`find_model`), had on this machine (:func:`ensure`) and told to a
session (:func:`source`), which reads local files only.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from batch.hub.cache import cache_folder, decided_by, hub_cache, known_commit, old_switches, used
from batch.hub.fetch import ensure, look_up, shown
from batch.hub.loras import find_lora, lora_here
from batch.hub.mending import mend_snapshot
from batch.hub.models import find_model, here, source
from batch.hub.orders import STALL_S, Download, Fetching, Teller
from batch.hub.randoms import RANDOM, RANDOM_REVISION
from batch.hub.watch import INTERRUPTED
from batch.plan import Lookup, Pins
from batch.plan.catalogue import Model
from batch.plan.repositories import is_repository

__all__ = [
    "INTERRUPTED",
    "RANDOM",
    "RANDOM_REVISION",
    "STALL_S",
    "Download",
    "Fetching",
    "Teller",
    "cache_folder",
    "decided_by",
    "ensure",
    "find_lora",
    "find_model",
    "here",
    "hub_cache",
    "known_commit",
    "look_up",
    "lookup",
    "lora_here",
    "old_switches",
    "shown",
    "source",
    "used",
]


def lookup(
    folder: str,
    pins: Pins,
    *,
    online: Fetching | None = None,
    allow_pickle: frozenset[str] = frozenset(),
    trust_remote_code: frozenset[str] = frozenset(),
) -> Lookup:
    """How a plan finds what it names. ``folder`` is the manifest's: model folders are relative to it.

    ``online`` allows asking the Hub for a revision and the configuration files that neither pins nor cache
    hold, and downloading LoRAs, whose content decides what a picture is. ``allow_pickle`` and
    ``trust_remote_code`` name the models for which that is accepted.
    """

    def model(name: str) -> Model:
        if online:
            _mend(name, pins, online)
        return find_model(
            name,
            Path(folder),
            pins.revisions,
            online=bool(online),
            newest=online is not None and online.newest,
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
        )

    return Lookup(
        model=model,
        lora=lambda name, scale: find_lora(name, scale, Path(folder), pins.revisions, online or None),
        draw=lambda count: tuple(secrets.randbelow(2**32) for _ in range(count)),
    )


def _mend(name: str, pins: Pins, online: Fetching) -> None:
    """Before its configuration files are read: a power failure may have cut them off."""
    repo, _, wanted = name.partition("@")
    if is_repository(repo):
        commit = pins.revisions.get(name) or known_commit(repo, wanted or "main")
        if commit:
            mend_snapshot(repo, commit, name, online)
