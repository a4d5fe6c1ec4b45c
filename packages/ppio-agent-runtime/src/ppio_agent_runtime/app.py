"""`PPIOAgentRuntimeApp`: what an agent developer touches. It notes what is registered, and builds what serves it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeVar, overload, runtime_checkable

from ppio_agent_models import ConfigurationError

from .config import CLIENT_VARIABLES, AgentConfig
from .context import RequestContext, current_context
from .handler import Handler
from .lifespan import LifespanFunction, as_context_manager
from .observability.logging import logger

if TYPE_CHECKING:
    from .asgi import ASGIApp, Receive, Scope, Send
    from .invocations.background import BusyBlock
    from .invocations.in_process import InvocationStream
    from .observability.metrics import MetricsCollector
    from .routes.fastapi_app import FastAPI
    from .routes.websocket import WebSocketRoute
    from .services import Services

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
T = TypeVar("T")


@runtime_checkable
class Plugin(Protocol):
    """Anything that can add itself to an app."""

    def install(self, app: PPIOAgentRuntimeApp) -> object:
        """Add routes (`app.fastapi`), middleware, lifespans, or another protocol over `app.invoke`."""


def _of_fastapi(name: str) -> Any:
    """Return a property that is FastAPI's own method of this name."""
    return property(lambda app: getattr(app.fastapi, name), doc=f"`app.fastapi.{name}`.")


class PPIOAgentRuntimeApp:
    """An agent as an HTTP service. The object is an ASGI app (specification 3.0); `run()` serves it.

    Args:
        config: Settings; without it they come from the environment and the defaults.
        debug: The same as `AgentConfig(debug=True)`.
        lifespan: An async context manager function that takes this app; entered before the first request and left
            after the last, on the event loop of the handlers.

    Raises:
        ConfigurationError: A setting is unknown or wrong; the message names it.
    """

    def __init__(
        self, config: AgentConfig | None = None, *, debug: bool = False, lifespan: LifespanFunction | None = None
    ) -> None:
        if config is not None and not isinstance(config, AgentConfig):
            raise ConfigurationError(f"config must be an AgentConfig, not {config!r}; debug is set with debug=True.")
        if config is None:
            config = AgentConfig(debug=True) if debug else AgentConfig()
        elif debug:
            config = config.replace(debug=True)
        self.config: AgentConfig = config
        self._handler: Handler | None = None
        self._lifespans: list[LifespanFunction] = []
        if lifespan is not None:
            self.on_lifespan(lifespan)
        self._middleware: list[Callable[[ASGIApp], ASGIApp]] = []
        self._websocket: WebSocketRoute | None = None
        self._built: Services | None = None
        self._stack: ASGIApp | None = None
        self._fastapi: FastAPI | None = None
        self._lock = threading.Lock()
        if config.rate_limit is not None or config.event_store is not None:
            self._build()  # what these name is checked now, like every setting
        for sentence in config.unknown_variables(CLIENT_VARIABLES):
            logger.warning(sentence)
        if config.plugins:
            self._install_named(config.plugins)

    def entrypoint(self, function: F) -> F:
        """Register the agent's function; use it as a decorator.

        `def`, `async def`, generators of both kinds, callable objects, partials and methods. The first parameter takes
        the payload, and its annotation decides what is accepted: none or `dict` a JSON object, a pydantic model or any
        other type what pydantic makes of it, `Any` everything. A parameter named `context` or `ctx`, or annotated
        `RequestContext`, takes the context. Generators stream.

        Raises:
            ConfigurationError: A parameter that nothing would fill, an annotation that cannot be resolved, or a second
                entrypoint.
        """
        handler = Handler(function)
        if self._handler is not None:
            raise ConfigurationError(
                f"This app has the entrypoint {self._handler.name} already; {handler.name} needs another app."
            )
        self._handler = handler
        if self._built is not None:
            self._built.invocations.handler = handler
        return function

    def ping(self, function: F) -> F:
        """Register the agent's own health check; use it as a decorator.

        `def` or `async def` without parameters. It may return a `PingStatus`, a word, a bool, a dict with `status` and
        further fields, a `PingResponse`, or None for "as it is". One that raises, answers something unknown or takes
        longer than `ping_timeout_seconds` makes the service Unhealthy. While work is in flight Healthy is told as
        HealthyBusy.

        Raises:
            ConfigurationError: It cannot be called without arguments.
        """
        self._services.health.set_handler(function)
        return function

    def middleware(self, function: F) -> F:
        """Register an `async def mw(request, call_next)` around every route; use it as a decorator.

        The one registered last is the outermost.
        """
        if not callable(function):
            raise ConfigurationError(
                "Write @app.middleware without arguments above 'async def mw(request, call_next)'."
            )
        from .middleware import FunctionMiddleware  # imports starlette, which agents without it do not need

        self._wrap(lambda app: FunctionMiddleware(app, function))
        return function

    def add_middleware(self, middleware: Callable[..., ASGIApp], **options: Any) -> None:
        """Put an ASGI middleware class around every route: it is called as `middleware(app, **options)`."""
        self._wrap(lambda app: middleware(app, **options))

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

        return await invoke(self._services.invocations, payload, context, stream=stream)

    def context_for(self, request: Mapping[str, Any]) -> RequestContext:
        """Return a new context for `invoke`, from the headers of a request for another route or a WebSocket.

        Args:
            request: A Starlette or FastAPI `Request` or `WebSocket`, or an ASGI scope.

        Raises:
            BadRequestError: A header with a session id or timeout is malformed.
        """
        from .http.call import context_of  # loaded since the app serves

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
        self._websocket = WebSocketRoute(self._services.invocations, handler)
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
        return self._services.background.busy(name, max_age_seconds)

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
            return lambda late: self._services.background.counted(late, max_age_seconds)
        return self._services.background.counted(function, max_age_seconds)

    def install(self, plugin: Plugin) -> None:
        """Let a plugin add itself, by its method `install(app)`; before the first request.

        Raises:
            ConfigurationError: It has no such method, or is a class where an object is needed.
        """
        if isinstance(plugin, type) or not callable(getattr(plugin, "install", None)):
            raise ConfigurationError(f"A plugin is an object with a method install(app), not {plugin!r}.")
        plugin.install(self)

    def _install_named(self, names: list[str]) -> None:
        from .plugins import plugins_called

        for plugin in plugins_called(names):
            self.install(plugin)

    def on_lifespan(self, function: F) -> F:
        """Register an async context manager function that takes the app; use it as a decorator.

        Entered before the first request, after the ones registered earlier, and left after the last request in reverse
        order. A dict that it yields becomes part of the state that requests see. A bare async generator function works.
        """
        self._lifespans.append(as_context_manager(function))
        return function

    @property
    def context(self) -> RequestContext | None:
        """The context of the invocation that the calling code belongs to, in any handler kind; None outside of one."""
        return current_context.get()

    @property
    def entrypoint_name(self) -> str | None:
        """`module.qualname` of the entrypoint, or None while there is none."""
        return None if self._handler is None else self._handler.name

    @property
    def metrics(self) -> MetricsCollector:
        """The numbers of what happened, which `GET /metrics` shows too."""
        return self._services.recorder.metrics

    @property
    def fastapi(self) -> FastAPI:
        """The FastAPI app inside, made at first use: add routes, dependencies and routers to it."""
        with self._lock:
            if self._fastapi is None:
                from .routes.fastapi_app import build  # slow to import, and most agents never need it

                self._fastapi = build(self.config, lambda: self._handler)
            return self._fastapi

    get = _of_fastapi("get")
    post = _of_fastapi("post")
    put = _of_fastapi("put")
    delete = _of_fastapi("delete")
    include_router = _of_fastapi("include_router")
    mount = _of_fastapi("mount")

    def run(self, port: int | None = None, host: str | None = None, **uvicorn_options: Any) -> None:
        """Serve until SIGTERM or Ctrl-C, then drain and exit the process if anything went wrong.

        Args:
            port: Instead of the configured one.
            host: Instead of the configured one.
            uvicorn_options: What else uvicorn takes, such as `ssl_certfile`, `uds`, `backlog` or `root_path`; what is a
                setting or not for one process is refused.

        Raises:
            ConfigurationError: No entrypoint, a bad host, port or option, or an event loop that runs already.
            SystemExit: With 1 when it cannot start, with 3 when a thread had to be abandoned.
        """
        from .server import PPIOAgentRuntimeServer, leave_in_time  # tests and other servers do not need it

        code = PPIOAgentRuntimeServer(self, port=port, host=host, **uvicorn_options).run()
        leave_in_time(code)
        if code:
            raise SystemExit(code)

    async def drain(self, grace_seconds: float | None = None) -> None:
        """Refuse new work, let running work finish for `grace_seconds`, then stop it."""
        await self._services.drain(self.config.shutdown_grace_seconds if grace_seconds is None else grace_seconds)

    async def can_shut_down(self) -> bool:
        """Say whether the handlers' event loop still listens; one that is blocked cannot leave the lifespan."""
        return await self._services.can_shut_down()

    def close(self) -> None:
        """End the app's own threads, as far as they can be ended; a new life of the app starts new ones."""
        self._services.close()

    @property
    def abandoned_threads(self) -> int:
        """How many threads are still at work; after a drain, work that could not be stopped."""
        return self._services.abandoned_threads

    @property
    def websockets(self) -> Literal["none", "handler", "perhaps"]:
        """Who answers WebSockets: nobody, `@app.websocket`, or perhaps a route or mounted app in FastAPI."""
        if self._websocket is not None:
            return "handler"
        routes = [] if self._fastapi is None else self._fastapi.routes
        return "none" if all(hasattr(route, "methods") for route in routes) else "perhaps"

    @property
    def stack(self) -> ASGIApp:
        """The ASGI app inside: middleware and routes, put together at first use."""
        if self._stack is None:
            self._stack = self._services.stack(
                self._middleware, self._uses_fastapi, lambda: self.fastapi, self._lifespan_managers, self._websocket
            )
        return self._stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI specification 3.0)."""
        await self.stack(scope, receive, send)

    @property
    def _services(self) -> Services:
        return self._built or self._build()

    def _build(self) -> Services:
        """Put together what answers requests. An app that is only imported, or looked at, does without.

        It is asyncio, pydantic_core and most of our own modules: four fifths of what this class would take to import.
        A server asks for it before it takes the first request.
        """
        with self._lock:
            if self._built is None:
                from .services import Services

                self._built = Services(self.config, self._handler)
            return self._built

    def _wrap(self, wrap: Callable[[ASGIApp], ASGIApp]) -> None:
        if self._stack is not None:
            raise ConfigurationError("Middleware is added before the app serves its first request.")
        self._middleware.append(wrap)

    def _uses_fastapi(self) -> bool:
        return self._fastapi is not None or self.config.debug

    def _lifespan_managers(self) -> list[Any]:
        services = self._services
        services.invocations.reopen()
        managers = [lifespan(self) for lifespan in (*services.lifespans(), *self._lifespans)]
        if self._fastapi is not None:
            managers.append(self._fastapi.router.lifespan_context(self._fastapi))
        return services.recorder.tracing.lifespans(managers)


AgentRuntimeApp = PPIOAgentRuntimeApp
