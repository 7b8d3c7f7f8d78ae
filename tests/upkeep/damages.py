"""A run folder with something of everything, and all that can be done to a file or a folder of it."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

CANARY = "canary-in-a-file-elsewhere"
"""Stands in a file outside: where it turns up, that file was read."""

JOB = """\
name: job
grid: {model: demo, prompt: [a fox, a whale], seed: %s, steps: 1, size: 512x512}
run: {min_free_disk: 1MB, retries: 1}
output: {format: webp, keep_latents: true}
"""

Damage = Callable[[Path, Path, random.Random], None]
"""What is done to a path; a folder outside; draws."""


_STATE = """
format.json plan.json origin.json tasks.jsonl events.jsonl events-1.jsonl rungs.json machine.json skipped.json
looks.json workers.json worker.log stacks.txt lock lock.json
"""
_BESIDE = "manifest.yaml results.csv report.html contact_sheet.jpg images/ thumbs/ latents/ trash/ .run/"

REFUSED = (*_STATE.split(), *_BESIDE.split(), "receipts/", "failures/", "receipts/aa/")
"""What no command goes on with where it is a link or of another kind."""
OTHERS = (
    "receipt", "receipt of an extra", "failure", "image", "image of an extra", "thumbnail", "latents", "trashed",
    "trash/time/", "trash/time/images/",
)  # fmt: skip


def targets(run: Path) -> dict[str, Path]:
    """Everything that a run keeps, one of each kind."""
    state = run / ".run"
    failure = next((state / "failures").glob("*.json"))
    receipts = sorted((state / "receipts").glob("*/*.json"), key=lambda path: _data(path)["task"]["seed"])
    extra, receipt = receipts[0], receipts[-1]
    (trashed,) = (run / "trash").glob("*/images/*")
    return {
        **{name: state / name for name in _STATE.split()},
        "receipt": receipt,
        "receipt of an extra": extra,
        "failure": failure,
        "image": run / _data(receipt)["file"]["path"],
        "image of an extra": run / _data(extra)["file"]["path"],
        "thumbnail": run / "thumbs" / f"{receipt.stem}.webp",
        "latents": run / "latents" / f"{receipt.stem}.safetensors",
        "trashed": trashed,
        **{name: run / name for name in _BESIDE.split()},
        **{f"{path.name}/": path for path in (state / "receipts", state / "failures")},
        "receipts/aa/": receipt.parent,
        "trash/time/": trashed.parent.parent,
        "trash/time/images/": trashed.parent,
    }


def _data(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def elsewhere(place: Path) -> Path:
    """A folder outside with a file that says so, a picture and a folder."""
    outside = place / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "canary").write_text(f"{CANARY}\n")
    (outside / "folder" / "canary.json").write_text(json.dumps({"name": CANARY}))
    Image.new("RGB", (8, 8), "red").save(outside / "folder" / "picture.png")
    return outside


# What is written in place of a file


def _written(make: Callable[[bytes, random.Random], bytes]) -> Damage:
    def damage(path: Path, _outside: Path, draw: random.Random) -> None:
        path.write_bytes(make(path.read_bytes() if path.is_file() else b"", draw))

    return damage


VALUES = (
    None,
    "",
    "x",
    -1,
    0,
    1.5,
    True,
    [],
    {},
    ["x"],
    {"x": 1},
    10**30,
    "\ud800",
    "../outside/canary",
    "9" * 9999,
)


def _field(text: bytes, draw: random.Random) -> bytes:
    """Another value in one field, wherever it lies, of one line."""
    lines = text.splitlines() or [b"{}"]
    index = draw.randrange(len(lines)) if text.count(b"\n}") == 0 else None
    try:
        data = json.loads(text if index is None else lines[index])
    except ValueError:
        return text[: len(text) // 3]
    holder, key = draw.choice(list(_fields(data)) or [({}, "")])
    holder[key] = draw.choice(VALUES)
    made = json.dumps(data).encode()
    return made if index is None else b"\n".join([*lines[:index], made, *lines[index + 1 :]]) + b"\n"


def _fields(data: object) -> Iterator[tuple[dict | list, str | int]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield data, key
        yield from _fields(value)


def _schema(text: bytes, _draw: random.Random) -> bytes:
    try:
        data = json.loads(text)
    except ValueError:
        return b'{"schema": 99}'
    return json.dumps({**data, "schema": 99} if isinstance(data, dict) else data).encode()


# What else may lie there


def _gone(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _put(make: Callable[[Path, Path], None]) -> Damage:
    def damage(path: Path, outside: Path, _draw: random.Random) -> None:
        _gone(path)
        make(path, outside)

    return damage


def _moved(path: Path, outside: Path, _draw: random.Random) -> None:
    """What was there lies outside, and a link leads to it."""
    if not path.exists():
        path.write_bytes(b"{}")
    shutil.move(path, outside / "moved")
    path.symlink_to(outside / "moved")


def _hard_link(path: Path, outside: Path, _draw: random.Random) -> None:
    if not path.exists():
        path.write_bytes(b"{}")
    (outside / "second").hardlink_to(path)


FOR_FILES: dict[str, Damage] = {
    "empty": _written(lambda _text, _draw: b""),
    "half": _written(lambda text, _draw: text[: len(text) // 2]),
    "random": _written(lambda text, draw: draw.randbytes(max(len(text), 100))),
    "zeros": _written(lambda text, _draw: bytes(max(len(text), 100))),
    "null": _written(lambda _text, _draw: b"null"),
    "list": _written(lambda _text, _draw: b"[1]"),
    "object": _written(lambda _text, _draw: b"{}"),
    "string": _written(lambda _text, _draw: b'"x"'),
    "nested": _written(lambda _text, _draw: b"[" * 100_000),
    "nested object": _written(lambda _text, _draw: b'{"a":' * 100_000),
    "huge": _written(lambda _text, _draw: b'{"schema": 1e999, "name": ' + b"9" * 100_000 + b"}"),
    "surrogate": _written(lambda _text, _draw: b'{"schema": 1, "name": "\\ud800", "kind": "render"}'),
    "nan": _written(lambda _text, _draw: b'{"schema": NaN, "name": Infinity}'),
    "future": _written(_schema),
    **{f"field {number}": _written(_field) for number in range(4)},
    "canary": _put(lambda path, outside: path.symlink_to(outside / "canary")),
    "hard link": _hard_link,
}

FOR_BOTH: dict[str, Damage] = {
    "gone": _put(lambda _path, _outside: None),
    "moved": _moved,
    "dangling": _put(lambda path, outside: path.symlink_to(outside / "nothing")),
    "loop": _put(lambda path, _outside: path.symlink_to(path.name)),
    "to a folder": _put(lambda path, outside: path.symlink_to(outside / "folder")),
    "pipe": _put(lambda path, _outside: os.mkfifo(path)),
    "other kind": lambda path, _outside, _draw: (_gone(path), _made_other(path))[1],
}


def _made_other(path: Path) -> None:
    """A folder in place of a file, a file in place of a folder."""
    if path.suffix or path.name == "lock":
        path.mkdir()
        (path / "something").write_text("x")
    else:
        path.write_text("x")


UNREADABLE = {
    "empty", "half", "random", "zeros", "null", "list", "object", "string", "nested", "nested object", "huge",
    "surrogate", "nan", "future",
}  # fmt: skip
LED_OUT = {"canary", "moved", "dangling", "loop", "to a folder"}
WRONG_KIND = {"pipe", "other kind"}


def damages(path: Path) -> dict[str, Damage]:
    """What can be done to it."""
    return FOR_BOTH if path.is_dir() else FOR_FILES | FOR_BOTH
