"""What this process asks the Hub: names, sizes and small files. Everything large is the child's.

The client of the Hub is imported where it is used, because that takes a second.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from batch.errors import UserError
from batch.hub.cache import hub_cache, snapshot
from batch.hub.refusals import ELSEWHERE, refusal


def client() -> Any:
    """The Hub's client, without its word on old switches, which are answered by ourselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # what went wrong is told in our words
    return huggingface_hub


@contextmanager
def _asking(repo: str, revision: str) -> Iterator[None]:
    folder = hub_cache()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # the client would go on, and fail somewhere else
        raise UserError(
            f"the folder for models, {folder}, cannot be made: {error.strerror}. {ELSEWHERE}"
        ) from None
    try:
        yield
    except Exception as error:
        raise refusal(error, repo, revision) from error


def commit_of(repo: str, wanted: str) -> str:
    """The commit that a branch or tag is now. Raises what :func:`refusal` makes of an error of the client."""
    with _asking(repo, wanted):
        found = client().HfApi().resolve_revision(repo, revision=wanted, cache_dir=hub_cache())
        return str(found.resolved)


def file(repo: str, commit: str, path: str) -> Path | None:
    """A small file of a commit, from the cache or from the Hub; None when the repository has none of that name."""
    here = snapshot(repo, commit) / path
    if here.is_file():
        return here
    with _asking(repo, commit):
        hub = client()
        try:
            return Path(hub.hf_hub_download(repo, path, revision=commit, cache_dir=hub_cache()))
        except hub.errors.RemoteEntryNotFoundError:
            return None


def sizes(repo: str, commit: str) -> Mapping[str, int]:
    """The files of a commit with their sizes in bytes: as an earlier download listed them, else from the Hub."""
    return listed(repo, commit) or _asked(str(hub_cache()), repo, commit)


def listed(repo: str, commit: str) -> Mapping[str, int] | None:
    """The same as an earlier download has listed them; asks nobody."""
    hub = client()
    try:
        return _by_path(hub.get_cached_repo_tree(repo, revision=commit, cache_dir=hub_cache()))
    except hub.errors.CachedRepoTreeNotFoundError:
        return None


@cache
def _asked(_cache: str, repo: str, commit: str) -> Mapping[str, int]:
    with _asking(repo, commit):
        return _by_path(client().HfApi().list_repo_tree(repo, recursive=True, revision=commit))


def _by_path(items: Any) -> dict[str, int]:
    return {item.path: int(item.size) for item in items if hasattr(item, "size")}
