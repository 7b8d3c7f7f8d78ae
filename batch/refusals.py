"""Errors of the Hub's client in words that say what a user can do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING

from batch.errors import DownloadError, ModelError, UserError

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}
_CLIENT = {"huggingface_hub", "httpx", "httpx2", "httpcore", "httpcore2", "hf_xet"}


def refusal(error: Exception, repo: str, revision: str) -> Exception:
    """What to raise for an error of the Hub's client: what happened and what the user can do.

    The client's own texts are left out, because they name addresses, which may be signed. An error that is
    not about the Hub or the disk is raised again as it is.
    """
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, OfflineModeIsEnabled):
            return ModelError(f"{repo} is not complete on this machine, and HF_HUB_OFFLINE forbids asking the Hub")
        if isinstance(cause, HfHubHTTPError) and (said := _said(cause, repo, revision)):
            return ModelError(said)
        if isinstance(cause, OSError) and cause.errno in _DISK:
            return UserError(f"{cause.filename or 'the cache of the Hub'} cannot be written: {cause.strerror}")
    status = next((cause.response.status_code for cause in causes if isinstance(cause, HfHubHTTPError)), None)
    if not any(isinstance(item, OSError) or type(item).__module__.split(".")[0] in _CLIENT for item in causes):
        raise error
    return DownloadError(
        f"{repo} is not complete on this machine, and the Hub "
        + (f"answers {status}" if status else "cannot be reached")
        + ". Check the network and run the same command again: files that are complete are kept. Behind a proxy "
        "set HTTPS_PROXY"
    )


def _said(error: HfHubHTTPError, repo: str, revision: str) -> str:
    """What an answer of the Hub means, if it is one that the user can do something about."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"https://huggingface.co/{repo}"
    if isinstance(error, GatedRepoError):
        return f"{repo} is gated: accept its terms at {page}, then log in with `hf auth login` or set HF_TOKEN"
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no revision '{revision}'; see {page}/commits/main"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{repo} is not on the Hub, or it is private: check the name at {page}; for a private one log in with "
            "`hf auth login` or set HF_TOKEN"
        )
    if isinstance(error, EntryNotFoundError):
        return f"{repo} holds no diffusers model (no model_index.json)"
    if error.response.status_code in (401, 403):
        return (
            f"the Hub refuses {repo} with the token that is set ({error.response.status_code}): log in anew with "
            "`hf auth login`, or give HF_TOKEN a token that may read it"
        )
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
