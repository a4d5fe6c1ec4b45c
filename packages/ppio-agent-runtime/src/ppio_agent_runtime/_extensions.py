"""What an app offers beyond its main job: the agent called in process, plugins, WebSockets, background work."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeVar, overload, runtime_checkable

from ppio_agent_models import ConfigurationError

from ._corridor.lifespan import LifespanFunction, as_context_manager
from .context import RequestContext

if TYPE_CHECKING:
    from ._app import PPIOAgentRuntimeApp
    from ._rooms import Rooms
    from .config import AgentConfig
    from .invocations.background import BusyBlock
    from .invocations.in_process import InvocationStream
    from .routes.websocket import WebSocketRoute

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
T = TypeVar("T")


@runtime_checkable
class Plugin(Protocol):
    """Anything that can add itself to an app."""

    def install(self, app: PPIOAgentRuntimeApp) -> object:
        """Add routes (`app.fastapi`), middleware, lifespans, or another protocol over `app.invoke`."""


class AppExtensions:
    """The part of `PPIOAgentRuntimeApp` that plugins and other protocols work with."""

    config: AgentConfig
    _lifespans: list[LifespanFunction]
    _websocket: WebSocketRoute | None = None

    @property
    def _rooms(self) -> Rooms:
        raise NotImplementedError

    @overload
    async def invoke(
        self, payload: Any, context: RequestContext | None = None, *, stream: Literal[True]
    ) -> InvocationStream: ...
    @overload
    async def invoke(
        self, payload: Any, context: RequestContext | None = None, *, stream: Literal[False] | None = None
    ) -> Any: ...
    async def invoke(self, payload: Any, context: RequestContext | None = None, *, stream: bool | None = None) -> Any:
        """Call the agent in process, with all limits, metrics and cancellation in force.

        Await it on the event loop of the handlers: in a route, a lifespan, a handler. Cancelling the awaiting task
        cancels the handler.

        Args:
            payload: What the body of `POST /invocations` would be, as Python data; checked and validated like one.
            context: Who asks, under which ids and limits, see `context_for`; a new one without it. One context serves
                one call; inside a handler its own context may be passed, and the call then shares its remaining time.
            stream: True for an `InvocationStream`, an async iterator of chunks, where a plain value is one chunk. False
                for a value, where a stream is collected: strings joined, anything else a list. None leaves it to the
                handler: generators stream.

        Returns:
            JSON data (dict, list, str, number, bool, None), or an iterator of such; a Starlette response that the
            handler made comes back as it is.

        Raises:
            RequestError: The payload was refused: not JSON, too large, not what the handler's annotation asks for.
            InvocationError: What a caller over HTTP would be told, with `status_code`, `error_type` and `request_id`.
            SerializationError: The handler's result cannot become JSON.
        """
        from .invocations.in_process import invoke  # needed by other protocols only

        return await invoke(self._rooms.invocations, payload, context, stream=stream)

    def context_for(self, request: Mapping[str, Any]) -> RequestContext:
        """Return a new context for `invoke`, from the headers of a request for another route or a WebSocket.

        Args:
            request: A Starlette or FastAPI `Request` or `WebSocket`, or an ASGI scope.

        Raises:
            BadRequestError: A header with a session id or timeout is malformed.
        """
        from ._corridor.parse import context_of  # loaded since the app serves

        return context_of(request)

    def websocket(self, function: F) -> F:
        """Register the handler of WebSockets at `/ws`; use it as a decorator.

        An `async def handler(websocket, context)` that takes Starlette's `WebSocket` and accepts it; the context is
        optional. It runs under the limits of a stream: the door before the handshake is answered, `stream_timeout`,
        `max_request_size` for each message, the drain. When it returns, the connection is closed with 1000.

        Needs the extra: `pip install 'ppio-agent-runtime[websocket]'`.

        Raises:
            ConfigurationError: It is not an `async def`, requires a parameter that nothing would fill, or is the
                second one.
        """
        from .routes.websocket import WebSocketHandler, WebSocketRoute  # imports starlette, which others do not need

        handler = WebSocketHandler(function)
        if self._websocket is not None:
            raise ConfigurationError(f"This app has the WebSocket handler {self._websocket.handler.name} already.")
        self._websocket = WebSocketRoute(self._rooms.invocations, handler)
        return function

    def busy(self, name: str, max_age_seconds: float | None = None) -> BusyBlock:
        """Return an async context manager: inside, the service is HealthyBusy, and `/ping` lists the name with its age.

        Args:
            name: What it is, for the list; several may have the same.
            max_age_seconds: After so long it no longer keeps the service busy, so that work which hangs cannot keep a
                sandbox alive for ever; it is warned about once and stays in the list. None for no limit.

        Raises:
            ConfigurationError: The name is empty, or the age is not more than 0.
        """
        return self._rooms.background.busy(name, max_age_seconds)

    @overload
    def background_task(
        self, function: Callable[P, Coroutine[Any, Any, T]], *, max_age_seconds: float | None = None
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def background_task(
        self, function: None = None, *, max_age_seconds: float | None = None
    ) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, Coroutine[Any, Any, T]]]: ...
    def background_task(self, function: Any = None, *, max_age_seconds: float | None = None) -> Any:
        """Let an async function count as `busy` while it runs, under its own name; use it as a decorator.

        Start it with `asyncio.create_task(work())` and answer without waiting for it, or await it. Its task is kept
        from being collected while it runs. At the drain it may go on for `shutdown_grace_seconds`, then it is
        cancelled.

        Args:
            function: The `async def`.
            max_age_seconds: As for `busy`.

        Raises:
            ConfigurationError: It is not an `async def`.
        """
        if function is None:
            return lambda late: self._rooms.background.counted(late, max_age_seconds)
        return self._rooms.background.counted(function, max_age_seconds)

    def install(self, plugin: Plugin) -> None:
        """Let a plugin add itself, by its method `install(app)`; before the first request.

        Raises:
            ConfigurationError: It has no such method, or is a class where an object is needed.
        """
        if isinstance(plugin, type) or not callable(getattr(plugin, "install", None)):
            raise ConfigurationError(f"A plugin is an object with a method install(app), not {plugin!r}.")
        plugin.install(self)  # type: ignore[arg-type]  # the one class that this is the base of

    def _install_named(self, names: list[str]) -> None:
        from ._plugins import plugins_called

        for plugin in plugins_called(names):
            self.install(plugin)

    def on_lifespan(self, function: F) -> F:
        """Register an async context manager function that takes the app; use it as a decorator.

        Entered before the first request, after the ones registered earlier, and left after the last request in reverse
        order. A dict that it yields becomes part of the state that requests see. A bare async generator function works.
        """
        self._lifespans.append(as_context_manager(function))
        return function
