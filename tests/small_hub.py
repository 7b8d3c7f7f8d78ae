"""A Hub on this machine: as much of its HTTP interface as the real client asks when it downloads a snapshot."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repo:
    """One repository; ``gated`` answers files, not the listing, with 403, as the Hub does."""

    files: Mapping[str, bytes]
    commit: str = COMMIT
    gated: bool = False
    claimed_sizes: Mapping[str, int] = field(default_factory=dict)
    """Sizes that HEAD answers instead of the real ones."""


@dataclass
class Hub:
    """Its address, what it holds, and what it was asked (method, path, token); ``broken`` answers all with 500."""

    url: str
    repos: dict[str, Repo] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    broken: bool = False

    def downloads(self) -> list[str]:
        """Files that were sent, by their path in the repository."""
        paths = (path.partition("/resolve/")[2] for method, path, _ in self.requests if method == "GET")
        return [path.partition("/")[2] for path in paths if path]


def folder_files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def serve(**options) -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub = hub = Hub(url=f"http://127.0.0.1:{server.server_port}", **options)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub: Hub = self.server.hub
        path = unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path, self.headers.get("Authorization", "")))
        if hub.broken:
            self._error(500, "")
            return
        name, action, rest = self._parsed(path)
        repo = hub.repos.get(name)
        if repo is None:
            self._error(404, "RepoNotFound")
        elif action == "info":
            self._json({"id": name, "sha": repo.commit, "siblings": [{"rfilename": file} for file in repo.files]})
        elif rest.split("/")[0] not in ("main", repo.commit):
            self._error(404, "RevisionNotFound")
        elif action == "tree":
            self._json([
                {"type": "file", "path": file, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for file, data in repo.files.items()
            ])  # fmt: skip
        elif repo.gated:
            self._error(403, "GatedRepo")
        else:
            self._file(repo, rest.partition("/")[2])

    def _parsed(self, path: str) -> tuple[str, str, str]:
        """Repository, what is asked of it, and the rest, which begins with the revision."""
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            action = parts[4] if len(parts) > 4 else "info"
            revision = "/".join(parts[5:])
            known = action != "revision" or revision in ("main", COMMIT)
            return "/".join(parts[2:4]), "info" if action == "revision" and known else action, revision
        return "/".join(parts[:2]), "file", "/".join(parts[3:])

    def _file(self, repo: Repo, file: str) -> None:
        if file not in repo.files:
            self._error(404, "EntryNotFound")
            return
        data = repo.files[file]
        size = repo.claimed_sizes.get(file, len(data)) if self.command == "HEAD" else len(data)
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": repo.commit}
        self._answer(200, data, headers, size)

    def _json(self, data) -> None:
        self._answer(200, json.dumps(data).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str) -> None:
        self._answer(status, b"{}", {"X-Error-Code": code, "Content-Type": "application/json"})

    def _answer(self, status: int, data: bytes, headers: Mapping[str, str], size: int | None = None) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data) if size is None else size))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
