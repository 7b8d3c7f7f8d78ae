"""Names of models to models: the catalogue, local folders, and the Hugging Face Hub's cache.

A revision says which weights: for a Hub model the commit, for files on disk a hash of their content.
Hashing ten gigabytes takes longer than planning should, so large files are sampled: the header (which
in safetensors names every tensor) and blocks spread over the rest.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch.errors import DownloadError, ModelError, UserError
from batch.plan import Lookup, Pins
from batch.plan.catalogue import PIPELINE_FAMILY, Model, known_models, native_for
from batch.records import Lora, ModelSource

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_WHOLE = 32 * 2**20
_BLOCK = 2**16
_BLOCKS = 128


def lookup(folder: str, pins: Pins, *, online: bool) -> Lookup:
    """How a plan finds what it names. ``folder`` is the manifest's: model folders are relative to it.

    ``online`` allows one request to the Hub for a revision that neither pins nor cache know.
    """
    return Lookup(
        model=lambda name: find_model(name, Path(folder), pins.revisions, online=online),
        lora=lambda path, scale: _lora(path, scale, Path(folder)),
        draw=lambda count: tuple(secrets.randbelow(2**32) for _ in range(count)),
    )


def find_model(name: str, base: Path, revisions: Mapping[str, str], *, online: bool) -> Model:
    """The model of that name. Raises :class:`ModelError` when there is none that can be rendered."""
    known = known_models().get(name)
    if known is not None and known.package:
        return replace(known, revision=_folder_revision(_package_folder(known.package)))
    folder = Path(name) if Path(name).is_absolute() else base / name
    if known is None and (folder / "model_index.json").is_file():
        return _folder_model(name, folder)
    repo, _, wanted = name.partition("@")
    if known is None:
        known = next((model for model in known_models().values() if model.repo == repo), None)
        if known is None:
            raise ModelError(_unknown(name, folder))
        known = replace(known, name=name)
    revision = revisions.get(name) or _hub_revision(known.repo, wanted or "main", online=online)
    return replace(known, revision=revision)


def _unknown(name: str, folder: Path) -> str:
    if folder.is_dir():
        return f"the folder {folder} holds no diffusers model (no model_index.json)"
    names = ", ".join(known_models())
    return f"'{name}' is not known; write one of {names}, a SANA repository of the Hub, or a model's folder"


def source(model: Model) -> ModelSource:
    """Where a session loads the model from."""
    location = str(_package_folder(model.package)) if model.package else model.folder or model.repo
    return ModelSource(
        name=model.name,
        family=model.family,
        location=location,
        revision=model.revision if model.repo else "",
        variant=model.variant,
        overrides=model.overrides,
    )


def _package_folder(name: str) -> Path:
    return Path(str(resources.files("batch").joinpath("models", name)))


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise ModelError(f"{path} is not a configuration")
    return data


def _folder_model(name: str, folder: Path) -> Model:
    pipeline = str(_json(folder / "model_index.json").get("_class_name"))
    if pipeline not in PIPELINE_FAMILY:
        possible = ", ".join(PIPELINE_FAMILY)
        raise ModelError(f"{folder} holds a {pipeline}; only {possible} can be rendered so far")
    sample_size = int(_json(folder / "transformer" / "config.json").get("sample_size") or 32)
    return Model(
        name=name,
        family=PIPELINE_FAMILY[pipeline],
        folder=str(folder.resolve()),
        revision=_folder_revision(folder),
        sample_size=sample_size,
        native=native_for(sample_size),
    )


def _folder_revision(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(item for item in folder.rglob("*") if item.is_file() and item.suffix != ".md"):
        if any(part.startswith((".", "__")) for part in path.relative_to(folder).parts):
            continue
        total.update(f"{path.relative_to(folder).as_posix()}\0{_sampled(path)}\n".encode())
    return total.hexdigest()[:16]


def _sampled(path: Path) -> str:
    size = path.stat().st_size
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= _WHOLE:
            found.update(file.read())
        else:
            for index in range(_BLOCKS):
                file.seek((size - _BLOCK) * index // (_BLOCKS - 1))
                found.update(file.read(_BLOCK))
    return found.hexdigest()


def _lora(path: str, scale: float, base: Path) -> Lora:
    file = Path(path) if Path(path).is_absolute() else base / path
    if file.suffix != ".safetensors":
        raise ModelError(f"{path} is not a .safetensors file")
    if not file.is_file():
        raise ModelError(f"there is no file {file}")
    return Lora(path=str(file.resolve()), sha256=_sampled(file), scale=scale)


def _hub_revision(repo: str, wanted: str, *, online: bool) -> str:
    """The commit a revision means: from the local cache, else from the Hub; "" when not known."""
    if len(wanted) == 40 and set(wanted) <= set("0123456789abcdef"):
        return wanted
    hub = os.environ.get("HF_HUB_CACHE")
    home = os.environ.get("HF_HOME", str(Path.home() / ".cache" / "huggingface"))
    cache = Path(hub) if hub else Path(home) / "hub"
    reference = cache / f"models--{repo.replace('/', '--')}" / "refs" / wanted
    if reference.is_file():
        return reference.read_text(encoding="utf-8").strip()
    if not online:
        return ""
    from huggingface_hub import HfApi

    try:
        return str(HfApi().model_info(repo, revision=wanted, timeout=20).sha)
    except Exception as error:
        raise refusal(error, repo, wanted) from error


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
        + (f"answers {status}" if status else f"cannot be reached ({type(causes[-1]).__name__})")
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
