"""How long each part of a run took: spans from its typed events, or those of OpenTelemetry if that is on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from ..text import cut

MAX_SPANS: Final = 500
"""How many are kept of one run."""
MAX_CHARS: Final = 2000
"""How much of a text in an attribute."""
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
    "TOOL_CALL_END": "tool",  # all arguments are there; a result that follows moves the end
    "TOOL_CALL_RESULT": "tool",
}
_ID_FIELDS: Final = {kind: id_field for kind, id_field, _ in _STARTS.values()}

Status = Literal["unset", "ok", "error"]


@dataclass(slots=True)
class Span:
    """One stretch of time.

    Attributes:
        id: Unique in its run.
        parent_id: The span that it is a part of; None for the root.
        kind: `invocation`, `queue`, `tool`, `step`, `subagent`, `reasoning`, `message`; of OpenTelemetry its kind.
        started_at: In unix seconds.
        duration_seconds: None while it is open.
        error: Type of the exception.
        attributes: Texts, numbers, booleans, lists of these.
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
    """The spans that the typed events of one run tell of: tool calls, steps, subagents, reasoning, messages.

    Args:
        root_id: The span of the run.
    """

    def __init__(self, root_id: str) -> None:
        self.spans: list[Span] = []
        self._root_id = root_id
        self._by_key: dict[tuple[str, str], Span] = {}
        self._steps: list[Span] = []  # that are open

    def add(self, event: Mapping[str, Any]) -> None:
        """Take an event that has just been made."""
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
        """End what is open: the run is over."""
        for span in self.spans:
            if span.duration_seconds is None:
                span.duration_seconds = max(0.0, time.time() - span.started_at)


def shown(value: Any) -> Any:
    """Return an attribute's value as it can be shown: long texts cut, anything unknown as its type's name."""
    if isinstance(value, str):
        return cut(value, MAX_CHARS)
    if value is None or isinstance(value, bool | int | float):
        return value
    return [shown(each) for each in value] if isinstance(value, list | tuple) else type(value).__name__
