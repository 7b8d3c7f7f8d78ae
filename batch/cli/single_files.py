"""What a checkpoint in one file is, in words for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.catalogue.single_files import KINDS

if TYPE_CHECKING:
    from batch.catalogue.model import Checkpoint


def single_file(found: Checkpoint) -> str:
    """What a checkpoint in one file is, with the ten digits that other programs show as its hash."""
    if not found.sha256:
        return f"{found.source.replace('@/', '/')}, not on this machine yet: `fetch` downloads it"
    where = f" of {found.source}" if found.source else ""
    return f"{KINDS[found.kind]} in one file [{found.sha256[:10]}], stored in {found.precision}{where}"
