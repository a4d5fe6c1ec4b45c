"""How long each part of a run took: spans made from its typed events."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from ..text import cut

MAX_SPANS: Final = 500
"""How many spans of one run are kept."""
MAX_CHARS: Final = 2000
"""Longest text in an attribute."""
_STARTS: Final = {
    "REASONING_START": ("reasoning", "messageId", ""),
    "STEP_STARTED": ("step", "stepName", "stepName"),
    "SUBAGENT_STARTED": ("subagent", "subagentRunId", "name"),
    "TEXT_MESSAGE_START": ("message", "messageId", ""),
    "TOOL_CALL_START": ("tool", "toolCallId", "toolCallName"),
}
"""Type of an event to the kind of its span, the field with its id, and the field with its name."""
_ENDS: Final = {
    "REASONING_END": "reasoning",
    "STEP_FINISHED": "step",
    "SUBAGENT_ERROR": "subagent",
    "SUBAGENT_FINISHED": "subagent",
    "TEXT_MESSAGE_END": "message",
    "TOOL_CALL_END": "tool",  # the arguments are complete; a TOOL_CALL_RESULT that follows moves the end
    "TOOL_CALL_RESULT": "tool",
}
_ID_FIELDS: Final = {kind: id_field for kind, id_field, _ in _STARTS.values()}

Status = Literal["unset", "ok", "error"]


@dataclass(slots=True)
class Span:
    """One span: a named period of time.

    Attributes:
        id: Unique in its run.
        parent_id: The span that it is a part of; None for the root.
        kind: `invocation`, `queue`, `tool`, `step`, `subagent`, `reasoning`, `message`; or OpenTelemetry's span kind.
        started_at: In unix seconds.
        duration_seconds: None while it is open.
        error: Type of the exception.
        attributes: Strings, numbers, booleans, lists of these.
    """

    id: str
    parent_id: str | None
    name: str
    kind: str
    started_at: float
    duration_seconds: float | None = None
    status: Status = "unset"
    error: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


class EventSpans:
    """Makes spans from the typed events of one run: tool calls, steps, subagents, reasoning, messages.

    Args:
        root_id: ID of the run's own span.
    """

    def __init__(self, root_id: str) -> None:
        self.spans: list[Span] = []
        self._root_id = root_id
        self._by_key: dict[tuple[str, str], Span] = {}
        self._steps: list[Span] = []  # the open ones

    def add(self, event: Mapping[str, Any]) -> None:
        """Record an event of the run, at the current time."""
        kind = event["type"]
        if kind in _STARTS:
            self._start(event, *_STARTS[kind])
        elif kind in _ENDS:
            self._end(event, _ENDS[kind])

    def _start(self, event: Mapping[str, Any], kind: str, id_field: str, name_field: str) -> None:
        if len(self.spans) >= MAX_SPANS:
            return
        name, own_id = str(event.get(name_field) or kind), str(event.get(id_field) or "")
        parent = self._steps[-1].id if self._steps else self._root_id
        span = Span(f"{self._root_id[:8]}-{len(self.spans) + 1}", parent, name, kind, time.time())
        if kind == "tool":
            span.attributes = {"gen_ai.tool.name": cut(name, MAX_CHARS), "gen_ai.tool.call.id": cut(own_id, MAX_CHARS)}
        self.spans.append(span)
        self._by_key[kind, own_id] = span
        if kind == "step":
            self._steps.append(span)

    def _end(self, event: Mapping[str, Any], kind: str) -> None:
        span = self._by_key.get((kind, str(event.get(_ID_FIELDS[kind]) or "")))
        if span is None:
            return
        span.duration_seconds = max(0.0, time.time() - span.started_at)
        if span in self._steps:
            self._steps.remove(span)
        if event["type"] == "SUBAGENT_ERROR":
            span.status, span.error = "error", str(event.get("code") or "SubagentError")

    def finish(self) -> None:
        """End all open spans: the run is over."""
        for span in self.spans:
            if span.duration_seconds is None:
                span.duration_seconds = max(0.0, time.time() - span.started_at)


def shown(value: Any) -> Any:
    """Return an attribute's value for display: long texts are cut, unknown types become the type's name."""
    if isinstance(value, str):
        return cut(value, MAX_CHARS)
    if value is None or isinstance(value, bool | int | float):
        return value
    return [shown(each) for each in value] if isinstance(value, list | tuple) else type(value).__name__
