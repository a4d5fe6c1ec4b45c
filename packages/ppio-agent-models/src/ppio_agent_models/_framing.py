"""Turns what an agent yields into a complete AG-UI 1.0 run: puts text into messages, adds missing starts and ends.

It works on plain JSON objects and imports nothing, so it costs nothing for agents that send no events.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what `typing` has, without its import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Event = dict[str, Any]

PLAIN_CHUNK = "ppio.chunk"
"""Name of the CUSTOM event that carries a value that is neither text nor an event."""

EVENT_TYPES = frozenset(
    f"{subject}_{what}"
    for subject, kinds in {
        "TEXT_MESSAGE": "START CONTENT END CHUNK",
        "TOOL_CALL": "START ARGS END CHUNK RESULT",
        "REASONING": "START END MESSAGE_START MESSAGE_CONTENT MESSAGE_END MESSAGE_CHUNK ENCRYPTED_VALUE",
        "STATE": "SNAPSHOT DELTA",
        "MESSAGES": "SNAPSHOT",
        "ACTIVITY": "SNAPSHOT DELTA",
        "RUN": "STARTED FINISHED ERROR",
        "STEP": "STARTED FINISHED",
        "SUBAGENT": "STARTED FINISHED ERROR",
    }.items()
    for what in kinds.split()
) | {"RAW", "CUSTOM"}
"""The event types of AG-UI 1.0."""


def as_event(value: object) -> Event | None:
    """Return a value as an event, or None if it is none: a dict with an event's `type`, or an event object."""
    if isinstance(value, dict):
        kind = value.get("type")
        return value if isinstance(kind, str) and kind in EVENT_TYPES else None
    if not is_event_object(value):
        return None
    from ._private_fields import private_fields  # once there is an event

    private = private_fields(value, "event")
    dumped: Event = value.model_dump(mode="json", by_alias=True, exclude=private)  # type: ignore[attr-defined]
    return dumped


def is_event_object(value: object) -> bool:
    """Return whether a value is an event object: one of our classes, or of `ag_ui.core`."""
    if not hasattr(type(value), "__pydantic_fields__"):
        return False
    kind = getattr(value, "type", None)
    return hasattr(type(value), "is_agent_event") or (
        isinstance(kind, str) and getattr(kind, "value", kind) in EVENT_TYPES
    )


class EventFramer:
    """Turns the values that an agent yields into the events of one run.

    Text goes into the open message, or opens one. A message that was opened here ends when a tool call, a step or
    another message begins; one that the agent opened stays open until the agent ends it, or the run ends. A
    RUN_FINISHED or RUN_ERROR from the agent is stored, not returned: `finish` sends the former.

    Args:
        thread_id: The conversation.
        run_id: The run.
        seed: The prefix of generated message IDs.

    Attributes:
        text_id: The open text message, or None.
        error: A RUN_ERROR that the agent yielded.
        is_over: Whether `finish` was called.
        finished: A RUN_FINISHED that the agent yielded, or that `finish` returned.
    """

    def __init__(self, thread_id: str, run_id: str, seed: str) -> None:
        self.text_id: str | None = None
        self.error: Event | None = None
        self.finished: Event = {}
        self._ids = {"threadId": thread_id, "runId": run_id}
        self._seed = seed
        self._count = 0
        self._has_begun = False
        self.is_over = False
        self._open: dict[tuple[str, str], Event] = {}  # end type and id, in the order of their starts: the end event
        self._own: set[tuple[str, str]] = set()  # those that were opened here

    def begin(self) -> list[Event]:
        """Return RUN_STARTED on the first call, nothing after that."""
        if self._has_begun:
            return []
        self._has_begun = True
        return [{"type": "RUN_STARTED", **self._ids}]

    def frame(self, value: object) -> list[Event]:
        """Return the events for one value that the agent yielded."""
        if isinstance(value, str):
            return self.begin() + self._text({"delta": value}) if value else self.begin()
        event = as_event(value)
        if event is None:
            event = {"type": "CUSTOM", "name": PLAIN_CHUNK, "value": value}
        handle = _HANDLERS.get(event["type"])
        return self.begin() + ([event] if handle is None else handle(self, event))

    def finish(self, result: object = None) -> list[Event]:
        """Return the last events of a successful run: the ends of everything open, then RUN_FINISHED.

        Args:
            result: What the agent returned; a result in the agent's own RUN_FINISHED takes precedence.
        """
        events = self.begin() + [event for key in reversed(list(self._open)) for event in self._end(key)]
        given = {name: value for name, value in self.finished.items() if value is not None and name not in self._ids}
        if result is not None:
            given.setdefault("result", result)
        self.finished = {"type": "RUN_FINISHED", **self._ids, **given}
        self.is_over = True
        return [*events, self.finished]

    def _text(self, event: Event) -> list[Event]:
        return self._content("TEXT_MESSAGE", "messageId", event, {"role": event.get("role") or "assistant"})

    def _reasoning(self, event: Event) -> list[Event]:
        given = event.get("messageId") or self._last("REASONING_MESSAGE_END") or self._last("REASONING_END")
        given = given or self._new_id()
        events = []
        if ("REASONING_MESSAGE_END", given) not in self._open and not self._last("REASONING_END"):
            self._own.add(("REASONING_END", given))
            events = self._start({"type": "REASONING_START", "messageId": given})
        return events + self._content(
            "REASONING_MESSAGE", "messageId", {**event, "messageId": given}, {"role": "reasoning"}
        )

    def _tool_args(self, event: Event) -> list[Event]:
        named = {name: event[name] for name in ("toolCallName", "parentMessageId") if event.get(name) is not None}
        return self._content("TOOL_CALL", "toolCallId", event, named)

    def _content(self, subject: str, id_name: str, event: Event, head: Event) -> list[Event]:
        """Return content of a message or tool call, after its start if that is missing. Expands CHUNK events."""
        end = f"{subject}_END"
        given = event.get(id_name) or self._last(end) or self._new_id()
        attributed = {name: event[name] for name in ("subagentRunId", "name") if event.get(name) is not None}
        events: list[Event] = []
        if (end, given) not in self._open:
            self._own.add((end, given))
            events = self._start({"type": f"{subject}_START", id_name: given, **head, **attributed})
        if event.get("delta"):
            what = "ARGS" if subject == "TOOL_CALL" else "CONTENT"
            rest = {name: value for name, value in event.items() if name not in _OF_CHUNKS}
            events.append({"type": f"{subject}_{what}", id_name: given, "delta": event["delta"], **rest})
        return events

    def _start(self, event: Event) -> list[Event]:
        """Return a start, after the ends of what was opened here; nothing if it is open already."""
        subject, id_name = event["type"].removesuffix("_START"), _id_name(event["type"])
        end, given = f"{subject}_END", event.get(id_name) or self._new_id()
        key = (end, given)
        if key in self._open:
            return []
        events = self._close_own(unless="REASONING_END" if subject == "REASONING_MESSAGE" else "")
        ended: Event = {"type": end, id_name: given}
        if event.get("subagentRunId") is not None:
            ended["subagentRunId"] = event["subagentRunId"]
        self._open[key] = ended
        if end == "TEXT_MESSAGE_END":
            self.text_id = given
        return [*events, {**event, id_name: given}]

    def _stop(self, event: Event) -> list[Event]:
        """Return an end that the agent sent, if what it ends is open."""
        given = event.get(_id_name(event["type"])) or self._last(event["type"])
        key = (event["type"], given or "")
        if key not in self._open:
            return []
        inside = ("REASONING_MESSAGE_END", key[1]) if key[0] == "REASONING_END" else key
        events = self._end(inside) if inside != key else []
        if key in self._open:
            self._open[key] = {**event, **self._open[key]}
            events += self._end(key)
        return events

    def _result(self, event: Event) -> list[Event]:
        ended = self._end(("TOOL_CALL_END", event.get("toolCallId") or ""))
        return [*ended, {**event, "messageId": event.get("messageId") or self._new_id()}]

    def _step(self, event: Event) -> list[Event]:
        return [*self._close_own(), event]

    def _named(self, event: Event) -> list[Event]:
        return [{**event, "messageId": event.get("messageId") or self._new_id()}]

    def _keep_end(self, event: Event) -> list[Event]:
        self.finished = event
        return []

    def _keep_error(self, event: Event) -> list[Event]:
        self.error = event
        return []

    def _close_own(self, unless: str = "") -> list[Event]:
        keys = [key for key in reversed(list(self._open)) if key in self._own and key[0] != unless]
        return [event for key in keys for event in self._end(key)]

    def _end(self, key: tuple[str, str]) -> list[Event]:
        event = self._open.pop(key, None)
        self._own.discard(key)
        if event is None:
            return []
        if key == ("TEXT_MESSAGE_END", self.text_id):
            self.text_id = self._last("TEXT_MESSAGE_END")
        return [event]

    def _last(self, end: str) -> str | None:
        return next((given for kind, given in reversed(list(self._open)) if kind == end), None)

    def _new_id(self) -> str:
        self._count += 1
        return f"{self._seed}-{self._count}"


_OF_CHUNKS = frozenset({"type", "messageId", "toolCallId", "toolCallName", "parentMessageId", "role", "name", "delta"})


def _id_name(kind: str) -> str:
    return "toolCallId" if kind.startswith("TOOL_CALL") else "messageId"


_HANDLERS: dict[str, Callable[[EventFramer, Event], list[Event]]] = {
    "TEXT_MESSAGE_START": EventFramer._start,
    "TEXT_MESSAGE_CONTENT": EventFramer._text,
    "TEXT_MESSAGE_CHUNK": EventFramer._text,
    "TEXT_MESSAGE_END": EventFramer._stop,
    "REASONING_START": EventFramer._start,
    "REASONING_MESSAGE_START": EventFramer._start,
    "REASONING_MESSAGE_CONTENT": EventFramer._reasoning,
    "REASONING_MESSAGE_CHUNK": EventFramer._reasoning,
    "REASONING_MESSAGE_END": EventFramer._stop,
    "REASONING_END": EventFramer._stop,
    "TOOL_CALL_START": EventFramer._start,
    "TOOL_CALL_ARGS": EventFramer._tool_args,
    "TOOL_CALL_CHUNK": EventFramer._tool_args,
    "TOOL_CALL_END": EventFramer._stop,
    "TOOL_CALL_RESULT": EventFramer._result,
    "ACTIVITY_SNAPSHOT": EventFramer._named,
    "STEP_STARTED": EventFramer._step,
    "RUN_STARTED": lambda framer, event: [],
    "RUN_FINISHED": EventFramer._keep_end,
    "RUN_ERROR": EventFramer._keep_error,
}
