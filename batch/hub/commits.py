"""Which commit of a repository is meant: as the cache knows it, or as the Hub says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from batch.base.errors import DownloadError, ModelError
from batch.catalogue.repositories import COMMIT
from batch.hub import cache, remote

MAIN = "main"

Usable = Callable[[Path], bool]
"""Whether a snapshot's folder holds all that is wanted of it."""


def pinned(name: str, revisions: Mapping[str, str]) -> str:
    """The commit that a name says itself, else the one that an earlier run has pinned; "" where neither does."""
    wanted = name.partition("@")[2]
    return wanted if COMMIT.fullmatch(wanted) else revisions.get(name, "")


def commit_of(repo: str, wanted: str, usable: Usable, *, online: bool, newest: bool = False) -> str:
    """The commit that a revision means; "" where it is not known and, not ``online``, nobody may be asked.

    The cache decides, else the Hub; with ``newest`` the Hub is asked of every branch and tag. Where it may not be
    (``HF_HUB_OFFLINE``) and the cache has lost what its main is, the only ``usable`` snapshot is taken. Raises
    :class:`ModelError` and :class:`DownloadError`.
    """
    known, offline = cache.known_commit(repo, wanted), cache.offline_by()
    if online and newest and not offline and not COMMIT.fullmatch(wanted):
        try:
            return remote.commit_of(repo, wanted)
        except DownloadError as error:
            if not known:
                raise
            raise DownloadError(
                f"what '{wanted}' of {repo} is now is not known: the Hub does not answer. Run the same command "
                f"again, or set HF_HUB_OFFLINE=1 to take what it was when it was downloaded ({known[:12]})"
            ) from error
    if known:
        return known
    if offline and wanted == MAIN and not COMMIT.fullmatch(cache.reference(repo, wanted)):
        found = _usable(repo, usable)
        if len(found) == 1:
            return found[0]
    if not online:
        return ""
    if offline and (said := undecided(repo, wanted, usable)):
        raise ModelError(said)
    return remote.commit_of(repo, wanted)


def _usable(repo: str, usable: Usable) -> list[str]:
    folders = (cache.cache_folder(repo) / "snapshots").glob("*")
    return sorted(folder.name for folder in folders if COMMIT.fullmatch(folder.name) and usable(folder))


def lost(repo: str, wanted: str) -> str:
    """What is wrong with what the cache says of a branch or tag."""
    told = cache.reference(repo, wanted)
    if COMMIT.fullmatch(told):
        return f"it says that '{wanted}' is {told[:12]}, which is not here"
    return f"refs/{wanted} is {'damaged' if told else 'missing'}"


def undecided(repo: str, wanted: str, usable: Usable) -> str:
    """What to say where snapshots are here, and which one is meant is not known; "" where none is here."""
    found = _usable(repo, usable)
    if not found:
        return ""
    offline = cache.offline_by()
    remedy = f", and {offline} forbids asking the Hub" if offline else "; `fetch` asks the Hub"
    return (
        f"{repo} is on this machine, but the cache does not say which commit '{wanted}' is ({lost(repo, wanted)})"
        f"{remedy}. By its commit it can be named: {' or '.join(f'{repo}@{commit}' for commit in found)}"
    )
