"""The interface for plugins and protocols: calls to the agent in process, routes with our limits, their own errors.

`PPIOAgentRuntimeApp` has these methods; a plugin is an object whose `install(app)` calls them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from .lifespan import LifespanFunction, as_context_manager

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from .config import AgentConfig
    from .context import RequestContext
    from .events.encoded import EventEncoder
    from .invocations.handle import InvocationHandle
    from .invocations.in_process import InvocationStream
    from .plugin_hooks import PluginHooks
    from .routes.event_stream import EventSource
    from .routes.fastapi_app import FastAPI
    from .routes.plugin_routes import BodyTest, Endpoint, ErrorWriter, WebSocketFunction
    from .services import Services

F = TypeVar("F", bound=Callable[..., Any])
NOTHING: Any = None
"""The argument of a decorator that is written with parentheses."""


class PluginInterface:
    """The part of an app that plugins use, besides `fastapi` and `add_middleware`."""

    config: AgentConfig
    _hooks: PluginHooks
    _lifespans: list[LifespanFunction]
    _fastapi: FastAPI | None

    @property
    def _services(self) -> Services:
        raise NotImplementedError

    @property
    def draining(self) -> bool:
        """Whether the service is shutting down: what waits for more than a running invocation ends then."""
        return self._services.health.draining

    def on_lifespan(self, function: F = NOTHING) -> F:
        """Register an async context manager function that takes the app; use it as a decorator.

        Entered before the first request, after the ones registered earlier, and left after the last request in reverse
        order. A dict that it yields becomes part of the state that requests see. A bare async generator function works.
        """
        self._lifespans.append(as_context_manager(function))
        return function

    def payload_schema(self) -> dict[str, Any] | None:
        """Return the JSON Schema of what the entrypoint takes; None if that is any object, or an `AgentInput`.

        Raises:
            ConfigurationError: There is no entrypoint, or its type has no schema.
        """
        return self._services.invocations.registered().schema()

    @overload
    async def invoke(
        self, payload: Any, context: RequestContext | None = None, *, stream: Literal[True], typed: bool = False
    ) -> InvocationStream: ...
    @overload
    async def invoke(
        self, payload: Any, context: RequestContext | None = None, *, stream: Literal[False] | None = None
    ) -> Any: ...
    async def invoke(
        self,
        payload: Any,
        context: RequestContext | None = None,
        *,
        stream: bool | None = None,
        typed: bool = False,
    ) -> Any:
        """Call the agent in process; all limits, metrics and cancellation apply.

        Await it on the event loop of the handlers: in a route, a lifespan, a handler. Cancelling the awaiting task
        cancels the handler.

        Args:
            payload: What the body of `POST /invocations` would be, as Python data; checked and validated like one.
            context: IDs, caller and limits of the call, see `context_for`; a new one unless given. A context is for
                one call; inside a handler you can pass its own context, and the call then shares its remaining time.
            stream: True for an `InvocationStream`, an async iterator of chunks, where a plain value is one chunk. False
                for a value, where a stream is collected: strings joined, anything else a list. None leaves it to the
                handler: generators stream.
            typed: Of a stream: its chunks are AG-UI events, a whole run. It is returned once the agent's code runs.

        Returns:
            JSON data (dict, list, str, number, bool, None), or an iterator over such data; a Starlette response that
            the handler made is returned unchanged.

        Raises:
            RequestError: The payload was refused: not JSON, too large, or not what the handler's annotation asks for.
            InvocationError: The error of a caller over HTTP, with `status_code`, `error_type` and `request_id`.
            SerializationError: The handler's result can't become JSON.
        """
        from .invocations.in_process import invoke  # needed by other protocols only

        return await invoke(self._services.invocations, payload, context, stream=stream, typed=typed)

    async def submit(
        self, payload: Any, context: RequestContext | None = None, *, key: str | None = None
    ) -> InvocationHandle:
        """Start a durable invocation in process, as `Prefer: respond-async` does, and return its handle.

        The handle is returned once the agent's code runs, or the invocation waits in the queue. The invocation keeps
        running when callers disconnect, for `background_timeout` at most. `GET /invocations/{id}` shows it too.

        Args:
            payload: As for `invoke`.
            context: As for `invoke`.
            key: An idempotency key: the same one in the same session returns the invocation that it started.

        Raises:
            RequestError: The payload was refused.
            IdempotencyKeyReusedError: The key was used with another payload.
            RateLimitedError: A limit was reached; SessionBusyError and UnavailableError likewise.
            DrainingError: The service is shutting down.
        """
        from .invocations.handle import submit

        return await submit(self._services.invocations, payload, context, key=key)

    async def find(self, invocation_id: str) -> InvocationHandle | None:
        """Return the durable invocation with this ID, if it is running or still kept."""
        from .invocations.handle import find

        return await find(self._services.invocations, invocation_id)

    def context_for(
        self,
        request: Mapping[str, Any],
        *,
        session_id: str | None = None,
        protocol: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> RequestContext:
        """Return a new context for `invoke`, from the headers of a request for another route or a WebSocket.

        Args:
            request: A Starlette or FastAPI `Request` or `WebSocket`, an ASGI scope, or the headers alone by name.
            session_id: The session, if the protocol names one; it wins over a header that does.
            protocol: The name under which the call is counted and logged.
            metadata: For the handler's context.

        Raises:
            BadRequestError: A header with a session id or timeout is malformed, or the session id is too long.
        """
        from .http.call import checked_session_id, context_of, scope_of  # already loaded when an app serves

        context = context_of(request if "headers" in request and "type" in request else scope_of(request))
        context.session_id = checked_session_id(session_id) or context.session_id
        context.protocol = protocol
        context.metadata = metadata or {}
        return context

    async def read_json(self, request: Request) -> Any:
        """Return the decoded body of a request, within the limits of size and time that `/invocations` has.

        Raises:
            RequestError: It is too large, too slow, or not JSON.
        """
        from .routes.plugin_routes import read_json

        return await read_json(request.receive, request.scope["headers"], self.config)

    async def read_body(self, request: Request) -> bytes:
        """Return the raw body of a request, within the same limits.

        Raises:
            RequestError: It is too large, too slow, or its content type isn't JSON.
        """
        from .routes.plugin_routes import read_body

        return await read_body(request.receive, request.scope["headers"], self.config)

    def event_stream(
        self,
        source: EventSource,
        encoder: EventEncoder,
        *,
        headers: Mapping[str, str] | None = None,
        media_type: str = "text/event-stream; charset=utf-8",
        heartbeat: bytes = b": keep-alive\n\n",
    ) -> Response:
        """Return a response that streams a run while it is made, in the format of a protocol.

        It has the IDs and limits in its headers, and heartbeats. All events that are there at one time are sent as one
        message. When the caller disconnects, it cancels the handler of an `InvocationStream`.

        Args:
            source: An `InvocationStream` or an `InvocationHandle`.
            encoder: Writes the events.
            headers: Further response headers.
            media_type: Of the response.
            heartbeat: What is sent after `heartbeat_seconds` of silence; empty for nothing.
        """
        from .routes.event_stream import EventStreamResponse  # starlette

        return EventStreamResponse(source, encoder, headers=headers, media_type=media_type, heartbeat=heartbeat)

    def json_response(self, value: Any, context: RequestContext, *, has_invocation: bool = True) -> Response:
        """Return a response with a value as JSON, and the IDs and limits of a request in its headers.

        Args:
            value: Anything that pydantic can serialize.
            context: Of the request.
            has_invocation: Whether the agent was called with it, so that the response has the invocation's ID.
        """
        from .routes.event_stream import json_response  # starlette

        return json_response(value, context, has_invocation=has_invocation)

    def add_route(self, path: str, endpoint: Endpoint, methods: list[str] | None = None) -> None:
        """Add a route of a protocol: an `async def endpoint(request)` that returns a response.

        If it raises one of our errors, the response is like that of `/invocations`. FastAPI is imported for the first
        request, and not before.

        Args:
            path: As Starlette has it, with `{parameters}`.
            endpoint: Takes a Starlette `Request`.
            methods: `["POST"]` without it.
        """
        from .routes.plugin_routes import PluginRoute

        route = path, PluginRoute(endpoint, self.config), methods or ["POST"]
        self._hooks.routes.append(route)
        if self._fastapi is not None:
            self._fastapi.add_route(*route, include_in_schema=False)  # type: ignore[arg-type]  # an ASGI app does

    def claim_invocations(self, test: BodyTest, endpoint: Endpoint) -> None:
        """Take requests for `POST /invocations` whose body is of another protocol.

        Args:
            test: Returns whether a decoded body is.
            endpoint: As for `add_route`.
        """
        from .routes.plugin_routes import PluginRoute

        self._hooks.claims.append((test, PluginRoute(endpoint, self.config)))

    def claim_websocket(self, function: WebSocketFunction) -> None:
        """Handle `/ws` if the agent has no `@app.websocket` of its own; see there for the function."""
        self._hooks.websocket = function

    def write_errors(self, prefix: str, write: ErrorWriter, media_type: str = "application/json") -> None:
        """Write the errors of all paths below `prefix` in a protocol's own format, those of access control included.

        Every response there has its request ID as `x-request-id` too, and every error without `Retry-After`
        `x-should-retry: false`, which the clients of OpenAI and others obey.

        Args:
            prefix: Such as `/v1`.
            write: `write(status, envelope)` returns the body; the headers stay.
            media_type: Of that body.
        """
        self._hooks.error_writers[prefix] = write, media_type.encode()

    def open_path(self, path: str) -> None:
        """Make a path readable without a key."""
        self._hooks.open_paths.add(path)
