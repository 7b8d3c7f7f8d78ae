"""Single files with weights: where they are by their names, on this machine or on the Hub, and their content."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from batch.base import checksums
from batch.base.errors import ModelError
from batch.catalogue.repositories import is_repository
from batch.catalogue.single_files import GGUF, PICKLED, SUFFIXES
from batch.hub import fetch, pickles, remote
from batch.hub.cache import snapshot
from batch.hub.commits import MAIN, commit_of, pinned
from batch.hub.downloads import RepoFiles
from batch.hub.mending import mend_snapshot

if TYPE_CHECKING:
    from batch.base.checksums import Tell
    from batch.hub.downloads import FetchOptions
    from batch.hub.pickles import Acceptance


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """How files are looked for: where, at which commits, and who is told what takes long."""

    base: Path
    """Paths are relative to it."""
    revisions: Mapping[str, str]
    """Commits that an earlier run has pinned, by name."""
    fetching: FetchOptions | None = None
    """How files of the Hub are downloaded that are not here; None asks nobody."""
    tell: Tell = checksums.untold
    accepts: Acceptance | None = None
    """What is accepted of a pickle; None refuses every one."""


@dataclass(frozen=True, slots=True)
class Located:
    """A file by its name: here, or on the Hub."""

    path: Path | None
    """None where it is not on this machine."""
    source: str = ""
    """Of one from the Hub: ``owner/name@commit/file``, without a commit that is not known."""


def is_named(name: str) -> bool:
    """Whether a name is that of a file with weights, and not of a folder, a repository or the catalogue."""
    path = urlsplit(name).path if name.startswith("https://") else name.partition("@")[0]
    return Path(path).suffix.lower() in (*SUFFIXES, *PICKLED, GGUF)


def local(base: Path, name: str) -> Path:
    """A path of this machine; one under ``~`` of nobody who is known here stays as it is written."""
    try:
        return base / Path(name).expanduser()
    except RuntimeError:
        return base / name


def locate(name: str, looking: Looking) -> Located:
    """Where a file is, downloaded if it may be.

    Raises :class:`ModelError` where there is none of that name, and for a pickle that is not accepted.
    """
    name = _plain(name)
    path = local(looking.base, name)
    if path.is_file():
        if pickles.is_pickle(path):
            _acceptance(name, looking).check_local()
        return Located(path.absolute())
    parts = name.partition("@")[0].split("/")
    repo, inner = "/".join(parts[:2]), "/".join(parts[2:])
    is_path = name.startswith((".", "~")) or Path(name).is_absolute() or {"", ".", ".."} & {*parts}
    if inner and is_repository(repo) and not is_path and not (looking.base / parts[0]).exists():
        refuse_unread(name, Path(inner))
        return _of_hub(name, repo, inner, looking)
    meant = beside(looking.base, name)
    raise ModelError(f"there is no file {path}; did you mean {meant}?" if meant else _missing(path, Path(name)))


def _plain(name: str) -> str:
    """The address of a file on the Hub's pages as its name; any other name as it is."""
    found = re.fullmatch(
        r"https://(?:huggingface\.co|hf\.co)/([^/]+/[^/]+)/(?:blob|resolve|raw)/([^/]+)/(.+)", name
    )
    if found is None:
        return name
    repo, revision, inner = found.groups()
    at = "" if revision == MAIN else f"@{unquote(revision)}"
    return f"{repo}/{unquote(inner.partition('?')[0])}{at}"


FOLDERS = ("", "models", "checkpoints", "models/Stable-diffusion", "models/checkpoints")
"""Where checkpoints lie, below the manifest's folder: as people put them there, or as other programs have them."""


def beside(base: Path, name: str) -> str:
    """Where a checkpoint named without its folder lies, as a manifest in ``base`` has it; "" for nowhere."""
    places = () if {"/", "\\"} & {*name} else FOLDERS
    return next(((Path(inner) / name).as_posix() for inner in places if (base / inner / name).is_file()), "")


def _missing(path: Path, name: Path) -> str:
    """What to say of a file that is not there; ``name`` is how it is written."""
    if path.is_symlink():
        return f"{path} is a link to {path.readlink()}, which is not there"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    if {"*", "?"} & {*path.name}:
        fits = sorted(item.name for item in path.parent.glob(path.name) if item.is_file())
        return f"{name} is a pattern and names no file; {in_a_list(name.parent, fits) or 'none fits it'}"
    if begun := [item.name for item in path.parent.glob("*") if is_unfinished(item) and item.stem == path.name]:
        return f"there is no file {path}, but {begun[0]}: its download has not finished"
    there = [item.name for item in path.parent.iterdir() if is_named(item.name) and item.is_file()]
    near = get_close_matches(path.name, there, 1) or [item for item in there if Path(item).stem == path.stem]
    return f"there is no file {path}" + (f"; did you mean {near[0]}?" if near else "")


def in_a_list(folder: Path, files: Sequence[str]) -> str:
    """How to name several files of a folder; "" for none."""
    first = ", ".join((folder / file).as_posix() for file in files[:_SHOWN])
    return f"name them in a list: [{first}{', …' if len(files) > _SHOWN else ''}]" if files else ""


_SHOWN = 3


def is_unfinished(path: Path) -> bool:
    """Whether a file is called as browsers and other programs call a download that is under way."""
    return path.suffix.lower() in (".crdownload", ".part", ".partial", ".download", ".incomplete", ".aria2")


def _of_hub(name: str, repo: str, inner: str, looking: Looking) -> Located:
    fetching, wanted = looking.fetching, name.partition("@")[2]
    pin = pinned(name, looking.revisions)
    commit = pin or commit_of(
        repo,
        wanted or MAIN,
        lambda folder: (folder / inner).is_file(),
        online=fetching is not None,
        newest=fetching is not None and fetching.newest and bool(wanted),
    )
    if pickles.is_pickle(inner):
        _acceptance(name, looking).check_of_hub(repo, inner, wanted or MAIN, commit, pin=bool(pin))
    if commit and fetching is not None:
        mend_snapshot(repo, commit, name, fetching)
    if commit and fetching is not None and (fetching.check or not (snapshot(repo, commit) / inner).is_file()):
        listed = remote.sizes(repo, commit)
        if inner not in listed:
            there = sorted(file for file in listed if is_named(file))
            near = get_close_matches(inner, there, 1)
            hint = f"did you mean {repo}/{near[0]}?" if near else f"there are {', '.join(there[:20]) or 'none'}"
            raise ModelError(f"{repo} holds no {inner}; {hint}")
        wants = RepoFiles(name=name, repo=repo, commit=commit, files={inner: listed[inner]})
        fetch.fetch([wants], fetching)
    path = snapshot(repo, commit) / inner if commit else None
    return Located(path.absolute() if path and path.is_file() else None, f"{repo}@{commit}/{inner}")


def refuse_unread(name: str, path: Path) -> None:
    """Raise :class:`ModelError` for a kind of files that is never read."""
    if path.suffix.lower() == GGUF:
        raise ModelError(
            f"{name} is a GGUF, which is not read; take the model in safetensors, whole or in fp8. Here "
            "`memory: fp8_weights` or `quantize(torchao_int8)` makes it as small"
        )


def _acceptance(name: str, looking: Looking) -> Acceptance:
    if looking.accepts is None:
        raise pickles.refusal(name)
    return looking.accepts


def content(path: Path, tell: Tell) -> str:
    """The SHA-256 of a file. Raises :class:`ModelError` where it cannot be read."""
    try:
        return checksums.of(path, tell)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None
