"""Encodes a run as A2A events: text and values become artifacts, other events become status messages.

For frequent events, deltas and typed events, a2a-sdk encodes one event with a placeholder, and the content is inserted
there. So they cost no more than in other protocols, and have the right form for each version and binding.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from a2a.compat.v0_3.conversions import to_compat_stream_response
from a2a.compat.v0_3.proto_utils import ToProto
from a2a.server.request_handlers.response_helpers import build_error_response
from a2a.types.a2a_pb2 import (
    Artifact,
    Part,
    Task,
    TaskArtifactUpdateEvent,
    TaskStatus,
    TaskStatusUpdateEvent,
)
from a2a.utils.error_handlers import build_rest_error_payload
from a2a.utils.errors import InternalError
from a2a.utils.proto_utils import to_stream_response
from google.protobuf.json_format import MessageToDict

from ..events.encoded import EventEncoder
from ..events.views import interrupts_of
from .a2a_messages import data_part, question
from .a2a_task import INPUT_REQUIRED, UNFINISHED, WORKING, value_id
from .writing import CUSTOM

if TYPE_CHECKING:
    from ppio_agent_models import PPIOAgentRuntimeError

    from ..events.encoded import EncodedEvent
    from .a2a_task import Found

_MARK: Final = uuid.uuid4().hex
"""The placeholder for the content of frequent events."""
_MARKED_TEXT: Final = json.dumps(_MARK).encode()
_MARKED_DATA: Final = json.dumps({_MARK: _MARK}, separators=(",", ":")).encode()
_MARKED_ID: Final = f"{_MARK}-id".encode()


class Dialect:
    """The binding and version in which events are encoded.

    Args:
        request_id: ID of the JSON-RPC request; not used for HTTP+JSON.
        is_rpc: JSON-RPC, else HTTP+JSON.
        is_v03: Version 0.3, else 1.0.

    Attributes:
        is_v03: The same.
    """

    def __init__(self, request_id: Any, *, is_rpc: bool, is_v03: bool) -> None:
        self._request_id = request_id
        self._is_rpc = is_rpc
        self.is_v03: bool = is_v03
        self._as_dict: Callable[[Any], Any] = MessageToDict
        if is_v03:
            self._as_dict = _as_v03_rpc if is_rpc else _as_v03_rest

    def event(self, event: Any) -> bytes:
        """Return an event as a server-sent event."""
        data = self._as_dict(to_stream_response(event))
        return _sse({"jsonrpc": "2.0", "id": self._request_id, "result": data} if self._is_rpc else data)

    def error(self, error: PPIOAgentRuntimeError) -> bytes:
        """Return an error that ends the stream, but not the task."""
        made = InternalError(str(error.message), {"error_type": error.error_type})
        return _sse(build_error_response(self._request_id, made) if self._is_rpc else build_rest_error_payload(made))


def _as_v03_rpc(event: Any) -> Any:
    return to_compat_stream_response(event).result.model_dump(mode="json", by_alias=True, exclude_none=True)


def _as_v03_rest(event: Any) -> Any:
    return MessageToDict(ToProto.stream_response(to_compat_stream_response(event).result))


def _sse(data: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(data, separators=(",", ":")).encode()


class TaskEncoder(EventEncoder):
    """Encodes the stream of a task, from its newest run on.

    Args:
        found: The task; runs that follow are added to it before their events come.
        task: The task to send first.
        dialect: The version's format.
    """

    def __init__(self, found: Found, task: Task, dialect: Dialect) -> None:
        self._found = found
        self._task = task
        self._dialect = dialect
        self._is_waiting = task.status.state == INPUT_REQUIRED  # That status was sent.
        self._messages = 0
        self._values = 0
        self._text_head = b"\0"  # The beginning of each event of the open message.
        self._begun: set[str] = set()
        self._text: tuple[bytes, bytes] = b"", b""
        self._other: bytes | None = None

    def begin(self) -> bytes:
        """Return the task."""
        return self._dialect.event(self._task)

    def events(self, events: list[EncodedEvent]) -> bytes:
        """Return encoded events."""
        written: list[bytes] = []
        texts: list[bytes] = []  # Deltas of the open message, as most events are.
        for event in events:
            if event.text is not None and event.json.startswith(self._text_head):
                texts.append(event.text)
                continue
            written += self._deltas(texts), self._event(event)
            texts = []
        return b"".join([*written, self._deltas(texts)])

    def failed(self, error: PPIOAgentRuntimeError) -> bytes:
        """Return the last status, or the error of this stream if the run continues."""
        status = self._found.status
        goes_on = status.state in UNFINISHED or self._is_waiting
        return self._dialect.error(error) if goes_on else self._status(status)

    def done(self) -> bytes:
        """Return the last status, unless it was sent."""
        status = self._found.status
        return b"" if self._is_waiting and status.state == INPUT_REQUIRED else self._status(status)

    def _deltas(self, texts: list[bytes]) -> bytes:
        head, tail = self._text
        return b"%b%b%b" % (head, (tail + head).join(texts), tail) if texts else b""

    def _event(self, event: EncodedEvent) -> bytes:
        if event.text is not None and not event.json.startswith(CUSTOM):
            head, tail = self._switched(event)
            return b"%b%b%b" % (head, event.text, tail)
        if event.text is not None:
            return self._value(json.loads(event.text))
        kind = event.type
        if kind == "TEXT_MESSAGE_END":
            return self._ended(event.decode()["messageId"])
        if kind == "RUN_STARTED":
            return self._run_started()
        if kind == "RUN_FINISHED":
            return self._run_finished(event.decode())
        return b"" if kind == "TEXT_MESSAGE_START" else self._as_status(event)

    def _run_started(self) -> bytes:
        if not self._is_waiting:
            return b""
        self._is_waiting, self._messages, self._values, self._other = False, 0, 0, None
        return self._status(self._found.status_of(WORKING, []))

    def _run_finished(self, event: dict[str, Any]) -> bytes:
        result, interrupts = event.get("result"), interrupts_of(event)
        made = b"" if result is None or self._values else self._value(result)
        self._is_waiting = bool(interrupts)
        if not interrupts:
            return made
        return made + self._status(self._found.status_of(INPUT_REQUIRED, question(interrupts)))

    def _switched(self, event: EncodedEvent) -> tuple[bytes, bytes]:
        """Return the parts around the first delta of a message, and prepare those around the following ones."""
        given = event.decode()["messageId"]
        self._text_head = event.json[: event.json.index(b',"delta":')]
        first = _around(self._artifact(given, Part(text=_MARK), append=given in self._begun), _MARKED_TEXT)
        self._begun.add(given)
        self._text = _around(self._artifact(given, Part(text=_MARK), append=True), _MARKED_TEXT)
        return first

    def _ended(self, message_id: str) -> bytes:
        if message_id not in self._begun:
            return b""
        return self._artifact(message_id, Part(text=""), append=True, last=True)

    def _as_status(self, event: EncodedEvent) -> bytes:
        """Return a typed event as data in a status message."""
        if self._other is None:
            message = self._found.message(f"{_MARK}-id", [data_part({_MARK: _MARK})])
            self._other = self._status(TaskStatus(state=WORKING, message=message))
        self._messages += 1
        given = b"%b-%d" % (self._found.runs[-1].id.encode(), self._messages)
        return self._other.replace(_MARKED_ID, given, 1).replace(_MARKED_DATA, event.json, 1)

    def _value(self, value: Any) -> bytes:
        self._values += 1
        return self._artifact(
            value_id(self._found.runs[-1].id, self._values), data_part(value), append=False, last=True
        )

    def _artifact(self, given: str, part: Part, *, append: bool, last: bool = False) -> bytes:
        return self._dialect.event(
            TaskArtifactUpdateEvent(
                task_id=self._task.id,
                context_id=self._task.context_id,
                artifact=Artifact(artifact_id=given, parts=[part]),
                append=append,
                last_chunk=last,
            )
        )

    def _status(self, status: TaskStatus) -> bytes:
        update = TaskStatusUpdateEvent(task_id=self._task.id, context_id=self._task.context_id, status=status)
        return self._dialect.event(update)


def _around(event: bytes, mark: bytes) -> tuple[bytes, bytes]:
    head, _, tail = event.partition(mark)
    return head, tail
