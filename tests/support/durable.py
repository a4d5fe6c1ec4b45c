"""Durable invocations, asked for over a bare socket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .calls import call
from .gates import eventually
from .raw_http import Answer, Event, invoke

ASYNC = {"Prefer": "respond-async"}


def submit(url: str, payload: Any = None, headers: Mapping[str, str] | None = None) -> str:
    """Post with `respond-async`, look at the 202, and return the path of the invocation."""
    answer = invoke(url, payload, ASYNC | dict(headers or {}))
    assert answer.status == 202, answer.body
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["location"] == f"/invocations/{answer.json['invocation_id']}"
    assert answer.headers["x-ppio-invocation-id"] == answer.json["invocation_id"]
    return answer.headers["location"]


def resource(url: str, path: str, wait: float | None = None) -> Any:
    """Return the invocation as it is."""
    answer = call(url, path if wait is None else f"{path}?wait={wait}", method="GET")
    assert answer.status == 200, answer.body
    return answer.json


def finished(url: str, path: str) -> Any:
    """Return the invocation at its end."""
    return resource(url, path, wait=60)


def events(url: str, path: str, after: int | None = None) -> Answer:
    """Return the log of an invocation, to its end."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    return call(url, f"{path}/events", method="GET", headers=headers)


def cancel(url: str, path: str) -> Answer:
    """Cancel an invocation."""
    return call(url, path, method="DELETE")


def in_state(url: str, path: str, state: str) -> None:
    """Wait until the invocation is in a state."""
    eventually(lambda: resource(url, path)["state"] == state, state)


def chunks(found: list[Event]) -> list[Any]:
    """Return the data of the chunks among events."""
    return [event.data for event in found if event.kind == "chunk"]


def numbers(found: list[Event]) -> list[int | None]:
    """Return the ids of events."""
    return [event.event_id for event in found]


def body_of(payload: Any) -> bytes:
    """Return a payload as a body."""
    return json.dumps(payload).encode()
