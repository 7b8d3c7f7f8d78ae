"""LoRAs: files of this machine, or of the Hub as ``owner/name[/folder][/file.safetensors][@revision]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import regular
from batch.base.errors import ModelError
from batch.catalogue import tensors
from batch.catalogue.families import LORA_OF_TEXTS
from batch.catalogue.repositories import is_repository, problem
from batch.hub import fetch, folders, remote
from batch.hub.cache import snapshot
from batch.hub.commits import MAIN, commit_of, pinned
from batch.hub.downloads import RepoFiles
from batch.records.tasks import Lora, lora_origin

if TYPE_CHECKING:
    from batch.hub.downloads import FetchOptions

SUFFIX = ".safetensors"


def find_lora(name: str, base: Path, revisions: Mapping[str, str], online: FetchOptions | None) -> Lora:
    """The LoRA of that name at full strength; files are relative to ``base``.

    One of the Hub is downloaded where it is not here and ``online`` says how; without, its content is not known
    (:attr:`Lora.known`). Raises :class:`ModelError` when there is none of that name.
    """
    file = base / name
    if file.is_file():
        if file.suffix != SUFFIX:
            raise ModelError(f"{name} is not a {SUFFIX} file")
        return _of(file)
    path, _, wanted = name.partition("@")
    parts = path.split("/")
    repo, inner = "/".join(parts[:2]), "/".join(parts[2:])
    is_path = name.startswith((".", "/", "~")) or "\\" in name or Path(name).is_absolute()
    meant = not is_path and (not inner or inner.endswith(SUFFIX))
    if meant and len(parts) == 2 and parts[1].endswith(SUFFIX):
        raise ModelError(f"there is no file {file}")
    if meant and (wrong := problem(f"{repo}{name[len(path) :]}")):
        raise ModelError(f"there is no file {file}, and {wrong}")
    if not meant or not is_repository(repo):
        kind = f"there is no file {file}" if file.suffix == SUFFIX else f"{name} is not a {SUFFIX} file"
        raise ModelError(f"{kind}, nor a repository of the Hub (owner/name or owner/name/file{SUFFIX})")
    return _of_hub(name, repo, inner, wanted, revisions, online)


def lora_here(lora: Lora) -> Lora:
    """A LoRA of the Hub where the cache is now; the same one where it is not there."""
    repo, commit, file = lora_origin(lora.source)
    if not is_repository(repo) or {"", ".", ".."} & {*file.split("/")} or {"\\", ":"} & {*file}:
        return lora  # of a receipt that leads out of the cache
    path = snapshot(repo, commit) / file
    return replace(lora, path=str(path.absolute())) if path.is_file() else lora


def _of_hub(
    name: str,
    repo: str,
    inner: str,
    wanted: str,
    revisions: Mapping[str, str],
    online: FetchOptions | None,
) -> Lora:
    commit = pinned(name, revisions) or commit_of(
        repo,
        wanted or MAIN,
        lambda folder: bool((folder / inner).is_file() if inner else _only_here(folder)),
        online=online is not None,
        newest=online is not None and online.newest and bool(wanted),
    )
    here = snapshot(repo, commit)
    if commit and online is not None:
        inner = _fetched(name, repo, commit, inner, online)
    elif commit and not inner:
        inner = _only_here(here)
    source = f"{repo}@{commit}/{inner}" if commit and inner else ""
    if not source or not (here / inner).is_file():
        return Lora(path=name, sha256=None, source=source)
    return _of(here / inner, source)


def _fetched(name: str, repo: str, commit: str, inner: str, online: FetchOptions) -> str:
    """The file of a repository, once it is here."""
    listed = remote.listed(repo, commit)
    if listed is None and inner and (snapshot(repo, commit) / inner).is_file():
        return inner
    listed = listed or remote.sizes(repo, commit)
    if not inner:
        found = [path for path in listed if path.endswith(SUFFIX) and "/" not in path]
        if len(found) != 1:
            raise ModelError(
                f"{repo} holds {len(found) or 'no'} {SUFFIX} files at its top, so the LoRA must be named with its "
                f"file; {_choices(listed)}"
            )
        inner = found[0]
    if inner not in listed:
        raise ModelError(f"{repo} holds no {inner}; {_choices(listed)}")
    fetch.fetch([RepoFiles(name=name, repo=repo, commit=commit, files={inner: listed[inner]})], online)
    return inner


def _choices(names: Mapping[str, int]) -> str:
    found = sorted(path for path in names if path.endswith(SUFFIX))
    more = f" and {len(found) - 20} more" if len(found) > 20 else ""
    return f"there are {', '.join(found[:20])}{more}" if found else "there is none in it"


def _only_here(folder: Path) -> str:
    found = [path.name for path in folder.glob(f"*{SUFFIX}")]
    return found[0] if len(found) == 1 else ""


def _of(file: Path, source: str = "") -> Lora:
    # A snapshot's file is a link to its blob, which has no name that diffusers could tell a format from.
    path = file.absolute() if source else file.resolve()
    try:
        sha256 = folders.sampled(file)
        with regular.opened(file) as stream:
            in_text = any(LORA_OF_TEXTS.match(name) for name in tensors.header(stream).tensors)
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} is no safetensors file: {error}") from None
    return Lora(path=str(path), sha256=sha256, in_text=in_text, source=source)
