"""Starlette responses that a handler returned instead of a value.

A plain one is a status, headers and a body, and is held like a value. One that streams or sends a file cannot be held
without taking it whole into memory: it goes to the caller who waits, live, and to nobody else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ppio_agent_models import SerializationError

from ..errors import handler_failure
from ..http.responses import is_event_stream, log_failure

if TYPE_CHECKING:
    from ..asgi import Headers, Message
    from ..context import RequestContext
    from .subscriber import Channel, Subscriber


def held_response(response: Any) -> tuple[int, Headers, bytes] | None:
    """Return status, headers and body of a plain response, None for one that can be sent once only."""
    plain: Any = sys.modules["starlette.responses"].Response
    body = vars(response).get("body")
    if type(response).__call__ is not plain.__call__ or not isinstance(body, bytes | memoryview):
        return None
    return response.status_code, list(response.raw_headers), bytes(body)


async def after_sending(response: Any, context: RequestContext) -> None:
    """Do what the response wants done in the background, once, however often it is sent."""
    if response.background is None:
        return
    try:
        await response.background()
    except Exception as error:  # noqa: BLE001  # the answer is out; nobody but the log can be told
        log_failure(handler_failure(error), context.request_id, context)


class LiveResponse:
    """A response object that sends itself to one caller, with our ids added to its headers.

    Args:
        channel: Where to.
        extra: The further headers.
        has_head: It is to go on in a stream that has begun.
        on_head: Called when its head goes out.
        on_end: Called when its last byte went out.

    Attributes:
        has_head: It has begun: no other answer can follow.
        sent_bytes: Size of its body so far.
    """

    def __init__(
        self,
        channel: Channel,
        extra: Headers,
        *,
        has_head: bool,
        on_head: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        self.has_head = has_head
        self.sent_bytes = 0
        self._channel = channel
        self._extra = extra
        self._on_head = on_head
        self._on_end = on_end

    async def run(self, response: Any) -> None:
        """Let the response send itself."""
        await response(self._channel.scope, self._channel.receive, self._send)

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._on_head()
            if self.has_head:
                return  # its events go on
            self.has_head = True
            message = {**message, "headers": [*message.get("headers", []), *self._extra]}
        else:
            self.sent_bytes += len(message.get("body", b""))
        await self._channel.send(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._on_end()


def taker_of(response: Any, subscribers: Iterable[Subscriber]) -> Subscriber:
    """Return the caller who has waited longest and can be sent a response that can be sent once.

    Raises:
        SerializationError: There is none.
    """
    waiting = [each for each in subscribers if each.channel is not None and not each.gone]
    for subscriber in waiting:
        if not subscriber.begun or is_event_stream(response):
            return subscriber
    if waiting:
        raise came_too_late()
    raise SerializationError(
        f"result is a {type(response).__name__}, which can only be sent to a caller who waits for it and whose "
        "answer has not begun, and there is none. Return a generator or a value instead."
    )


def came_too_late() -> SerializationError:
    """Return what a caller is told whose stream had begun when the agent returned a response of its own."""
    return SerializationError(
        "The agent answered with a response of its own, too late to be sent as it is: the stream that was asked for "
        "had begun with a heartbeat. Return a value, or ask for JSON."
    )
