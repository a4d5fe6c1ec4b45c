"""The logs of a sandbox of the PPIO platform, for somebody who comes back with a cursor.

The platform takes moments, not places, so several lines may share one: a cursor is `<sandbox>|<moment>|<lines of that
moment that were seen>`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple


class LogCursor(NamedTuple):
    """Where somebody has stopped reading."""

    sandbox_id: str
    moment: str = ""
    seen: int = 0

    def __str__(self) -> str:
        return f"{self.sandbox_id}|{self.moment}|{self.seen}"

    @property
    def unix_milliseconds(self) -> int | None:
        """The moment as the platform wants it; None at the start."""
        try:
            return int(datetime.fromisoformat(self.moment).timestamp() * 1000)
        except ValueError:
            return None


def cursor_of(text: str | None) -> LogCursor | None:
    """Return a cursor as it was given out, None for anything else."""
    match (text or "").split("|"):
        case [sandbox_id, moment, seen] if sandbox_id and seen.isdecimal():
            return LogCursor(sandbox_id, moment, int(seen))
    return None


def unseen(value: Any, cursor: LogCursor) -> tuple[str, LogCursor]:
    """Return what an answer has beyond the cursor, a line each, and where the next answer begins."""
    lines: list[str] = []
    before, moment, seen = 0, cursor.moment, cursor.seen
    for when, message in sorted(_entries(value), key=lambda entry: entry[0]):
        if when < cursor.moment:
            continue
        if when == cursor.moment and before < cursor.seen:
            before += 1
            continue
        lines.append(f"{message}\n")
        moment, seen = when, seen + 1 if when == moment else 1
    return "".join(lines), LogCursor(cursor.sandbox_id, moment, seen)


def _entries(value: Any) -> Iterator[tuple[str, str]]:
    """Yield moment and text of each line, in either version of the answer."""
    answer = value if isinstance(value, dict) else {}
    for name in ("logEntries", "logs"):
        found = answer.get(name)
        if isinstance(found, list) and found:
            for entry in found:
                if isinstance(entry, dict) and isinstance(entry.get("timestamp"), str):
                    yield entry["timestamp"], str(entry.get("message", entry.get("line", ""))).rstrip("\n")
            return
