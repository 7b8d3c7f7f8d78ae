"""What a measurement's folder keeps beside its receipts: whose card it is, and what was not tried and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batch.base import atomic
from batch.base.errors import ForeignFolder
from batch.records import Machine

MACHINE, SKIPPED = "machine.json", "skipped.json"


def claim(state: Path, machine: Machine, runner: str, *, empty: bool) -> None:
    """Make the folder this card's; ``empty`` where nothing is measured in it yet.

    Raises :class:`ForeignFolder` where it belongs to another kind of card, or to one held to another limit.
    """
    owner = _read(state / MACHINE)
    ours = {"device": machine.device, "vram_limit": machine.vram_limit}
    if owner == ours:
        return
    if owner and not empty:
        raise ForeignFolder(
            f"{state.parent} holds what was measured on {_named(owner)}, and this is {_named(ours)}: a folder of "
            "measurements is for one card. Choose another with --out; `compare` shows both"
        )
    atomic.write(state / MACHINE, json.dumps(ours).encode(), runner)


def _named(owner: Mapping[str, Any]) -> str:
    limit = owner.get("vram_limit")
    held = f" held to {limit / 2**30:g} GiB" if isinstance(limit, int) else ""
    return f"{owner.get('device') or 'an unknown card'}{held}"


def keep_skipped(state: Path, skipped: Mapping[str, str], runner: str) -> None:
    """Keep why tasks, by their id, are not tried; in place of what was kept before."""
    if skipped or (state / SKIPPED).exists():
        data = {"schema": 1, "skipped": dict(skipped)}
        atomic.write(state / SKIPPED, json.dumps(data, indent=1, sort_keys=True).encode(), runner)


def skipped(state: Path) -> dict[str, str]:
    """Why tasks are not tried, by id. Damaged content counts as empty: the next run works it out again."""
    found = _read(state / SKIPPED).get("skipped")
    return {str(key): str(why) for key, why in found.items()} if isinstance(found, dict) else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
