"""Stand-in until the formats branch is merged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batch.records import Arguments


def canonical(name: str) -> str:
    if name not in ("png",):
        raise ValueError(f"{name} is no format")
    return name


def check_options(format: str, options: Mapping[str, Any]) -> Arguments:
    for key in options:
        raise ValueError(f"unknown option {key}")
    return ()


def fits(format: str, width: int, height: int) -> str | None:
    return None
