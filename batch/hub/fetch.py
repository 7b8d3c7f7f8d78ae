"""Files of the Hub onto this machine's disk: checked against its room, downloaded, tried again.

Downloads what a session will load and no more. The client keeps whole files, so a download that broke off goes on
with the files that are missing; what is cut off, after a power failure, is removed and downloaded again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from batch.base import disk
from batch.base.errors import DownloadError, UserError
from batch.hub import cache, remote, watch
from batch.hub.mending import check_content, mend
from batch.hub.refusals import ELSEWHERE, full
from batch.records.events import Downloading, Received

if TYPE_CHECKING:
    from batch.hub.downloads import FetchOptions, RepoFiles, Request

HEADROOM = 2**30
"""Bytes that stay free on the cache's disk."""

PAUSES_S = (1.0, 2.0, 4.0)
"""Before the second, third and fourth attempt in a row that finishes no other file."""

FAST_ATTEMPTS = 2
"""So many of them may use Xet."""

SAID_FROM = 100 * 10**6
"""Bytes of remains of killed downloads from which on removing them is told."""


def fetch(items: Sequence[RepoFiles], how: FetchOptions) -> list[RepoFiles]:
    """Download what is missing, after a look at the disk; returns what was not here.

    Errors as :func:`batch.hub.ensure.ensure`.
    """
    for item in items:
        mend(item, how)
        damaged = [f"{file} has {size:,} of {item.files[file]:,} bytes" for file, size in item.torn().items()]
        damaged += check_content(item, how) if how.check and not damaged else ()
        if damaged:
            raise UserError(
                f"{item.title} is damaged ({', '.join(damaged)}), and {cache.offline_by()} forbids downloading it "
                "again: unset it and run the same command again"
            )
    wanted = [item for item in items if item.missing()]
    needed = sum(item.bytes_of(item.missing()) for item in wanted)
    free = disk.free(cache.hub_cache()) if needed else None
    if free is not None and needed + HEADROOM > free:
        raise UserError(
            f"the download needs {shown(needed)}, and {shown(HEADROOM)} should stay free, but the disk of "
            f"{cache.hub_cache()} has {shown(free)} free. Make room. {ELSEWHERE}, for this command and for the run"
        )
    if wanted:
        remote.check_token()
        for text in cache.old_switches():
            how.listener.on(Downloading(text))
    for item in wanted:
        missing = item.missing()
        how.listener.on(
            Downloading(
                f"{item.title}: downloading {len(missing)} of {len(item.files)} files, "
                f"{shown(item.bytes_of(missing))}, into {cache.hub_cache()}"
            )
        )
        _Attempts(item, how, item.bytes_of(missing)).download()
        how.listener.on(Downloading(f"{item.title} is complete"))
    return wanted


def shown(size: int) -> str:
    """Bytes for people."""
    if size < 2**20:
        return f"{size / 2**10:.0f} KiB"
    return f"{size / 2**30:.2f} GiB" if size >= 2**29 else f"{size / 2**20:.1f} MiB"


def _xet_is_on() -> bool:
    return find_spec("hf_xet") is not None and not cache.is_on("HF_HUB_DISABLE_XET")


@dataclass(slots=True)
class _Attempts:
    """One repository, until its files are here or there is no other way left."""

    item: RepoFiles
    how: FetchOptions
    total: int
    why: str = ""
    _before: int = field(default=0)

    def download(self) -> None:
        self._sweep()
        xet, missing = _xet_is_on(), len(self.item.missing())
        failed = attempts = 0
        while not self._once(xet=xet):
            attempts += 1
            before, missing = missing, len(self.item.missing())
            failed = 1 if missing < before else failed + 1
            if failed > len(PAUSES_S):
                raise DownloadError(
                    f"{self.item.repo} is not complete on this machine: {missing} of {len(self.item.files)} files "
                    f"are missing after {attempts} attempts (the last one {self.why}). Files that are complete "
                    "are kept: check the network and run the same command again. Behind a proxy set HTTPS_PROXY"
                )
            without = xet and failed >= FAST_ATTEMPTS
            way = " without Xet (HF_HUB_DISABLE_XET=1)" if without else ""
            self.how.listener.on(Downloading(f"{self.item.name}: the download {self.why}; again{way}"))
            if self.how.stop is None:
                time.sleep(PAUSES_S[failed - 1])
            else:
                self.how.stop.wait(PAUSES_S[failed - 1])
            xet = xet and not without

    def _once(self, *, xet: bool) -> bool:
        """One attempt; whether everything is here and whole."""
        missing = self.item.missing()
        self._before = self.total - self.item.bytes_of(missing)
        request: Request = {
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
        # The fast path's own words for a full disk may be anything.
        free = disk.free(cache.hub_cache()) if self.why and self.item.missing() else None
        if free is not None and free < 2**20:
            raise full()
        torn = self.item.torn()
        mend(self.item, self.how)
        missing = self.item.missing()
        if missing and not self.why:
            self.why = f"left {len(torn) or len(missing)} files incomplete"
        if not missing:
            self.how.listener.on(Received(self.item.name, self.total, self.total))
        return not missing

    def _received(self, count: int) -> None:
        if count:
            self.how.listener.on(Received(self.item.name, min(self.total - 1, self._before + count), self.total))

    def _sweep(self) -> None:
        freed = cache.sweep(self.item.repo)
        if freed >= SAID_FROM:
            self.how.listener.on(
                Downloading(
                    f"{self.item.name}: removed {shown(freed)} of files that a download which was killed has left "
                    "unfinished"
                )
            )
