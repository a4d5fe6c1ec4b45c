"""An invocation as JSON, for those who look at it."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic_core import to_json


def resource_json(answer: bytes, **facts: str | int | None) -> bytes:
    """Return an invocation with its answer, which is JSON already."""
    return b'%b,"response":%b}' % (to_json(facts)[:-1], answer)


def iso_time(moment: float | None) -> str | None:
    """Return a time in unix seconds as ISO 8601 has it, in UTC."""
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()
