"""Moments and spans as people say them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"))


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago something was, such as "5 min ago"."""
    if moment is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - _aware(moment)).total_seconds()
    return "just now" if seconds < 1 else f"{span(seconds)} ago"


def ahead(moment: datetime | None, now: datetime | None = None) -> str:
    """Return how long something has still to come, such as "in 5 min"."""
    if moment is None:
        return ""
    seconds = (_aware(moment) - (now or datetime.now(UTC))).total_seconds()
    return "now" if seconds < 1 else f"in {span(seconds)}"


def exact(moment: datetime | None, now: datetime | None = None) -> str:
    """Return a moment in full, with how long ago it was."""
    return "" if moment is None else f"{_aware(moment).astimezone():%Y-%m-%d %H:%M:%S} ({ago(moment, now)})"


def span(seconds: float) -> str:
    """Return a number of seconds in its largest unit."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
