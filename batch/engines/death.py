"""How a worker ended."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Death:
    """How a worker ended: for people, what it printed last, and whether the kernel took it for its memory."""

    reason: str
    log: str
    out_of_host_memory: bool = False
    innocent: bool = False
    """The machine went away: whatever was in hand had nothing to do with it."""
    gone: bool = False
    """For good: no other worker can be started there."""

    @property
    def why(self) -> str:
        """For people, with the last error that it printed."""
        lines = [line.strip() for line in self.log.splitlines() if "rror" in line and not _WARNING.search(line)]
        last = lines[-1] if lines else ""
        return f"{self.reason}: {last[:200]}" if last and last not in self.reason else self.reason


_WARNING = re.compile(r"^[WI]\d{4} |Warning:")
"""What torch and Python print and go on: of some it says that they will be errors one day."""
