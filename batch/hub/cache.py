"""The cache of the Hugging Face Hub on this machine: where it is, what decided that, what lies in it.

Where it lies is told by the Hub client's variables, because importing the client takes a second, and because it
reads them once, when it is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from batch.base import regular
from batch.base.errors import ModelError
from batch.catalogue.repositories import COMMIT

MAX_REFERENCE = 4096
"""Bytes of a file that holds a commit."""

VARIABLE = "HF_HUB_CACHE"

OLD_SWITCHES = {
    "HF_HUB_ENABLE_HF_TRANSFER": "hf_transfer is not used any more; Xet is the fast way now and is on by itself, "
    "set HF_XET_HIGH_PERFORMANCE=1 to give it the whole network and processor",
    "TRANSFORMERS_CACHE": "it is not read any more; set HF_HOME instead",
    "HUGGINGFACE_HUB_CACHE": "it is an old name; set HF_HUB_CACHE instead",
}
"""Environment variables that no longer do what they did, and what does."""


PLACES = (VARIABLE, "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HF_XET_CACHE", "HF_TOKEN_PATH")
"""The client's variables that name a place."""


def offline_by() -> str:
    """The variable that forbids asking the Hub, as the client reads them; "" where it may be asked."""
    name = next((name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name)), "")
    return name if is_on(name) else ""


def is_on(variable: str) -> bool:
    """Whether a switch is on, as the client reads it."""
    return os.environ.get(variable, "").upper() in {"1", "ON", "YES", "TRUE"}


def empty_places() -> list[str]:
    """Variables that are set to nothing: not set for us, the current folder for the client."""
    return [name for name in PLACES if name in os.environ and not os.environ[name].strip()]


def old_switches() -> list[str]:
    """What to say of those that are set."""
    return [f"{name} is set: {what}" for name, what in OLD_SWITCHES.items() if os.environ.get(name)]


def hub_cache() -> Path:
    """The folder where models lie."""
    return _decided()[0]


def decided_by() -> str:
    """The variable or option that decided where it is; "" where none did."""
    return "--cache-dir" if os.environ.get(VARIABLE) in _named else _decided()[1]


_named: list[str] = []
"""What the option has named, for as long as it holds."""


def _decided() -> tuple[Path, str]:
    for name, inner in ((VARIABLE, ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if (value := os.environ.get(name, "")).strip():
            return _folder(value) / inner, name
    home = os.environ.get("XDG_CACHE_HOME", "").strip()
    return _folder(home or "~/.cache") / "huggingface" / "hub", "XDG_CACHE_HOME" if home else ""


def xet_folder() -> Path:
    """Where the fast path keeps what it is at."""
    own, home, around = (
        os.environ.get(name, "").strip() for name in ("HF_XET_CACHE", "HF_HOME", "XDG_CACHE_HOME")
    )
    return _folder(own) if own else _folder(home or f"{around or '~/.cache'}/huggingface") / "xet"


def _folder(text: str) -> Path:
    # cmd's `set NAME="D:\models"` makes the quotes part of the value.
    return Path(os.path.expandvars(text.strip().strip("\"'"))).expanduser()


@contextmanager
def used(folder: Path) -> Iterator[None]:
    """Have that folder be the cache, here and in every process that is started meanwhile."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(folder.absolute())
    _named.append(os.environ[VARIABLE])
    try:
        yield
    finally:
        _named.pop()
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before


def cache_folder(repo: str) -> Path:
    """Where one repository lies in it."""
    return hub_cache() / f"models--{repo.replace('/', '--')}"


def snapshot(repo: str, commit: str) -> Path:
    """The folder of one commit, with its files under their own names. Raises :class:`ModelError` for no commit."""
    if commit and not COMMIT.fullmatch(commit):
        raise ModelError(f"{commit!r} is no commit of {repo}: it has 40 digits, 0 to 9 and a to f")
    return cache_folder(repo) / "snapshots" / commit


def known_commit(repo: str, wanted: str) -> str:
    """The commit that a branch or tag was when it was downloaded; "" where nothing of it is here."""
    if COMMIT.fullmatch(wanted):
        return wanted
    commit = reference(repo, wanted)
    return commit if COMMIT.fullmatch(commit) and snapshot(repo, commit).is_dir() else ""


def reference(repo: str, wanted: str) -> str:
    """What the cache says that a branch or tag is, be it nonsense; "" where it says nothing."""
    try:
        return regular.read(cache_folder(repo) / "refs" / wanted, MAX_REFERENCE).decode(errors="replace").strip()
    except (OSError, ValueError):
        return ""


def note(repo: str, wanted: str, commit: str) -> None:
    """Have the cache say what a branch or tag is. Raises OSError."""
    if reference(repo, wanted) == commit:
        return
    file = cache_folder(repo) / "refs" / wanted
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.write_text(commit, encoding="utf-8")
    part.replace(file)


def names_in(folder: Path) -> list[str]:
    """Files of a model's folder as a repository lists them: beside its index, and one folder further down."""
    found = [*folder.glob("*"), *folder.glob("[!.]*/*")]
    return sorted(path.relative_to(folder).as_posix() for path in found if path.is_file())


def remove(file: Path) -> None:
    """Remove a snapshot's file with what it is a link to: the blob, and the store that repositories share."""
    inside = hub_cache().resolve()
    while file.is_symlink() or file.exists():
        target = file.parent / file.readlink() if file.is_symlink() else None
        file.unlink(missing_ok=True)
        if target is None or inside not in target.parent.resolve().parents:
            return
        file = target


def sweep(repo: str) -> int:
    """Remove parts of files that no download will go on with; the bytes that are free now.

    The client never continues such a file, and removes it unless it is killed. While it writes one it holds the
    lock of that blob: whose lock can be taken belongs to nobody.
    """
    from filelock import FileLock, Timeout

    freed = 0
    folder = cache_folder(repo)
    for part in folder.glob("blobs/*.incomplete"):
        lock = hub_cache() / ".locks" / folder.name / f"{part.name.split('.')[0]}.lock"
        with suppress(OSError, Timeout, NotImplementedError):  # a living download's, or of a disk without locks
            lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock, timeout=0, mode=0o664):
                size = part.stat().st_size
                part.unlink()
                freed += size
    return freed


def written(repo: str) -> tuple[int, int]:
    """Files and bytes that downloads of a repository have put on the disk so far: it moves while one lives.

    Without the logs of the fast path: a line in one of them, of whichever process, is no progress.
    """
    files = size = 0
    for folder in (cache_folder(repo) / "blobs", xet_folder()):
        for root, inner, names in os.walk(folder):
            if root == str(folder) and "logs" in inner:
                inner.remove("logs")
            for name in names:
                with suppress(OSError):
                    size += os.stat(f"{root}/{name}").st_size  # noqa: PTH116 - called every few seconds
                    files += 1
    return files, size
