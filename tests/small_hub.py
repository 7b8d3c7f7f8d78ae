"""A Hub on this machine: as much of its HTTP interface as the real client asks, and what goes wrong on the way."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal, cast
from urllib.parse import unquote, urlsplit

from tests import small_store

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LATER = "89abcdef0123456789abcdef0123456789abcdef"

Fault = Literal["cut", "stall", "slow"]
"""Half of a file is sent, then the connection ends, or nothing more comes; or all of it, at ``SLOW``."""

SLOW = 600_000
"""Bytes a second that a slow line carries, whatever number of files goes over it."""


@dataclass
class Repo:
    """One repository. ``gated`` refuses files, not the listing: 401 without token, 403 with one, as the Hub."""

    files: Mapping[str, bytes]
    commit: str = COMMIT
    """What ``main`` is now."""
    gated: bool = False
    claimed_sizes: Mapping[str, int] = field(default_factory=dict)
    """Sizes that are told instead of the real ones."""
    earlier: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    """Files by commits that ``main`` was before."""
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    """What befalls a file, download by download; afterwards all is well."""
    xet: Literal["", "hang", "500", "works", "slow", "stall"] = ""
    """Weights are offered by the fast path, whose store does not answer, or answers that, or sends the files: at
    once, at ``SLOW``, or so, and half of each piece only."""

    def move(self, files: Mapping[str, bytes], commit: str = LATER) -> None:
        """A new commit on ``main``."""
        self.earlier[self.commit] = self.files
        self.files, self.commit = files, commit

    def at(self, revision: str) -> tuple[str, Mapping[str, bytes]] | None:
        """The commit and files of a revision."""
        if revision in ("main", self.commit):
            return self.commit, self.files
        return (revision, self.earlier[revision]) if revision in self.earlier else None


@dataclass
class Hub:
    """Its address, what it holds, and what it was asked (method, path, token); ``broken`` answers all with 500."""

    url: str
    repos: dict[str, Repo] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    broken: bool = False
    before_file: Callable[[str], None] = lambda _: None
    """Called before a file is sent."""
    closing: threading.Event = field(default_factory=threading.Event)
    line: threading.Lock = field(default_factory=threading.Lock)
    """Held by the one that sends slowly."""

    def downloads(self) -> list[str]:
        """Files that were sent, by their path in the repository."""
        paths = (path.partition("/resolve/")[2] for method, path, _ in self.requests if method == "GET")
        return [path.partition("/")[2] for path in paths if path]

    def stored(self) -> Iterator[bytes]:
        """All files of all commits."""
        for repo in self.repos.values():
            for files in (repo.files, *repo.earlier.values()):
                yield from files.values()

    def asked_of_store(self) -> int:
        """Requests to the store of the fast path."""
        return sum(path.startswith("/cas") for _, path, _ in self.requests)


def folder_files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def serve(**options) -> Iterator[Hub]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.hub = hub = Hub(url=f"http://127.0.0.1:{server.server_port}", **options)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _is_large(file: str) -> bool:
    """Weights lie in large-file storage: their etag is the sha256 of the content, not git's hash."""
    return file.endswith((".safetensors", ".bin"))


def _etag(file: str, data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if _is_large(file) else hashlib.sha1(data).hexdigest()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address) -> None:
        """A client that is gone is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def do_GET(self) -> None:
        hub: Hub = self.server.hub
        path = unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path, self.headers.get("Authorization", "")))
        if path.startswith("/cas/"):
            self._store(hub, *path.split("/")[2:])
            return
        if hub.broken:
            self._error(500, "")
            return
        name, action, rest = self._parsed(path)
        repo = hub.repos.get(name)
        if repo is None:
            self._error(404, "RepoNotFound")
            return
        found = repo.at(rest.split("/")[0] or "main")
        if found is None:
            self._error(404, "RevisionNotFound")
            return
        commit, files = found
        if action == "info":
            self._json({"id": name, "sha": commit, "siblings": [{"rfilename": file} for file in files]})
        elif action == "tree":
            self._json([self._entry(repo, file, data) for file, data in files.items()])
        elif action == "xet-read-token":
            headers = {"X-Xet-Cas-Url": f"{hub.url}/cas/{repo.xet}", "X-Xet-Access-Token": "xet_secret",
                       "X-Xet-Token-Expiration": str(int(time.time()) + 3600)}  # fmt: skip
            self._answer(200, b"{}", headers)
        elif repo.gated:
            self._error(403 if self.headers.get("Authorization") else 401, "GatedRepo")
        else:
            self._file(repo, commit, files, name, rest.partition("/")[2])

    @staticmethod
    def _parsed(path: str) -> tuple[str, str, str]:
        """Repository, what is asked of it, and the rest, which begins with the revision."""
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            action = parts[4] if len(parts) > 4 else "info"
            return "/".join(parts[2:4]), "info" if action == "revision" else action, "/".join(parts[5:])
        return "/".join(parts[:2]), "file", "/".join(parts[3:])

    @staticmethod
    def _entry(repo: Repo, file: str, data: bytes) -> dict:
        size = repo.claimed_sizes.get(file, len(data))
        entry = {"type": "file", "path": file, "size": size, "oid": hashlib.sha1(data).hexdigest()}
        if _is_large(file):
            entry["lfs"] = {"oid": _etag(file, data), "size": size, "pointerSize": 130}
            if repo.xet:
                entry["xetHash"] = small_store.name_of(data)
        return entry

    def _store(self, hub: Hub, kind: str, *asked: str) -> None:
        if kind == "hang":
            hub.closing.wait()
            self.close_connection = True
        elif kind == "500":
            self._error(500, "")
        elif asked[:2] == ("v1", "reconstructions"):
            self._terms(hub, kind, asked[2])
        elif asked[0] == "xorbs":
            self._xorb(hub, kind, asked[1])
        else:
            self._error(404, "")  # a newer version of the interface: the client goes on with the one that is here

    def _terms(self, hub: Hub, kind: str, name: str) -> None:
        data = next(data for data in hub.stored() if small_store.name_of(data) == name)
        first, last = self._range(data)
        found = small_store.terms(data, first, last, f"{hub.url}/cas/{kind}/xorbs")
        if found is None:
            self._error(416, "")
        else:
            self._json(found)

    def _xorb(self, hub: Hub, kind: str, name: str) -> None:
        data = next(found[name] for data in hub.stored() if name in (found := small_store.xorbs(data)))
        first, last = self._range(data)
        headers = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
        fault = None if kind == "works" else cast(Fault, kind)
        self._answer(206, data[first : last + 1], headers, fault=fault)

    def _range(self, data: bytes) -> tuple[int, int]:
        """The first and last byte that are asked for."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = found.groups() if found else ("", "")
        return int(first or 0), min(int(last or len(data)), len(data) - 1)

    def _file(self, repo: Repo, commit: str, files: Mapping[str, bytes], name: str, file: str) -> None:
        if file not in files:
            self._error(404, "EntryNotFound")
            return
        data = files[file]
        headers = {"ETag": f'"{_etag(file, data)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if repo.xet and _is_large(file):
            route = f"{self.server.hub.url}/api/models/{name}/xet-read-token/{commit}"
            headers |= {"X-Xet-Hash": small_store.name_of(data), "X-Xet-Refresh-Route": route}
        if self.command == "HEAD":
            self._answer(200, data, headers, repo.claimed_sizes.get(file, len(data)))
            return
        self.server.hub.before_file(file)
        start, _ = self._range(data)
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        left = repo.faults.get(file)
        fault = left.pop(0) if left else None
        self._answer(206 if start else 200, data[start:], headers, fault=fault)

    def _json(self, data) -> None:
        self._answer(200, json.dumps(data).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str) -> None:
        self._answer(status, b"{}", {"X-Error-Code": code, "Content-Type": "application/json"})

    def _answer(
        self,
        status: int,
        data: bytes,
        headers: Mapping[str, str],
        size: int | None = None,
        fault: Fault | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data) if size is None else size))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "slow":
            self._send_slowly(data)
            return
        self.wfile.write(data[: len(data) // 2] if fault else data)
        if fault == "stall":
            self.wfile.flush()
            self.server.hub.closing.wait()
        if fault:
            self.close_connection = True

    def _send_slowly(self, data: bytes) -> None:
        with self.server.hub.line:
            for piece in small_store.pieces(data, SLOW // 10):
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(len(piece) / SLOW)
