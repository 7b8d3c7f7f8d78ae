"""What a run says of itself while it goes on: ``.run/status.js``, and what is new for its page in ``.run/page/``.

Both are scripts of one call whose argument is JSON, since a page that was opened from disk may load scripts from
there and nothing else. Neither is synced: they are worth nothing after the run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from batch.base import atomic, regular
from batch.records.live import LiveStatus
from batch.records.reading import from_json, to_json

STATUS, PAGE = "status.js", "page"

_STATUS_CALL, _PIECE_CALL = "runBatchStatus(", "runBatchPiece("

_MOST = 2**20
"""Bytes of a status: it has some hundred, and a name that may be long."""


def write(state: Path, status: LiveStatus, runner: str) -> None:
    """Put a status in place of the one before. Raises OSError."""
    _write(state / STATUS, _STATUS_CALL, in_script(to_json(status)), runner)


def read(state: Path) -> LiveStatus | None:
    """The last status that a run wrote into its folder; None where there is none that can be read."""
    with suppress(OSError, ValueError):
        text = regular.read(state / STATUS, _MOST).decode()
        return from_json(LiveStatus, text.strip().removeprefix(_STATUS_CALL).removesuffix(");"))
    return None


def write_piece(state: Path, generation: int, data: str, runner: str) -> None:
    """Write what is new in one writing of the report since the one before, JSON of :func:`in_script`.

    Raises OSError.
    """
    _write(state / PAGE / f"{generation:04d}.js", _PIECE_CALL, data, runner)


def forget_pieces(state: Path) -> None:
    """Remove those of the run before. Raises OSError."""
    for path in (state / PAGE).glob("*.js"):
        path.unlink(missing_ok=True)


def in_script(data: Mapping[str, object]) -> str:
    """Data as JSON that may stand in a script: nothing in it can end the element that holds it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _write(path: Path, call: str, data: str, runner: str) -> None:
    atomic.write(path, f"{call}{data});\n".encode(), runner, durable=False)
