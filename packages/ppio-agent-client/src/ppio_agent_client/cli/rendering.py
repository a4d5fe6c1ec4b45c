"""Formats results, streams and times."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, Final

from .messages import later, tr
from .output import screen

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters, which could move the cursor or control the terminal; line breaks and tabs are allowed."""
_UNITS: Final = ((86400, later("{number} d")), (3600, later("{number} h")), (60, later("{number} min")))


def show_answer(document: dict[str, Any], result: object) -> None:
    """Print an agent's result: `document` with `--json`, else the result alone."""
    if screen.as_json:
        screen.result(document)
    elif isinstance(result, str):
        screen.result(document, readable(result))
    else:
        screen.result(result)


class StreamView:
    """Prints the events of a stream as they arrive.

    Text is printed piece by piece, anything else on its own line. With `--json` each event is one line, a
    `StreamEvent`: `{"kind": "chunk" | "progress" | "done" | "error", "data": ..., "event_id": ...}`.
    """

    def __init__(self) -> None:
        self._is_mid_line = False

    def show(self, kind: str, data: object, event_id: int | None = None) -> None:
        """Print one event."""
        if screen.as_json:
            screen.line({"kind": kind, "data": data, "event_id": event_id})
        elif kind == "chunk":
            self._show_chunk(data)
        elif kind == "progress":
            self.end()
            screen.note(tr("progress: {value}", value=json.dumps(data, ensure_ascii=False, default=str)), "dim")

    def end(self) -> None:
        """End a line of text that is not complete."""
        if self._is_mid_line:
            screen.text("\n")
            self._is_mid_line = False

    def _show_chunk(self, data: object) -> None:
        text = text_of(data)
        if text is None:
            self.end()
            screen.line(data)
        elif text:
            screen.text(readable(text))
            self._is_mid_line = not text.endswith("\n")


def text_of(chunk: object) -> str | None:
    """Return the text of a chunk: a string, or the platform's convention `{"chunk": "...", "type": "content"}`."""
    if isinstance(chunk, str):
        return chunk
    if isinstance(chunk, dict) and chunk.keys() == {"chunk", "type"} and isinstance(chunk["chunk"], str):
        return chunk["chunk"] if chunk["type"] in ("content", "end") else None
    return None


def readable(text: str) -> str:
    """Return text of an agent; on a terminal without control characters."""
    return without_controls(text) if screen.is_terminal else text


def without_controls(text: str) -> str:
    """Return text without control characters."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago a moment was, such as "5 min ago"."""
    if moment is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - _aware(moment)).total_seconds()
    return tr("just now") if seconds < 1 else tr("{span} ago", span=span(seconds))


def ahead(moment: datetime | None, now: datetime | None = None) -> str:
    """Return the time until a moment, such as "in 5 min"."""
    if moment is None:
        return ""
    seconds = (_aware(moment) - (now or datetime.now(UTC))).total_seconds()
    return tr("now") if seconds < 1 else tr("in {span}", span=span(seconds))


def exact(moment: datetime | None, now: datetime | None = None) -> str:
    """Return a moment in full, with how long ago it was."""
    return "" if moment is None else f"{_aware(moment).astimezone():%Y-%m-%d %H:%M:%S} ({ago(moment, now)})"


def span(seconds: float) -> str:
    """Return a number of seconds in its largest unit."""
    for size, unit in _UNITS:
        if seconds >= size:
            return tr(unit, number=f"{seconds / size:.0f}")
    return tr("{number} s", number=f"{seconds:.0f}")


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
