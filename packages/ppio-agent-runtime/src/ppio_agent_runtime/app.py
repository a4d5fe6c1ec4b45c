"""`PPIOAgentRuntimeApp`, the class that agent developers use: it collects handlers and builds what serves them."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, Never, ParamSpec, Protocol, Self, TypeVar, overload, runtime_checkable

from ppio_agent_models import ConfigurationError

from .config import CLIENT_VARIABLES, AgentConfig, config_of_app
from .context import RequestContext, current_context
from .handler import Handler
from .lifespan import LifespanFunction
from .observability.logging import logger
from .plugin_hooks import PluginHooks, plugins_called
from .plugin_interface import NOTHING, F, PluginInterface

if TYPE_CHECKING:
    from .asgi import ASGIApp, Receive, Scope, Send
    from .invocations.background import BusyBlock
    from .observability.metrics import MetricsCollector
    from .routes.fastapi_app import FastAPI
    from .routes.websocket import WebSocketRoute
    from .services import Services

P = ParamSpec("P")
T = TypeVar("T")


@runtime_checkable
class Plugin(Protocol):
    """Anything that can add itself to an app."""

    def install(self, app: PPIOAgentRuntimeApp) -> object:
        """Add routes, middleware, lifespans, or another protocol over `app.invoke`."""


def _of_fastapi(name: str) -> Any:
    """Return a property that is FastAPI's own method of this name."""
    return property(lambda app: getattr(app.fastapi, name), doc=f"`app.fastapi.{name}`.")


class PPIOAgentRuntimeApp(PluginInterface):
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
        self,
        config: AgentConfig | None = None,
        *,
        debug: bool = False,
        lifespan: LifespanFunction | None = None,
        **unknown: Never,
    ) -> None:
        self.config: AgentConfig = config_of_app(config, debug=debug, unknown=unknown)
        config = self.config
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
        self._hooks = PluginHooks()
        if config.rate_limit is not None or config.event_store is not None:
            self._build()  # to fail now, not on first use, if their URIs are wrong
        for sentence in config.unknown_variables(CLIENT_VARIABLES):
            logger.warning(sentence)
        if config.plugins:
            self._install_named(config.plugins)
        if config.protocols or config.protocol_paths:
            from .protocols import install_protocols  # only needed with protocols

            install_protocols(self, config)

    @classmethod
    def from_agent(
        cls,
        agent: Any,
        config: AgentConfig | None = None,
        *,
        session: Callable[[str], Any] | None = None,
        input: Callable[[Any], Any] | None = None,  # noqa: A002  # as frameworks call it
        **app_options: Any,
    ) -> Self:
        """Return an app whose entrypoint is an agent of a framework, such as LangGraph; see `docs/frameworks.md`.

        Args:
            agent: The agent, or a function that makes one when it is first needed. A function with the parameter
                `session_id`, or one whose agents hold a conversation themselves (Strands), is called for each
                session.
            config: As for the class.
            session: A function, `def` or `async def`, from a session ID to the object in which the framework keeps a
                session. Without it, the last 1,000 sessions are kept in memory.
            input: A function, `def` or `async def`, from an `AgentInput` to the framework's input, if not the messages.
            app_options: Other arguments of the class.

        Raises:
            ConfigurationError: The framework is unknown, or one object can't serve all sessions.
        """
        from .frameworks import handler_of  # not needed for plain functions

        app = cls(config, **app_options)
        app._register(handler_of(agent, session=session, input=input))
        return app

    def entrypoint(self, function: T = NOTHING) -> T:
        """Register the agent's function, or the agent of a framework; use it as a decorator.

        It can be a `def`, an `async def`, a generator of either kind, a callable object, a partial or a method. The
        first parameter gets the payload, and its annotation decides what is accepted: none or `dict` a JSON object, a
        pydantic model or another type what pydantic validates as it, `Any` everything. A parameter named `context` or
        `ctx`, or annotated `RequestContext`, gets the context. Generators stream.

        Raises:
            ConfigurationError: It is a class, has a parameter that would get no value or an annotation that can't be
                resolved, or is a second entrypoint.
        """
        if function is None or inspect.isroutine(function) or isinstance(function, type | functools.partial):
            self._register(Handler(function))  # type: ignore[arg-type]  # Handler refuses what isn't callable
        else:
            from .frameworks import handler_of_object  # not needed for plain functions

            self._register(handler_of_object(function))
        return function

    def ping(self, function: F = NOTHING) -> F:
        """Register the agent's own health check; use it as a decorator.

        A `def` or `async def` without parameters. It can return a `PingStatus`, its name, a bool, a dict with `status`
        and further fields, a `PingResponse`, or None to leave the status as it is. The service is Unhealthy if it
        raises, returns something else or takes longer than `ping_timeout_seconds`. While work is in flight, Healthy is
        reported as HealthyBusy.

        Raises:
            ConfigurationError: It can't be called without arguments.
        """
        self._services.health.set_handler(function)
        return function

    def middleware(self, function: F = NOTHING) -> F:
        """Register an `async def mw(request, call_next)` around every route; use it as a decorator.

        The one registered last is the outermost.
        """
        if isinstance(function, type) or not callable(function):
            raise ConfigurationError(
                "Write @app.middleware without arguments above 'async def mw(request, call_next)'; a class of ASGI "
                "middleware goes to app.add_middleware(TheClass)."
            )
        from .middleware import FunctionMiddleware  # imports starlette, which is only needed here

        self._wrap(lambda app: FunctionMiddleware(app, function))
        return function

    def add_middleware(self, middleware: Callable[..., ASGIApp], **options: Any) -> None:
        """Add an ASGI middleware class around every route; it is called as `middleware(app, **options)`."""
        self._wrap(lambda app: middleware(app, **options))

    def websocket(self, function: F = NOTHING) -> F:
        """Register the handler of WebSockets at `/ws`; use it as a decorator.

        An `async def handler(websocket, context)` that takes Starlette's `WebSocket` and accepts it; the context is
        optional. It has the limits of a stream: refusal before the handshake is answered, `stream_timeout`,
        `max_request_size` for each message, the drain. When it returns, the connection is closed with 1000.

        Needs the extra: `pip install 'ppio-agent-runtime[websocket]'`.

        Raises:
            ConfigurationError: It isn't an `async def`, requires a parameter that would get no value, or is the
                second one.
        """
        from .routes.websocket import WebSocketHandler, WebSocketRoute  # imports starlette, which is only needed here

        handler = WebSocketHandler(function)
        if self._websocket is not None:
            raise ConfigurationError(f"This app already has the WebSocket handler {self._websocket.handler.name}.")
        self._websocket = WebSocketRoute(self._services.invocations, handler)
        return function

    def busy(self, name: str, max_age_seconds: float | None = None) -> BusyBlock:
        """Return an async context manager: inside, the service is HealthyBusy, and `/ping` lists the name with its age.

        Args:
            name: A name for the work, for the list; several can have the same.
            max_age_seconds: After this long it no longer keeps the service busy, so that work that hangs can't keep a
                sandbox alive forever; a warning is logged once, and it stays in the list. None for no limit.

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
        """Count an async function as `busy` while it runs, under its own name; use it as a decorator.

        Start it with `asyncio.create_task(work())` and return without waiting for it, or await it. Its task isn't
        garbage-collected while it runs. During a drain it can keep running for `shutdown_grace_seconds`, and is then
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
        """Add a plugin, by calling its method `install(app)`; only before the first request.

        Raises:
            ConfigurationError: It has no such method, or is a class and not an object.
        """
        if isinstance(plugin, type) or not callable(getattr(plugin, "install", None)):
            raise ConfigurationError(f"A plugin is an object with a method install(app), not {plugin!r}.")
        plugin.install(self)

    def _install_named(self, names: list[str]) -> None:
        for plugin in plugins_called(names):
            self.install(plugin)

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
        """The metrics of this app, which `GET /metrics` shows too."""
        return self._services.recorder.metrics

    @property
    def fastapi(self) -> FastAPI:
        """The FastAPI app inside, made at first use: add routes, dependencies and routers to it."""
        with self._lock:
            if self._fastapi is None:
                from .routes.fastapi_app import build  # slow to import, and most agents never need it

                self._fastapi = build(self.config, lambda: self._handler)
                self._hooks.add_routes_to(self._fastapi)
            return self._fastapi

    get: Any = _of_fastapi("get")
    post: Any = _of_fastapi("post")
    put: Any = _of_fastapi("put")
    delete: Any = _of_fastapi("delete")
    include_router: Any = _of_fastapi("include_router")
    mount: Any = _of_fastapi("mount")

    def run(self, port: int | None = None, host: str | None = None, **uvicorn_options: Any) -> None:
        """Serve until SIGTERM or Ctrl-C, then drain and exit the process if anything went wrong.

        Args:
            port: Overrides the configured port.
            host: Overrides the configured host.
            uvicorn_options: Other options of uvicorn, such as `ssl_certfile`, `uds`, `backlog` or `root_path`; those
                that are settings here, or are not for a single process, are refused.

        Raises:
            ConfigurationError: No entrypoint, a bad host, port or option, or an event loop that is already running.
            SystemExit: With 1 if it can't start, with 3 if a thread had to be abandoned.
        """
        from .process_exit import leave_in_time
        from .server import PPIOAgentRuntimeServer  # tests and other servers do not need it

        code = PPIOAgentRuntimeServer(self, port=port, host=host, **uvicorn_options).run()
        leave_in_time(code)
        if code:
            raise SystemExit(code)

    async def drain(self, grace_seconds: float | None = None) -> None:
        """Refuse new work, let running work finish for `grace_seconds`, then stop it."""
        await self._services.drain(self.config.shutdown_grace_seconds if grace_seconds is None else grace_seconds)

    async def can_shut_down(self) -> bool:
        """Return whether the handlers' event loop still responds; one that is blocked can't leave the lifespan."""
        return await self._services.can_shut_down()

    def close(self) -> None:
        """End the app's own threads, as far as possible; if the app starts again, it starts new ones."""
        self._services.close()

    @property
    def abandoned_threads(self) -> int:
        """How many threads are still working; after a drain, these could not be stopped."""
        return self._services.abandoned_threads

    @property
    def websockets(self) -> Literal["none", "handler", "perhaps"]:
        """What handles WebSockets: nothing, `@app.websocket`, or perhaps a route or mounted app in FastAPI."""
        if self._websocket is not None or self._hooks.websocket is not None:
            return "handler"
        routes = [] if self._fastapi is None else self._fastapi.routes
        return "none" if all(hasattr(route, "methods") for route in routes) else "perhaps"

    @property
    def stack(self) -> ASGIApp:
        """The ASGI app inside: middleware and routes, put together at first use."""
        if self._stack is None:
            if self._websocket is None and self._hooks.websocket is not None:
                self.websocket(self._hooks.websocket)
            self._stack = self._services.stack(
                self._middleware,
                self._uses_fastapi,
                lambda: self.fastapi,
                self._lifespan_managers,
                self._websocket,
                self._hooks,
            )
        return self._stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI specification 3.0)."""
        await self.stack(scope, receive, send)

    @property
    def _services(self) -> Services:
        return self._built or self._build()

    def _build(self) -> Services:
        """Build the services that handle requests, on first use: an app that is only imported doesn't need them.

        They import asyncio, pydantic_core and most of our own modules: four fifths of the import time of an app.
        Servers call this before they accept the first request.
        """
        with self._lock:
            if self._built is None:
                from .services import Services

                self._built = Services(self.config, self._handler)
            return self._built

    def _register(self, handler: Handler) -> None:
        if self._handler is not None:
            raise ConfigurationError(
                f"This app already has the entrypoint {self._handler.name}; {handler.name} needs another app."
            )
        self._handler = handler
        if self._built is not None:
            self._built.invocations.handler = handler

    def _wrap(self, wrap: Callable[[ASGIApp], ASGIApp]) -> None:
        if self._stack is not None:
            raise ConfigurationError("Middleware must be added before the app serves its first request.")
        self._middleware.append(wrap)

    def _uses_fastapi(self) -> bool:
        return self._fastapi is not None or self.config.debug or bool(self._hooks.routes)

    def _lifespan_managers(self) -> list[Any]:
        services = self._services
        services.invocations.reopen()
        managers = [lifespan(self) for lifespan in (*services.lifespans(), *self._lifespans)]
        if self._fastapi is not None:
            managers.append(self._fastapi.router.lifespan_context(self._fastapi))
        return services.recorder.tracing.lifespans(managers)


AgentRuntimeApp = PPIOAgentRuntimeApp
