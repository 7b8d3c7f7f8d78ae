"""Files of the cache that are not what they should be: cut off by a power failure, damaged, changed."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from batch.base.errors import DownloadError, UserError
from batch.catalogue import weights
from batch.hub import cache, remote
from batch.hub.downloads import RepoFiles
from batch.records.events import Downloading

if TYPE_CHECKING:
    from batch.hub.downloads import FetchOptions


def mend_snapshot(repo: str, commit: str, name: str, how: FetchOptions) -> None:
    """Remove files of a snapshot that are cut off, as far as an earlier download has listed their sizes."""
    listed = remote.listed(repo, commit) if cache.snapshot(repo, commit).is_dir() else None
    if listed is not None:
        item = RepoFiles(name=name, repo=repo, commit=commit, files=dict(listed))
        for file, what in _torn(item):
            _drop(item, file, what, how)


def mend(item: RepoFiles, how: FetchOptions) -> None:
    """Remove files of a download that are cut off; none where the Hub may not be asked for them."""
    for file, what in () if cache.offline_by() else _torn(item):
        _drop(item, file, what, how)


def _torn(item: RepoFiles) -> list[tuple[str, str]]:
    return [
        (file, f"damaged, it has {size:,} bytes instead of {item.files[file]:,}")
        for file, size in item.torn().items()
    ]


def _drop(item: RepoFiles, file: str, what: str, how: FetchOptions) -> bool:
    """Remove a damaged file; False where it is kept because it could not be downloaded again."""
    if switch := cache.offline_by():
        how.listener.on(
            Downloading(f"{item.name}: {file} is {what}: kept, because {switch} forbids downloading it again")
        )
        return False
    how.listener.on(Downloading(f"{item.name}: {file} is {what}: removed, to be downloaded again"))
    cache.remove(item.folder / file)
    return True


def check_content(item: RepoFiles, how: FetchOptions) -> list[str]:
    """Remove what is damaged without being cut off; the files that are, and were kept.

    Large files lie under their sha256; of those that are no links the Hub says it.
    """
    here = [name for name in item.files if (item.folder / name).is_file()]
    links = [name for name in here if (item.folder / name).is_symlink()]
    # The first link only: a blob may be one itself, into the store of the fast path, which has hashes of its own.
    under = {name: (item.folder / name).readlink().name for name in links}
    expected = {name: target for name, target in under.items() if _SHA256.fullmatch(target)}
    plain = [name for name in here if name not in expected and name.endswith(weights.WEIGHTS)]
    if plain:
        cannot = f"the weights of {item.title} lie here without their hashes, so they cannot be checked"
        if cache.offline_by():
            raise UserError(f"{cannot}: {cache.offline_by()} forbids asking the Hub")
        try:
            told = remote.hashes(item.repo, item.commit)
        except DownloadError as error:
            raise DownloadError(f"{cannot}: the Hub does not answer. Run the same command again") from error
        expected |= {name: told[name] for name in plain if name in told}
    kept = []
    for name, sha256 in expected.items():
        if not (item.folder / name).is_file():  # another one's content was the same, and is gone
            continue
        with (item.folder / name).open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != sha256 and not _drop(item, name, "damaged", how):
            kept.append(name)
    return kept


_SHA256 = re.compile(r"[0-9a-f]{64}")
