"""Names for what diffusers and transformers leave untyped, so that one reads what it is."""

from __future__ import annotations

from typing import Any

Keywords = dict[str, Any]
"""Arguments of a call into a library, by name."""

Config = dict[str, Any]
"""A configuration as a library's file holds it."""
