"""Turns what a handler yields into encoded AG-UI events for the log.

`views` relies on the field order made here: `type` first; in text events `messageId` and `delta` next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from ppio_agent_models import AgentError
from ppio_agent_models._framing import EventFramer

from ..http.sse import one_line
from ..serialization import decode, encode
from .views import interrupts_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..context import RequestContext

_SEED_CHARS = 16


class EncodedFramer:
    """The events of one run as JSON; see `EventFramer` for how they are framed.

    Nearly all events are text, so a delta of the open message is the encoded string between a constant prefix and a
    brace.

    Attributes:
        only_text: The handler yielded only text and events so far, no other values.
        on_events: Called with all events except further text of an open message; None if not needed.
    """

    on_events: Callable[[list[dict[str, Any]]], None] | None = None

    def __init__(self, context: RequestContext) -> None:
        run_id = context.metadata.get("run_id")
        self._framer = EventFramer(
            context.session_id or context.invocation_id,
            run_id if isinstance(run_id, str) else context.invocation_id,
            context.invocation_id[:_SEED_CHARS],
        )
        self._text_id: str | None = None
        self._prefix = b""
        self.only_text: bool = True

    def encode(self, value: Any) -> list[bytes]:
        """Return the events for one value of the handler.

        Raises:
            AgentError: It is a RUN_ERROR: the run has failed.
            SerializationError: It cannot become JSON.
        """
        framer = self._framer
        if type(value) is str and value and framer.text_id is not None:
            if framer.text_id is not self._text_id:
                self._text_id = framer.text_id
                event = {"type": "TEXT_MESSAGE_CONTENT", "messageId": framer.text_id}
                self._prefix = one_line(to_json(event)[:-1] + b',"delta":')
            text = encode(value)
            return [b"%b%b}" % (self._prefix, text if text.isascii() else one_line(text))]
        events = framer.frame(value)
        if framer.error is not None:
            code = framer.error.get("code")
            raise AgentError(str(framer.error.get("message")), error_type=code if isinstance(code, str) else None)
        if self.only_text and any("name" in event and event["type"] == "CUSTOM" for event in events):
            self.only_text = not any(event.get("name") == "ppio.chunk" for event in events)
        return self._encoded(events)

    def whole(self, value: bytes) -> list[bytes]:
        """Return the events of a run whose handler returned a value, already encoded as JSON."""
        decoded = decode(value)
        return self.encode(decoded) + self.finish(None if decoded and isinstance(decoded, str) else decoded)

    def finish(self, result: Any = None) -> list[bytes]:
        """Return the last events of a successful run."""
        return self._encoded(self._framer.finish(result))

    def _encoded(self, events: list[dict[str, Any]]) -> list[bytes]:
        if self.on_events is not None:
            self.on_events(events)
        return [one_line(encode(event)) for event in events]

    @property
    def result(self) -> bytes | None:
        """The run's result as JSON if it isn't its text: the interrupts, or the result of its RUN_FINISHED."""
        if (interrupts := self.interrupts) is not None:
            return b'{"interrupts":%b}' % interrupts
        result = self._framer.finished.get("result")
        return None if result is None else encode(result)

    @property
    def interrupts(self) -> bytes | None:
        """The interrupts that the run ended with, as JSON."""
        found = interrupts_of(self._framer.finished)
        return encode(found) if found else None
