"""Times, counts and sizes in words for people. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone


def duration(seconds: float) -> str:
    """``1h 02m``, ``3m 20s``, ``4.2s`` or ``0.42s``."""
    if seconds < 60:
        return f"{seconds:.{2 if seconds < 1 else 1}f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    return f"{minutes // 60}h {minutes % 60:02d}m"


def exactly(seconds: float) -> str:
    """A time that somebody has set: ``20s``, ``1.5s``, ``3m 20s``."""
    return f"{seconds:g}s" if seconds < 60 else duration(seconds)


def roughly(seconds: float) -> str:
    """A time to the second, and no less than one: ``20s``, ``3m 20s``."""
    return f"{max(1, round(seconds))}s" if round(seconds) < 60 else duration(max(60.0, seconds))


def at_clock(when: datetime) -> str:
    """``at 06:49``, ``tomorrow at 06:49``, ``on 2026-12-01 at 06:49``: an instant by the local clock."""
    there, today = when.astimezone(), datetime.now().astimezone().date()
    days = (there.date() - today).days
    day = {0: "", 1: "tomorrow "}.get(days, f"on {there:%Y-%m-%d} ")
    return f"{day}at {there:%H:%M}"


_GRAINS = ((20 * 60, 1), (2 * 3600, 5), (8 * 3600, 10), (24 * 3600, 30))
"""Up to so many seconds ahead an end is told to so many minutes; beyond that to the hour."""


def done_about(seconds: float, now: datetime | None = None, *, guessed: bool = False) -> str:
    """``done about 06:40``, ``done tomorrow about 06:40``, ``done on Sat about 07:00``: by the local clock.

    No finer than an estimate of so many seconds can be, and of a guess a step coarser. ``now`` has a time zone.
    """
    now = now or datetime.now().astimezone()
    grains = [minutes for most, minutes in _GRAINS if seconds < most] + [60, 60]
    grain = grains[1 if guessed else 0]
    zone = None if isinstance(now.tzinfo, timezone) else now.tzinfo
    try:
        end = (now.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        return "done in a lifetime or more"
    midnight = end.replace(hour=0, minute=0, second=0, microsecond=0)
    end = midnight + timedelta(minutes=round((end - midnight) / timedelta(minutes=grain)) * grain)
    days = (end.date() - now.date()).days
    day = ["", "tomorrow "][days] if days in (0, 1) else f"on {end:%a} " if days < 7 else f"on {end:%Y-%m-%d} "
    return f"done {day}about {end:%H:%M}"


def by_clock(time: str) -> str:
    """A time of the records by the local clock, to be read: ``2026-11-29 04:14:17``."""
    try:
        return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # what somebody wrote there
        return time


def timestamp() -> str:
    """Now, in UTC, as ISO 8601 to the second: how files and receipts say when."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def plural(count: int, word: str, many: str = "") -> str:
    """``1 image``, ``27003 images``; a word that is plural already (steps) loses its s for one.

    No thousands separators: so it stands in JSON and in file names. ``many`` is for a word that takes more.
    """
    if many:
        return f"{count} {word if count == 1 else many}"
    word = word.removesuffix("s")
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def gib(size: float) -> str:
    """A size in bytes in GiB, or MiB below half of one."""
    if size >= 2**29:
        return f"{size / 2**30:.1f} GiB"
    return f"{size / 2**20:.{0 if size >= 10 * 2**20 or not size else 1}f} MiB"


_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""What a terminal obeys and does not show (ESC, CR), what turns the order of letters round, half characters."""


def is_plain(text: str) -> bool:
    """Whether a text is what it looks like, in a terminal too."""
    return _HIDDEN.search(text) is None


def visible(text: str) -> str:
    r"""A text with what is hidden in it as Python and JSON write it: ``\u001b``. Line ends and tabs stay."""
    return _HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def one_line(text: str) -> str:
    """A name that may have line ends in it, so that it cannot pass for a line of its own."""
    return text.replace("\n", "\\u000a").replace("\t", "\\u0009")


def at_seat(text: str, seat: str) -> str:
    """What happened, with the device that it happened at in front, unless the text names that."""
    return f"{seat}: {text}" if seat and seat not in text else text
