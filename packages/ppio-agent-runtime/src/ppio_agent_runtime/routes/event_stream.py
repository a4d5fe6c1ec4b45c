"""Streaming responses of plugin routes: all available events are sent as one body message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from starlette.responses import Response

from ppio_agent_models import PPIOAgentRuntimeError

from ..errors import ClientGoneError
from ..http.responses import headers_of, identity_headers
from ..http.sse import HEARTBEAT
from ..serialization import encode

if TYPE_CHECKING:
    from ..asgi import Headers, Receive, Scope, Send
    from ..context import RequestContext
    from ..events.encoded import EncodedEvent, EventEncoder


class EventSource(Protocol):
    """A run: an `InvocationStream` or an `InvocationHandle`."""

    @property
    def context(self) -> RequestContext:
        """The context of the invocation."""

    def batches(self, receive: Receive | None = None) -> AsyncIterator[list[EncodedEvent]]:
        """Yield its events in batches; an empty list is a heartbeat."""


class EventStreamResponse(Response):
    """Streams a run while it is made, with heartbeats, and detects a disconnect.

    Args:
        source: The run; the IDs of its context become headers.
        encoder: Encodes the events.
        headers: Further response headers.
        media_type: Media type of the response.
        heartbeat: Sent after `heartbeat_seconds` of silence.
    """

    def __init__(
        self,
        source: EventSource,
        encoder: EventEncoder,
        *,
        headers: Mapping[str, str] | None = None,
        media_type: str = "text/event-stream; charset=utf-8",
        heartbeat: bytes = HEARTBEAT,
    ) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"} | dict(headers or {}))
        self._source = source
        self._encoder = encoder
        self._heartbeat = heartbeat
        own: Headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        self.raw_headers: Headers = [(b"content-type", media_type.encode()), *own, *headers_of(source.context)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""

        async def write(data: bytes, *, more: bool = True) -> None:
            if data or not more:
                await send({"type": "http.response.body", "body": data, "more_body": more})

        encoder, batches = self._encoder, self._source.batches(receive)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await write(encoder.begin())
        try:
            async for events in batches:
                await write(encoder.events(events) if events else self._heartbeat)
        except ClientGoneError:
            return None
        except PPIOAgentRuntimeError as error:
            return await write(encoder.failed(error), more=False)
        finally:
            await batches.aclose()  # type: ignore[attr-defined]  # they are generators
        await write(encoder.done(), more=False)


def json_response(value: Any, context: RequestContext, *, has_invocation: bool) -> Response:
    """Return a response with a value as JSON; see `PluginInterface.json_response`."""
    response = Response(encode(value), media_type="application/json")
    ids = headers_of(context) if has_invocation else identity_headers(context.request_id, context.session_id)
    response.raw_headers += ids
    return response
