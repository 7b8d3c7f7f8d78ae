"""The folders the program writes to: where they are, what is free there, and how they are moved."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from batch.base import disk
from batch.base.cache import default_folder
from batch.hub import cache
from batch.hub.cache import hub_cache
from batch.manifest.schema import RunOptions
from batch.upkeep.examination import Note, Purpose, Storage

ROOM_FOR_A_MODEL = 20 * 2**30
"""Bytes: SANA takes 10 GiB, Flux 32 GiB. With less, how to move the models is said."""


def places() -> tuple[Storage, ...]:
    """The folders with what is free in them."""
    pictures, models = Path("outputs").absolute(), hub_cache()
    here, elsewhere = cache.decided_by(), "--cache-dir, HF_HUB_CACHE or HF_HOME"
    own = "RUN_BATCH_CACHE"
    set_by = own if os.environ.get(own, "").strip() else ""
    used = 0  # by the models, of which links count nothing
    for root, _, names in os.walk(models):
        for name in names:
            with suppress(OSError):
                used += os.lstat(f"{root}/{name}").st_size
    return (
        _storage(Purpose.PICTURES, pictures, moved_by="--out"),
        _storage(Purpose.MODELS, models, moved_by=elsewhere, decided_by=here, used=used),
        _storage(Purpose.EMBEDDINGS, default_folder(), moved_by=own, decided_by=set_by),
    )


def _storage(
    purpose: Purpose, folder: Path, *, moved_by: str, decided_by: str = "", used: int | None = None
) -> Storage:
    free = disk.free(folder)
    return Storage(what=purpose, path=str(folder), free=free, moved_by=moved_by, decided_by=decided_by, used=used)


def notes(places: Sequence[Storage]) -> list[Note]:
    """What cannot be written, and where it is too full."""
    told = []
    floor = RunOptions().min_free_disk
    for place in places:
        if place.free is None or not disk.writable(Path(place.path)):
            text = f"{place.path} cannot be written ({place.what})"
            told.append(Note(text=text, remedy=f"name another folder with {place.moved_by}", stops=True))
        elif place.what is Purpose.PICTURES and place.free < floor:
            text = (
                f"{place.free / 2**30:.1f} GiB are free for pictures, less than run.min_free_disk "
                f"({floor / 2**30:.0f} GiB unless the manifest says otherwise): a run stops before it begins"
            )
            told.append(
                Note(text=text, remedy="make room, or name a folder on another disk with --out", stops=True)
            )
        elif place.what is Purpose.MODELS and place.free < ROOM_FOR_A_MODEL:
            text = (
                f"{place.free / 2**30:.1f} GiB are free for models in {place.path}, and one takes 5 to 30 GiB. To "
                "move them: make a folder on a larger disk, move what is in this one there, and set HF_HUB_CACHE "
                "to it for good; or name it with --cache-dir each time"
            )
            profile = "~/.zprofile" if sys.platform == "darwin" else "~/.profile"
            for_good = f"echo 'export HF_HUB_CACHE=/mnt/large/models' >> {profile}    (then log in anew)"
            if os.name == "nt":
                for_good = 'setx HF_HUB_CACHE "D:\\models"    (then open a new terminal)'
            told.append(Note(text=text, remedy=for_good))
    return told
