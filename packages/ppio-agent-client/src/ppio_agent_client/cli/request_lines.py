"""Formats a request of `dev` as a line.

`14:03:07 POST /invocations stream 200  oslo-trip  first 312 ms  2.41 s  118 chunks`
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from .messages import later, ntr, tr
from .output import width
from .rendering import without_controls

_MAX_SESSION: Final = 16
_OUTCOMES: Final = {"failed": later("failed"), "caller left": later("caller left")}
_SERVER_ERROR: Final = 500
_CLIENT_ERROR: Final = 400


def request_line(request: Mapping[str, Any], now: datetime, columns: int) -> str:
    """Return a completed request as one line; on a narrow terminal as two, on the narrowest without the session.

    Args:
        request: The event of `subprocesses/serve`.
        now: When it was completed, in the user's time zone.
        columns: The terminal's width.
    """
    chunks, first, outcome = request["chunks"], request["first_seconds"], request["outcome"]
    head = [f"{now:%H:%M:%S}", request["method"], request["path"], request["form"], str(request["status"] or "-")]
    tail = [
        _short(request["session_id"]),
        *([] if first is None else [tr("first {time}", time=_time(first))]),
        _time(request["duration_seconds"]),
        *([] if chunks is None else [ntr("{n} chunk", "{n} chunks", chunks)]),
        *([] if outcome == "whole" else [tr(_OUTCOMES.get(outcome, outcome))]),
    ]
    begin = without_controls(" ".join(head))
    rest = without_controls("  ".join(tail))
    if width(begin) + width(rest) + 2 <= columns:
        return f"{begin}  {rest}"
    if width(rest) + 2 > columns:
        rest = without_controls("  ".join(tail[1:]))
    return f"{begin}\n  {rest}"


def style_of(request: Mapping[str, Any]) -> str | None:
    """Return the colour: red for a failed request, yellow for one that was refused or that the caller abandoned."""
    status = request["status"] or _SERVER_ERROR
    if request["outcome"] == "failed" or status >= _SERVER_ERROR:
        return "red"
    return "yellow" if status >= _CLIENT_ERROR or request["outcome"] != "whole" else None


def _short(session_id: str | None) -> str:
    if session_id is None:
        return "-"
    return session_id if len(session_id) <= _MAX_SESSION else f"{session_id[: _MAX_SESSION - 1]}…"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
