"""How a plan finds what it names: model folders, the Hub's cache, the Hub itself, random seeds, the clock."""

from __future__ import annotations

import secrets
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.checksums import untold
from batch.catalogue.model import Model
from batch.catalogue.repositories import is_repository
from batch.hub.autoencoders import find_vae
from batch.hub.cache import known_commit
from batch.hub.commits import MAIN, pinned
from batch.hub.files import Looking
from batch.hub.loras import find_lora
from batch.hub.mending import mend_snapshot
from batch.hub.models import find_model
from batch.hub.permissions import Permissions
from batch.plan.found import Lookup
from batch.records.events import Downloading

if TYPE_CHECKING:
    from batch.base.checksums import Tell
    from batch.hub.downloads import FetchOptions
    from batch.plan.pins import Pins

_NOTHING = Permissions()


def lookup(
    folder: str,
    pins: Pins,
    *,
    online: FetchOptions | None = None,
    permissions: Permissions = _NOTHING,
    tell: Tell = untold,
) -> Lookup:
    """How a plan finds what it names. ``folder`` is the manifest's: model folders are relative to it.

    ``online`` allows asking the Hub for a revision and the configuration files that neither pins nor cache
    hold, and downloading LoRAs and checkpoints in one file, whose content decides what a picture is. ``tell`` is
    told when such a file is read whole or converted.
    """

    def waiting(text: str) -> None:
        if online is None:
            tell(text)
        else:
            online.listener.on(Downloading(text))

    def model(name: str) -> Model:
        repo, _, wanted = name.partition("@")
        if online and is_repository(repo):
            commit = pinned(name, pins.revisions) or known_commit(repo, wanted or MAIN)
            if commit:  # before its configuration files are read: a power failure may have cut them off
                mend_snapshot(repo, commit, name, online)
        return find_model(
            name,
            Path(folder),
            pins.revisions,
            online=bool(online),
            newest=online is not None and online.newest,
            permissions=permissions,
            fetching=online,
            tell=waiting,
        )

    looking = Looking(base=Path(folder), revisions=pins.revisions, fetching=online, tell=waiting)
    return Lookup(
        model=model,
        vae=lambda name: find_vae(name, looking),
        lora=lambda name: find_lora(name, Path(folder), pins.revisions, online or None),
        draw=lambda count: tuple(secrets.randbelow(2**32) for _ in range(count)),
        now=lambda: datetime.now().astimezone().isoformat(timespec="seconds"),
    )
