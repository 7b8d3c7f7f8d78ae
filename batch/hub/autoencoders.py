"""Autoencoders that a manifest names: files and folders of this machine, and repositories of the Hub."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.errors import ModelError
from batch.catalogue import autoencoders, weights
from batch.catalogue.autoencoders import Autoencoder
from batch.catalogue.denoisers import NotRecognised
from batch.catalogue.families import digest
from batch.catalogue.repositories import is_repository, problem
from batch.hub import elsewhere, fetch, folders, remote
from batch.hub.cache import names_in, snapshot
from batch.hub.commits import MAIN, commit_of, pinned
from batch.hub.downloads import RepoFiles
from batch.hub.files import content, is_named, local, locate
from batch.hub.single_files import header_of
from batch.records.tasks import Vae

if TYPE_CHECKING:
    from batch.hub.files import Located, Looking

CONFIG = "config.json"


def find_vae(name: str, looking: Looking) -> Autoencoder:
    """The autoencoder of that name. Raises :class:`ModelError` where there is none that is read.

    A file, a folder with a diffusers autoencoder or a model that has one, ``owner/name[@revision]`` of the Hub, or
    a file there. One of the Hub is downloaded where ``looking`` says how.
    """
    folder = local(looking.base, name)
    if folder.is_dir():
        return _in_folder(name, _inner(name, folder))
    if folder.is_file() or is_named(name):
        located = locate(name, looking)
        return _in_file(name, located, looking) if located.path else _absent(name, located.source)
    repo, _, wanted = name.partition("@")
    if wrong := problem(name):
        raise ModelError(wrong)
    if not is_repository(repo):
        raise ModelError(
            f"there is no file or folder {folder}, and {name} names no repository of the Hub (owner/name)"
        )
    return _of_hub(name, repo, wanted or MAIN, looking)


def _in_file(name: str, located: Located, looking: Looking) -> Autoencoder:
    assert located.path is not None
    header, _ = header_of(name, located.path)
    vae = Vae(name=name, path=str(located.path), sha256=content(located.path, looking.tell), source=located.source)
    try:
        return autoencoders.in_file(vae, header)
    except NotRecognised as error:
        raise ModelError(f"{name}: {error}") from None


def _inner(name: str, folder: Path) -> Path:
    """The folder of the autoencoder itself: this one, or that of a model's component."""
    found = next((place for place in (folder, folder / "vae") if _is_one(place)), None)
    if found is None:
        raise ModelError(
            f"{name} holds no autoencoder: neither {CONFIG} and weights of one, nor a model with vae/{CONFIG}"
        )
    return found


def _is_one(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and "Autoencoder" in str(
        folders.json_of(folder / CONFIG).get("_class_name")
    )


def _in_folder(name: str, folder: Path, source: str = "") -> Autoencoder:
    elsewhere.check_component(name, folder)
    files = _weights(path.name for path in folder.iterdir())
    if not files:
        raise ModelError(f"{name} is not complete: {folder} holds no weights in safetensors")
    folders.check_files(name, folder, files)
    config = folders.json_of(folder / CONFIG)
    found = digest([(file, content(folder / file, _quietly)) for file in sorted((CONFIG, *files))])
    vae = Vae(name=name, path=str(folder.absolute()), sha256=found, source=source)
    return autoencoders.in_configuration(vae, config)


def _quietly(_text: str) -> None:
    """An autoencoder is read in a second."""


def _absent(name: str, source: str) -> Autoencoder:
    return Autoencoder(vae=Vae(name=name, path=name, sha256=None, source=source))


def _of_hub(name: str, repo: str, wanted: str, looking: Looking) -> Autoencoder:
    fetching = looking.fetching
    commit = pinned(name, looking.revisions) or commit_of(
        repo,
        wanted,
        lambda folder: any(map(_is_one, (folder, folder / "vae"))),
        online=fetching is not None,
        newest=fetching is not None and fetching.newest and "@" in name,
    )
    here = snapshot(repo, commit)
    if commit and fetching is not None:
        listed = remote.sizes(repo, commit)
        files = _files(listed)
        if not files:
            raise ModelError(f"{repo} holds no autoencoder: neither {CONFIG} and its weights, nor vae/{CONFIG}")
        fetch.fetch(
            [RepoFiles(name=name, repo=repo, commit=commit, files={file: listed[file] for file in files})],
            fetching,
        )
    place = "vae" if "vae/config.json" in (names_in(here) if commit else ()) else ""
    source = f"{repo}@{commit}/{place}"
    return _in_folder(name, here / place, source) if commit and _is_one(here / place) else _absent(name, source)


def _files(listed: Iterable[str]) -> list[str]:
    """Of a repository's files those of its autoencoder: at its top, or of a model's component."""
    names = {name.removeprefix("vae/") for name in listed if name.startswith("vae/")}
    place = "vae/" if CONFIG in names else ""
    names = names if place else {name for name in listed if "/" not in name}
    found = _weights(names)
    return [f"{place}{name}" for name in (CONFIG, *found)] if CONFIG in names and found else []


def _weights(names: Iterable[str]) -> list[str]:
    """Of the files of a folder those that diffusers reads: there may be others, for other programs."""
    own = sorted(name for name in names if name.startswith("diffusion_pytorch_model"))
    return [name for name in weights.files_of(own, "") if name.endswith(weights.SAFETENSORS)]
