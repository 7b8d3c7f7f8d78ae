"""Files of the cache that are not what they should be: cut off by a power failure, damaged, changed."""

from __future__ import annotations

import hashlib
import re

from batch.errors import DownloadError, ModelError
from batch.hub import cache, needs, remote
from batch.hub.orders import Download, Fetching


def mend_snapshot(repo: str, commit: str, name: str, how: Fetching) -> None:
    """Remove files of a snapshot that are cut off, as far as an earlier download has listed their sizes."""
    listed = remote.listed(repo, commit) if cache.snapshot(repo, commit).is_dir() else None
    if listed is not None:
        item = Download(name=name, repo=repo, commit=commit, files=dict(listed))
        for file, what in _torn(item):
            _drop(item, file, what, how)


def mend(item: Download, how: Fetching) -> None:
    """Remove files of a download that are cut off; none where the Hub may not be asked for them."""
    for file, what in () if cache.offline() else _torn(item):
        _drop(item, file, what, how)


def _torn(item: Download) -> list[tuple[str, str]]:
    return [
        (file, f"damaged, it has {size:,} bytes instead of {item.files[file]:,}")
        for file, size in item.torn().items()
    ]


def _drop(item: Download, file: str, what: str, how: Fetching) -> bool:
    """Remove a damaged file; False where it is kept because it could not be downloaded again."""
    if cache.offline():
        how.tell.fetching(
            f"{item.name}: {file} is {what}: kept, because HF_HUB_OFFLINE forbids downloading it again"
        )
        return False
    how.tell.fetching(f"{item.name}: {file} is {what}: removed, to be downloaded again")
    cache.remove(item.folder / file)
    return True


def check_content(item: Download, how: Fetching) -> list[str]:
    """Remove what is damaged without being cut off; the files that are, and were kept."""
    kept = []
    for name, expected in _expected(item, how).items():
        if not (item.folder / name).is_file():  # another one's content was the same, and is gone
            continue
        with (item.folder / name).open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != expected and not _drop(item, name, "damaged", how):
            kept.append(name)
    return kept


def _expected(item: Download, how: Fetching) -> dict[str, str]:
    """The sha256 of the large files that are here: they lie under it, or where they are no links, the Hub says."""
    here = {name: (item.folder / name).resolve() for name in item.files if (item.folder / name).is_file()}
    found = {name: file.name for name, file in here.items() if _SHA256.fullmatch(file.name)}
    plain = [name for name, file in here.items() if name not in found and name.endswith(needs.WEIGHTS)]
    if plain:
        try:
            told = remote.hashes(item.repo, item.commit)
        except (ModelError, DownloadError) as error:
            how.tell.fetching(f"{item.name}: {', '.join(plain)} cannot be checked: {error}")
            return found
        found |= {name: told[name] for name in plain if name in told}
    return found


_SHA256 = re.compile(r"[0-9a-f]{64}")
