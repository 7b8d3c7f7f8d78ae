"""Errors of the Hub's client in words that say what a user can do."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import disk
from batch.base.errors import DownloadError, ModelError, UserError, chain
from batch.hub.cache import hub_cache, offline_by

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_CLIENT = {"huggingface_hub", "httpx", "httpx2", "httpcore", "httpcore2", "hf_xet"}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


def refusal(error: Exception, repo: str, revision: str) -> Exception:
    """What to raise for an error of the Hub's client: what happened and what the user can do.

    The client's own texts are left out, because they name addresses, which may be signed. An error that is
    not about the Hub or the disk is raised again as it is.
    """
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    causes = list(chain(error))
    for cause in causes:
        if isinstance(cause, OfflineModeIsEnabled):
            switch = offline_by() or "HF_HUB_OFFLINE"  # the client's own, where it was set before it was imported
            return ModelError(f"{repo} is not complete on this machine, and {switch} forbids asking the Hub")
        if isinstance(cause, HfHubHTTPError) and (said := _said(cause, repo, revision)):
            return ModelError(said)
        if disk.is_full(cause) or disk.says_full(str(cause)):
            return full()
        if isinstance(cause, OSError) and cause.errno in _DENIED:
            return denied(cause)
    if not any(isinstance(item, OSError) or _room(item) in _CLIENT for item in causes):
        raise error
    return incomplete(repo, reason(error))


def reason(error: BaseException) -> str:
    """Why asking the Hub failed, in words without addresses."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    causes = list(chain(error))
    status = next((cause.response.status_code for cause in causes if isinstance(cause, HfHubHTTPError)), None)
    if status:
        return f"the Hub answers {status}"
    network = _CLIENT - {"huggingface_hub", "hf_xet"}
    if any(isinstance(cause, LocalEntryNotFoundError) or _room(cause) in network for cause in causes):
        return "the Hub cannot be reached"
    return f"the download failed ({type(error).__name__})"


def _room(error: BaseException) -> str:
    return type(error).__module__.split(".")[0]


def incomplete(repo: str, why: str) -> DownloadError:
    """A network that fails: the same command again may do."""
    return DownloadError(
        f"{repo} is not complete on this machine, and {why}. Check the network and run the same command again: "
        "files that are complete are kept. Behind a proxy set HTTPS_PROXY"
    )


ELSEWHERE = "Name a folder on another disk with --cache-dir, or set HF_HOME (or HF_HUB_CACHE) to one"


def denied(error: OSError) -> UserError:
    """A folder that this user must not write to, or nobody."""
    place, file = hub_cache(), Path(error.filename or "")
    if not error.filename or place.absolute() in (file, *file.parents):
        return UserError(f"the folder for models, {place}, cannot be written: {error.strerror}. {ELSEWHERE}")
    return UserError(f"{file} cannot be read or written: {error.strerror}")


def full() -> UserError:
    """The disk of the cache is full."""
    return UserError(
        f"the disk of {hub_cache()}, where models are kept, is full; files that are complete are kept. Make room. "
        f"{ELSEWHERE}, for this command and for the run"
    )


def _said(error: HfHubHTTPError, repo: str, revision: str) -> str:
    """What an answer of the Hub means, if it is one that the user can do something about."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page, known = f"https://huggingface.co/{repo}", _with_token(error)
    if isinstance(error, GatedRepoError):
        if known and error.response.status_code != 401:
            return (
                f"{repo} is gated, and the account of the token that is set has no access to it: accept its terms "
                f"at {page} with that account, and wait where somebody must agree; a fine-grained token must also "
                "be allowed to read gated repositories"
            )
        return f"{repo} is gated: accept its terms at {page}, then log in with `hf auth login` or set HF_TOKEN"
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no revision '{revision}'; see {page}/commits/main"
    if isinstance(error, RepositoryNotFoundError):
        private = "a private one must be open to the account of the token that is set"
        login = "for a private one log in with `hf auth login` or set HF_TOKEN"
        return (
            f"{repo} is not on the Hub, or it is private: check the name at {page}; {private if known else login}"
        )
    if isinstance(error, EntryNotFoundError):
        return f"{repo} holds no diffusers model (no model_index.json)"
    if error.response.status_code == 403:
        return (
            f"the Hub refuses {repo} (403): the account of the token that is set has no access; see {page} with "
            "that account, or give HF_TOKEN a token that may read it"
        )
    if error.response.status_code == 401:
        return (
            f"the Hub refuses {repo} with the token that is set (401): log in anew with `hf auth login`, or give "
            "HF_TOKEN a token that may read it"
        )
    return ""


def _with_token(error: HfHubHTTPError) -> bool:
    """Whether the request that was refused carried one."""
    try:
        return "authorization" in error.response.request.headers
    except RuntimeError:  # a response without its request
        return False
