"""The log of a sandbox of the PPIO platform, a page at a time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from .._sandbox import LogPage
from . import json_codec
from .platform_answers import moment

_START = (0, 0)


def since(cursor: str | None) -> tuple[int, int]:
    """Return from when on a page is asked for, in unix milliseconds, and how many lines of that moment are known."""
    when, _, known = (cursor or "").partition(":")
    return (int(when), int(known)) if when.isdecimal() and known.isdecimal() else _START


def page_of(value: Any, cursor: str | None) -> LogPage:
    """Return what of an answer was not known at `cursor`.

    Lines carry no number, so the cursor is the moment of the last one and how many there were of it.
    """
    begin, known = since(cursor)
    lines = sorted(_lines(value), key=lambda line: line[0])  # stable: lines of one moment stay in order
    fresh = [line for line in lines if line[0] >= begin]
    fresh = fresh[min(known, sum(when == begin for when, _ in fresh)) :]
    if not fresh:
        return LogPage(text="", cursor=f"{begin}:{known}")
    last = fresh[-1][0]
    count = sum(when == last for when, _ in fresh) + (known if last == begin else 0)
    return LogPage(text="".join(text for _, text in fresh), cursor=f"{last}:{count}")


def _lines(value: Any) -> list[tuple[int, str]]:
    fields = value if isinstance(value, dict) else {}
    entries = fields.get("logEntries") or fields.get("logs")
    found = (_line(entry) for entry in (entries if isinstance(entries, list) else ()))
    return [line for line in found if line is not None]


def _line(entry: Any) -> tuple[int, str] | None:
    fields = entry if isinstance(entry, dict) else {}
    when = moment(fields.get("timestamp"))
    text = _written(fields.get("fields")) or _written(_document(fields.get("line")))
    if text is None:
        text = fields.get("message", fields.get("line"))
        text = f"{text}\n" if isinstance(text, str) and not text.endswith("\n") else text
    return (_milliseconds(when), text) if isinstance(text, str) and when is not None else None


def _written(fields: Any) -> str | None:
    """Return what a process has written, as it wrote it: envd sends pieces, which end anywhere, also within a line."""
    data = fields.get("data") if isinstance(fields, dict) else None
    return data if isinstance(data, str) else None


def _document(line: Any) -> Any:
    """Return the record of envd that is the line of an older answer."""
    if not isinstance(line, str) or not line.startswith("{"):
        return None
    try:
        return json_codec.load(line)
    except ValueError:
        return None


def _milliseconds(when: datetime) -> int:
    return int(when.timestamp() * 1000)
