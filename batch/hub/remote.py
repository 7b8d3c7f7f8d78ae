"""What this process asks the Hub: names, sizes and small files. Everything large is the child's.

The client of the Hub is imported where it is used, because that takes a second.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from batch.base.errors import UserError
from batch.catalogue import configs, modular
from batch.hub import folders
from batch.hub.cache import empty_places, hub_cache, note, offline_by, snapshot
from batch.hub.refusals import ELSEWHERE, refusal


def client() -> Any:
    """The Hub's client, without its word on old switches, which are answered by ourselves."""
    for name in empty_places():
        del os.environ[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils  # it sets the level of what is logged, which is set below

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # what went wrong is told in our words
    return huggingface_hub


@contextmanager
def _asking(repo: str, revision: str) -> Iterator[None]:
    folder = hub_cache()
    check_token()
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
        commit = str(client().HfApi().model_info(repo, revision=wanted).sha)
        with suppress(OSError):  # a cache that only others may write
            note(repo, wanted, commit)
        return commit


def check_token() -> None:
    """Refuse a token that no request can carry, or none was ever like. Raises :class:`UserError`."""
    constants = client().constants
    if offline_by() or constants.HF_HUB_DISABLE_IMPLICIT_TOKEN or os.environ.get("HF_OIDC_RESOURCE"):
        return
    where = next((name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)), "")
    token = os.environ.get(where, "").strip()
    if not token:
        path = Path(constants.HF_TOKEN_PATH)
        where = f"the file {constants.HF_TOKEN_PATH}"
        try:
            token = path.read_bytes().decode(errors="replace").strip()
        except FileNotFoundError:
            token = ""
        except OSError as error:
            raise UserError(
                f"the token in {path} cannot be read: {error.strerror}; `hf auth login` writes it anew"
            ) from None
    if token and not _TOKEN.fullmatch(token):
        raise UserError(
            f"{where} holds characters that no token has (blanks, quotes, line ends, other than ASCII): copy the "
            "token anew from https://huggingface.co/settings/tokens, it is one word"
        )


_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")


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


def reader(repo: str, commit: str) -> configs.Read:
    """Configuration files of a commit by their path; see :func:`batch.catalogue.modular.translated`."""
    here = snapshot(repo, commit)

    def read(path: str) -> configs.Config | None:
        if path == modular.CLASSIC and (here / modular.INDEX).is_file() and not (here / path).is_file():
            return None  # it was asked for before the other one, and is not there
        found = file(repo, commit, path)
        return folders.json_of(found) if found is not None else None

    return modular.translated(read)


def sizes(repo: str, commit: str) -> Mapping[str, int]:
    """The files of a commit with their sizes in bytes: as an earlier download listed them, else from the Hub."""
    return listed(repo, commit) or _asked(str(hub_cache()), repo, commit)[0]


def listed(repo: str, commit: str) -> Mapping[str, int] | None:
    """The same as an earlier download has listed them; asks nobody."""
    hub = client()
    try:
        return _by_path(hub.get_cached_repo_tree(repo, revision=commit, cache_dir=hub_cache()))
    except hub.errors.CachedRepoTreeNotFoundError:
        return None


def hashes(repo: str, commit: str) -> Mapping[str, str]:
    """The sha256 of the large files of a commit; asks the Hub."""
    return _asked(str(hub_cache()), repo, commit)[1]


@cache
def _asked(_cache: str, repo: str, commit: str) -> tuple[Mapping[str, int], Mapping[str, str]]:
    with _asking(repo, commit):
        items = list(client().HfApi().list_repo_tree(repo, recursive=True, revision=commit))
    return _by_path(items), {item.path: item.lfs.sha256 for item in items if getattr(item, "lfs", None)}


def _by_path(items: Any) -> dict[str, int]:
    return {item.path: int(item.size) for item in items if hasattr(item, "size")}
