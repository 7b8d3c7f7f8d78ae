"""How a run is at this moment, as it tells whoever watches: ``status``, the page, another terminal."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from batch.records.kinds import Stage


class RunState(StrEnum):
    """What a run is at."""

    STARTING = "starting"
    LOADING = "loading"
    ENCODING = "encoding"
    RENDERING = "rendering"
    PAUSED = "paused"
    STOPPING = "stopping"
    """It finishes the image at work, and starts none."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStatus:
    """One moment of a run. Times are seconds since 1970 (UTC)."""

    schema: int = 1
    state: RunState
    name: str
    pid: int
    host: str
    began: float
    updated: float
    """When this was written; a run that is alive writes it anew every few seconds."""
    image: str = ""
    """Name of the image, or the text, at work."""
    stage: Stage | None = None
    part: int = 0
    parts: int = 0
    image_left_s: float | None = None
    """What the image at work still takes."""
    total: int = 0
    """Images of the plan."""
    done: int = 0
    failed: int = 0
    to_render: int = 0
    """Images that are neither done nor given up."""
    per_hour: float | None = None
    ends_at: float | None = None
    ends_from: str = ""
    """What the expected end rests on, for people."""
    ends_guessed: bool = False
    said: str = ""
    """What is to be known now: who paused it, why it ended."""
    generation: int = 0
    """How often the report was written in this run."""
