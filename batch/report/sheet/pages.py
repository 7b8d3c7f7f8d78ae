"""Tables cut to fit, side by side and below one another: what stands on which page of a contact sheet."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

NARROW = 64
"""Pixels across of a column at least, for what stands above it."""
LONGEST = 1.5
"""Times as high as wide is a table at most before it is set side by side."""
WIDEST = 3
"""Times as wide as high is a table at most, where it can be."""
