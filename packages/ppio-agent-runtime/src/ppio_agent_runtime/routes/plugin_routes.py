"""Support for routes of plugins: limits of bodies, errors as responses, errors in a protocol's own format.

A plugin may also handle requests for `/invocations` whose body is of its protocol.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import BadRequestError

from ..errors import ClientGoneError
from ..event_loop import run_in_thread
from ..http.call import parse_head
from ..http.request import by_name, read_body_in_time
from ..http.responses import refuse
from ..large_json import decode_large, is_slow
from ..serialization import decode

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.websockets import WebSocket

    from ..asgi import ASGIApp, Headers, Message, Receive, Scope, Send
    from ..config import AgentConfig
    from ..context import RequestContext
    from ..handler import Handler
    from .invocations import InvocationsEndpoint

Endpoint = Callable[["Request"], Awaitable[Any]]
"""Returns a Starlette response, or any other ASGI app."""
ErrorWriter = Callable[[int, dict[str, Any]], bytes]
"""Returns the body of an error, from its status and its envelope."""
_NO_RETRY: Final = (b"x-should-retry", b"false")
"""Clients of OpenAI and others of that make repeat any 408, 409, 429 and 5xx by themselves. Only what comes with a
`Retry-After` has run none of the agent's code, unless that code says so itself: then its status is in the metadata."""
BodyTest = Callable[[Any], bool]
WebSocketFunction = Callable[["WebSocket", "RequestContext"], Awaitable[None]]


class PluginRoute:
    """An ASGI endpoint that responds to exceptions with their status and the error envelope.

    Args:
        endpoint: Handles a request.
        config: The app's settings.
    """

    def __init__(self, endpoint: Endpoint, config: AgentConfig) -> None:
        self._endpoint = endpoint
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        from starlette.requests import Request  # already loaded with FastAPI

        has_begun = False

        async def send_on(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            response = await self._endpoint(Request(scope, receive, send_on))
            await response(scope, receive, send_on)
        except ClientGoneError:
            return
        except Exception as error:
            if has_begun:
                raise
            await refuse(scope, send, error, tells_errors=self._config.tells_errors)


async def read_json(receive: Receive, headers: Headers, config: AgentConfig) -> Any:
    """Return a request's body, decoded, within the limits of size and time.

    Raises:
        RequestError: It is too large, too slow, or not JSON.
    """
    return await _decoded(await read_body(receive, headers, config))


async def _decoded(body: bytes) -> Any:
    return await run_in_thread(decode_large, body, name="agent-json") if is_slow(body) else decode(body)


async def read_body(receive: Receive, headers: Headers, config: AgentConfig) -> bytes:
    """Return a request's body within the limits of size and time.

    Raises:
        RequestError: It is too large, too slow, or its content type isn't JSON.
    """
    found = by_name(headers)
    parse_head({name: value for name, value in found.items() if name != b"accept"})
    return await read_body_in_time(receive, found.get(b"content-length"), config)


class ErrorTranslator:
    """ASGI middleware that translates error envelopes to a protocol's format, below the protocol's path.

    Args:
        app: The next ASGI app, including authentication.
        writers: Path prefix, such as `/v1`, to the writer of errors and their media type.
    """

    def __init__(self, app: ASGIApp, writers: dict[str, tuple[ErrorWriter, bytes]]) -> None:
        self._app = app
        self._writers = writers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and translate the response if it is an error."""
        found = self._writer_for(scope)
        await self._app(scope, receive, send if found is None else _translating(send, *found))

    def _writer_for(self, scope: Scope) -> tuple[ErrorWriter, bytes] | None:
        if scope["type"] != "http":
            return None
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        return next(
            (write for prefix, write in self._writers.items() if path == prefix or path.startswith(f"{prefix}/")), None
        )


def _translating(send: Send, write: ErrorWriter, media_type: bytes) -> Send:
    head: Message | None = None
    body = b""

    async def send_translated(message: Message) -> None:
        nonlocal head, body
        if message["type"] == "http.response.start":
            ids = [(b"x-request-id", value) for name, value in message["headers"] if name == b"x-ppio-request-id"]
            message = {**message, "headers": [*message["headers"], *ids]}
        if message["type"] == "http.response.start" and message["status"] >= 400:
            head = message
        elif head is None:
            await send(message)
        else:
            body += message.get("body", b"")
            if not message.get("more_body"):
                await _send_translated(send, head, body, write, media_type)

    return send_translated


async def _send_translated(send: Send, head: Message, body: bytes, write: ErrorWriter, media_type: bytes) -> None:
    try:
        envelope = json.loads(body)
    except ValueError:
        envelope = None
    if isinstance(envelope, dict) and envelope.get("status") == "error":
        body = write(head["status"], envelope)
        headers = [pair for pair in head["headers"] if pair[0] not in (b"content-length", b"content-type")]
        own: Headers = [(b"content-type", media_type), (b"content-length", b"%d" % len(body))]
        if all(name != b"retry-after" for name, _ in headers) or "status_code" in envelope["metadata"]:
            own.append(_NO_RETRY)
        head = {**head, "headers": [*own, *headers]}
    await send(head)
    await send({"type": "http.response.body", "body": body})


class ClaimedInvocations:
    """The ASGI endpoint of `POST /invocations` if plugins handle some of these requests.

    Args:
        app: Handles the other requests.
        config: The app's settings.
        claims: Pairs of a test of the decoded body and the endpoint for requests that pass it.
    """

    def __init__(self, app: InvocationsEndpoint, config: AgentConfig, claims: list[tuple[BodyTest, ASGIApp]]) -> None:
        self._app = app
        self._config = config
        self._claims = claims

    @property
    def handler(self) -> Handler | None:
        """The agent's function, once it is registered."""
        return self._app.handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        try:
            body = await read_body(receive, scope["headers"], self._config)
        except ClientGoneError:
            return None
        except Exception as error:  # noqa: BLE001  # every error becomes a response
            await refuse(scope, send, error, tells_errors=self._config.tells_errors)
            return None
        with suppress(BadRequestError):  # The handler of the request reports it.
            value = await _decoded(body)
            for test, answer in self._claims:
                if test(value):
                    return await answer(scope, _once(body, receive), send)
        await self._app(scope, _once(body, receive), send)


def _once(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that returns the body once more, then what the original returns."""
    is_given = False

    async def receive_again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
