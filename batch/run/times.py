"""The times and hours that ``--until`` and ``--max-hours`` are given, as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from batch.base.errors import UserError
from batch.run.limits import shown


def parse_until(text: str, now: datetime) -> datetime:
    """The instant that ``--until`` names.

    A time alone (``07:00``, ``7``, ``7am``, ``4:30 pm``) is its next occurrence after ``now``; a time without a
    zone is in the zone of ``now`` if that knows daylight saving (a ZoneInfo), else in this machine's. Raises
    :class:`UserError`.
    """
    padded = re.sub(r"(?<![0-9])([0-9]:)", r"0\1", _by_24_hours(text.strip()), count=1)
    try:
        if re.fullmatch(r"[0-9]{2}:[0-9]{2}(:[0-9]{2})?", padded):
            return _next(padded, now)
        when = datetime.fromisoformat(padded)
        if ":" not in padded:
            raise ValueError("a day without a time")
        instant = when if when.tzinfo else _placed(when, now)
        passed = instant.astimezone(UTC) <= now.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise UserError(
            f"--until {text}: not a time. Write for example 07:00 (the next one), 7am, "
            '"2026-11-25 07:00" or 2026-11-25T07:00+01:00'
            f"{_meant_by(text.strip())}"
        ) from None
    if passed:
        raise UserError(
            f"--until {text}: that is past, it is {shown(_local(now))} now. Name a later time; "
            f"{when:%H:%M} alone is the next {when:%H:%M}"
        )
    return instant


_HOUR = re.compile(r"(\d{1,2})(?::(\d\d))?\s*(?:([ap])\.?m\.?)?", re.IGNORECASE | re.ASCII)


def _by_24_hours(clock: str) -> str:
    """``7`` and ``4:30 pm`` as ``7:00`` and ``16:30``; all else as it is: ``13pm`` is no time."""
    found = _HOUR.fullmatch(clock)
    if found is None:
        return clock
    hour, half = int(found[1]), (found[3] or "").lower()
    if half and not 1 <= hour <= 12:
        return clock
    return f"{hour % 12 + 12 * (half == 'p') if half else hour}:{found[2] or '00'}"


def _meant_by(text: str) -> str:
    """What to write in place of ``19h`` or ``7h30``, which may be a time or a while."""
    found = re.fullmatch(r"(\d{1,2})\s*(?:h|hrs?|hours?|Uhr|heures?)\s*(\d\d)?", text, re.IGNORECASE | re.ASCII)
    if found is None:
        return ""
    hours = int(found[1]) + int(found[2] or 0) / 60
    return f"; for that time of day {int(found[1]):02}:{found[2] or '00'}, for so many hours --max-hours {hours:g}"


def parse_hours(text: str) -> float:
    """The hours that ``--max-hours`` names: ``7.5``, ``8h``, ``90m``, ``7h30m``. Raises :class:`UserError`."""
    found = re.fullmatch(
        r"(?:(\d+(?:\.\d+)?)\s*h)?\s*(?:(\d+(?:\.\d+)?)\s*m(?:in)?)?", text.strip().lower(), re.ASCII
    )
    if found is not None and found[0]:
        return float(found[1] or 0) + float(found[2] or 0) / 60
    try:
        return float(text)
    except ValueError:
        raise UserError(f"--max-hours {text}: not a number of hours; {_hours_meant(text.strip())}") from None


def _hours_meant(text: str) -> str:
    if clock := re.fullmatch(r"(\d{1,3}):(\d\d)", text, re.ASCII):
        return f"write {int(clock[1])}h{clock[2]}m for so long; a time of day is --until {text}"
    if comma := re.fullmatch(r"(\d{1,3}),(\d{1,3})", text, re.ASCII):
        return f"write {comma[1]}.{comma[2]}"
    return "write for example 7.5, 8h or 90m"


def _next(clock: str, now: datetime) -> datetime:
    today = _local(now).date()
    # An hour that the clocks repeat in autumn comes twice (fold); one that they skip in spring counts as
    # the hour after.
    candidates = (
        _placed(datetime.fromisoformat(f"{day}T{clock}").replace(fold=fold), now)
        for day in (today, today + timedelta(days=1))
        for fold in (0, 1)
    )
    return next(item for item in candidates if item.astimezone(UTC) > now.astimezone(UTC))


def _placed(naive: datetime, now: datetime) -> datetime:
    """A wall clock's time as an instant. A fixed offset would be wrong on the other side of a change of clocks."""
    zone = now.tzinfo
    if zone is None or isinstance(zone, timezone):
        return naive.astimezone()
    return naive.replace(tzinfo=zone).astimezone(UTC).astimezone(zone)


def _local(now: datetime) -> datetime:
    return now.astimezone() if isinstance(now.tzinfo, timezone) else now
