"""What models need of the Hub, looked up and had on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch.base.errors import DownloadError, ModelError
from batch.catalogue import weights
from batch.catalogue.model import Model
from batch.hub import cache, folders, remote
from batch.hub.downloads import RepoFiles
from batch.hub.fetch import fetch
from batch.hub.mending import mend

if TYPE_CHECKING:
    from batch.hub.downloads import FetchOptions


def ensure(models: Iterable[Model], how: FetchOptions) -> list[RepoFiles]:
    """Have what these models need on this machine; what was downloaded. Asks nobody where all is here.

    Raises :class:`ModelError` for a repository that is not there, not open to the user or not safe to load,
    :class:`UserError` when the disk is too small, :class:`DownloadError` when the network fails.
    """
    remote_ones = [model for model in models if model.repo and not model.random]
    return fetch([item for model in remote_ones if (item := look_up(model, how)) is not None], how)


def look_up(model: Model, how: FetchOptions) -> RepoFiles | None:
    """What a model needs, as its repository is listed; None where it is not, and the snapshot looks whole."""
    here = cache.snapshot(model.repo, model.revision)
    listed = remote.listed(model.repo, model.revision)
    held = model.held
    if listed is None and (loaded := folders.whole(here, model.dtype, model.variant, held)) is not None:
        _check_safe(model, loaded)
        if not how.exact:
            return None
        try:
            listed = remote.sizes(model.repo, model.revision)
        except (ModelError, DownloadError):
            if not how.check:
                return None
            files = dict.fromkeys(sorted(loaded.files))
            return RepoFiles(name=model.name, repo=model.repo, commit=model.revision, files=files)
    listed = listed or remote.sizes(model.repo, model.revision)
    mend(RepoFiles(name=model.name, repo=model.repo, commit=model.revision, files=dict(listed)), how)
    index = remote.reader(model.repo, model.revision)(weights.INDEX)
    if index is None:
        raise ModelError(f"{model.repo} holds no diffusers model (no {weights.INDEX})")
    found = _wanted(model, index, listed, here)
    _check_safe(model, found)
    return RepoFiles(
        name=model.name,
        repo=model.repo,
        commit=model.revision,
        files={file: listed[file] for file in sorted(found.files) if file in listed},
    )


def _wanted(model: Model, index: Mapping[str, Any], listed: Mapping[str, int], here: Path) -> weights.Needs:
    """What a session loads; where the same weights are here in another precision, and whole, those."""
    wanted = weights.of(index, listed, variant=model.variant or None, dtype=model.dtype, held=model.held)
    present = set(cache.names_in(here))
    if wanted.files <= present:
        return wanted
    for variant in ("", folders.needs_of(here, held=model.held).variant):
        other = weights.of(index, listed, variant=variant, held=model.held)
        if other.files <= present and set(other.pickled) <= set(wanted.pickled):
            return other
    return wanted


def _check_safe(model: Model, found: weights.Needs) -> None:
    weights.check(model.name, found, pickles=model.allow_pickle, trusted=model.trust_remote_code)
