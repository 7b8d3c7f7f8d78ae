"""What models need onto this machine's disk: looked up, checked against the disk, downloaded, tried again.

Downloads what a session will load and no more. The client keeps whole files, so a download that broke off goes on
with the files that are missing; what is cut off, after a power failure, is removed and downloaded again.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from batch.errors import DownloadError, ModelError, UserError
from batch.hub import cache, folders, needs, remote, watch
from batch.hub.models import whole
from batch.hub.refusals import ELSEWHERE, full
from batch.plan.catalogue import Model

HEADROOM = 2**30
"""Bytes that stay free on the cache's disk."""

STALL_S = 60.0
"""Nothing moved for so long: the download is ended and begun anew."""

PAUSES_S = (1.0, 2.0, 4.0)
"""Before the second, third and fourth attempt."""

SAID_FROM = 100 * 10**6
"""Bytes of remains of killed downloads from which on removing them is told."""


class Teller(Protocol):
    """Who is shown downloads."""

    def fetching(self, text: str) -> None:
        """A line: what is downloaded, that it is there, what went wrong on the way."""

    def received(self, name: str, done: int, total: int) -> None:
        """So many bytes of a model are there of those that were missing; the same number when that is all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetching:
    """How to download: who is told, and when to give up."""

    tell: Teller
    stall: float = STALL_S
    stop: Event | None = None
    exact: bool = False
    """Ask the Hub which files there are, where no earlier download has listed them."""
    check: bool = False
    """Read what is here and compare it with the Hub's hashes: ten gigabytes take half a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What is wanted of a repository at a commit: its files with their sizes in bytes, None where not known."""

    name: str
    repo: str
    commit: str
    files: Mapping[str, int | None]

    @property
    def folder(self) -> Path:
        """Where the files are when they are here."""
        return cache.snapshot(self.repo, self.commit)

    def missing(self) -> list[str]:
        """The files that are not here."""
        return [file for file in self.files if not (self.folder / file).is_file()]

    def bytes_of(self, files: Iterable[str]) -> int:
        """How large they are together."""
        return sum(self.files[file] or 0 for file in files)

    def torn(self) -> dict[str, int]:
        """The files that are here in another size than they should be, with it."""
        found = {}
        for file, wanted in self.files.items():
            with suppress(OSError):
                size = (self.folder / file).stat().st_size
                if wanted not in (None, size):
                    found[file] = size
        return found

    @property
    def title(self) -> str:
        """The model's name and which commit of which repository it is."""
        return f"{self.name}: {self.repo} at {self.commit[:12]}"


def ensure(models: Iterable[Model], how: Fetching) -> list[Download]:
    """Have what these models need on this machine; what was downloaded. Asks nobody where all is here.

    Raises :class:`ModelError` for a repository that is not there, not open to the user or not safe to load,
    :class:`UserError` when the disk is too small, :class:`DownloadError` when the network fails.
    """
    found = [item for model in models if _is_remote(model) and (item := look_up(model, how)) is not None]
    return fetch(found, how)


def _is_remote(model: Model) -> bool:
    return bool(model.repo) and not model.random


def look_up(model: Model, how: Fetching) -> Download | None:
    """What a model needs, as its repository is listed; None where it is not, and the snapshot looks whole."""
    here = cache.snapshot(model.repo, model.revision)
    listed = remote.listed(model.repo, model.revision)
    if listed is None and whole(here, model.dtype, model.variant):
        _check_safe(model, folders.needs_of(here, variant=model.variant or None, dtype=model.dtype))
        if not how.exact:
            return None
        try:
            listed = remote.sizes(model.repo, model.revision)
        except (ModelError, DownloadError):
            return None
    listed = listed or remote.sizes(model.repo, model.revision)
    _mend(Download(name=model.name, repo=model.repo, commit=model.revision, files=dict(listed)), how)
    index = remote.file(model.repo, model.revision, needs.INDEX)
    if index is None:
        raise ModelError(f"{model.repo} holds no diffusers model (no {needs.INDEX})")
    found = _wanted(model, folders.json_of(index), listed, here)
    _check_safe(model, found)
    return Download(
        name=model.name,
        repo=model.repo,
        commit=model.revision,
        files={file: listed[file] for file in sorted(found.files) if file in listed},
    )


def _wanted(model: Model, index: Mapping[str, Any], listed: Mapping[str, int], here: Path) -> needs.Needs:
    """What a session loads; where the same weights are here in another precision, and whole, those."""
    wanted = needs.of(index, listed, variant=model.variant or None, dtype=model.dtype)
    present = set(cache.names_in(here))
    if wanted.files <= present:
        return wanted
    for variant in ("", folders.needs_of(here).variant):
        other = needs.of(index, listed, variant=variant)
        if other.files <= present and set(other.pickled) <= set(wanted.pickled):
            return other
    return wanted


def _check_safe(model: Model, found: needs.Needs) -> None:
    needs.check(model.name, found, pickles=model.allow_pickle, trusted=model.trust_remote_code)


def mend(repo: str, commit: str, name: str, how: Fetching) -> None:
    """Remove files of a snapshot that are cut off, as far as an earlier download has listed their sizes."""
    listed = remote.listed(repo, commit) if cache.snapshot(repo, commit).is_dir() else None
    if listed is not None:
        _mend(Download(name=name, repo=repo, commit=commit, files=dict(listed)), how)


def _mend(item: Download, how: Fetching) -> None:
    for file, size in item.torn().items():
        how.tell.fetching(
            f"{item.name}: {file} is damaged, it has {size:,} bytes instead of {item.files[file]:,}: removed, to "
            "be downloaded again"
        )
        cache.remove(item.folder / file)


def _check_content(item: Download, how: Fetching) -> None:
    """Remove what is damaged without being cut off. Large files lie under the hash of their content."""
    for name in item.files:
        file = item.folder / name
        expected = file.resolve().name
        if not _SHA256.fullmatch(expected) or not file.is_file():
            continue
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != expected:
            how.tell.fetching(f"{item.name}: {name} is damaged: removed, to be downloaded again")
            cache.remove(file)


_SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch(items: Sequence[Download], how: Fetching) -> list[Download]:
    """Download what is missing, after a look at the disk; returns what was not here. Errors as :func:`ensure`."""
    for item in items:
        _mend(item, how)
        if how.check:
            _check_content(item, how)
    wanted = [item for item in items if item.missing()]
    _check_disk(sum(item.bytes_of(item.missing()) for item in wanted))
    if wanted:
        for text in cache.old_switches():
            how.tell.fetching(text)
    for item in wanted:
        missing = item.missing()
        how.tell.fetching(
            f"{item.title}: downloading {len(missing)} of {len(item.files)} files, "
            f"{shown(item.bytes_of(missing))}, into {cache.hub_cache()}"
        )
        _Attempts(item, how, item.bytes_of(missing)).download()
        how.tell.fetching(f"{item.title} is complete")
    return wanted


def _check_disk(wanted: int) -> None:
    folder = cache.hub_cache()
    if not wanted:
        return
    free = cache.free(folder)
    if wanted + HEADROOM > free:
        raise UserError(
            f"the download needs {shown(wanted)}, and {shown(HEADROOM)} should stay free, but the disk of "
            f"{folder} has {shown(free)} free. Make room. {ELSEWHERE}, for this command and for the run"
        )


def shown(size: int) -> str:
    """Bytes for people."""
    if size < 2**20:
        return f"{size / 2**10:.0f} KiB"
    return f"{size / 2**30:.2f} GiB" if size >= 2**29 else f"{size / 2**20:.1f} MiB"


def _ways() -> tuple[bool, ...]:
    """Whether Xet is used, attempt by attempt: the fast path twice, then twice without it."""
    off = os.environ.get("HF_HUB_DISABLE_XET", "").upper() in {"1", "ON", "YES", "TRUE"}
    fast = find_spec("hf_xet") is not None and not off
    return (fast, fast, False, False)


@dataclass(slots=True)
class _Attempts:
    """One repository, until its files are here or there is no other way left."""

    item: Download
    how: Fetching
    total: int
    why: str = ""
    _before: int = field(default=0)

    def download(self) -> None:
        self._sweep()
        ways = _ways()
        for index, xet in enumerate(ways):
            if index:
                self._again(without_xet=ways[index - 1] and not xet)
                self._pause(PAUSES_S[index - 1])
            if self._once(xet=xet):
                return
        missing = self.item.missing()
        raise DownloadError(
            f"{self.item.repo} is not complete on this machine: {len(missing)} of {len(self.item.files)} files "
            f"are missing after {len(ways)} attempts (the last one {self.why}). Files that are complete are kept: "
            "check the network and run the same command again. Behind a proxy set HTTPS_PROXY"
        )

    def _once(self, *, xet: bool) -> bool:
        """One attempt; whether everything is here and whole."""
        missing = self.item.missing()
        self._before = self.total - self.item.bytes_of(missing)
        request = {
            "repo": self.item.repo,
            "commit": self.item.commit,
            "files": missing,
            "cache": str(cache.hub_cache().absolute()),
        }
        try:
            self.why = watch.attempt(
                request, xet=xet, patience=self.how.stall, received=self._received, stop=self.how.stop
            )
        finally:
            self._sweep()
        if self.why:
            self._check_room()
        torn = self.item.torn()
        _mend(self.item, self.how)
        missing = self.item.missing()
        if missing and not self.why:
            self.why = f"left {len(torn) or len(missing)} files incomplete"
        if not missing:
            self.how.tell.received(self.item.name, self.total, self.total)
        return not missing

    def _received(self, count: int) -> None:
        if count:
            self.how.tell.received(self.item.name, min(self.total - 1, self._before + count), self.total)

    def _check_room(self) -> None:
        """The fast path's own words for a full disk may be anything."""
        if self.item.missing() and cache.free(cache.hub_cache()) < 2**20:
            raise full()

    def _again(self, *, without_xet: bool) -> None:
        way = " without Xet (HF_HUB_DISABLE_XET=1)" if without_xet else ""
        self.how.tell.fetching(f"{self.item.name}: the download {self.why}; again{way}")

    def _pause(self, seconds: float) -> None:
        if self.how.stop is None:
            time.sleep(seconds)
        else:
            self.how.stop.wait(seconds)

    def _sweep(self) -> None:
        freed = cache.sweep(self.item.repo)
        if freed >= SAID_FROM:
            self.how.tell.fetching(
                f"{self.item.name}: removed {shown(freed)} of files that a download which was killed has left "
                "unfinished"
            )
