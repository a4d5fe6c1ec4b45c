"""`PPIOAgentRuntimeApp`: what an agent developer touches. It notes what is registered, and owns the rooms."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ppio_agent_models import ConfigurationError

from ._corridor.lifespan import LifespanFunction
from ._extensions import AppExtensions
from .config import CLIENT_VARIABLES, AgentConfig
from .context import RequestContext, current_context
from .handler import Handler
from .observability.logging import logger

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ._asgi import ASGIApp, Receive, Scope, Send
    from ._rooms import Layers, Rooms
    from .observability.metrics import MetricsCollector


F = TypeVar("F", bound=Callable[..., Any])


class PPIOAgentRuntimeApp(AppExtensions):
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
        self._layers: Layers = []
        self._opened: Rooms | None = None
        self._stack: ASGIApp | None = None
        self._fastapi: FastAPI | None = None
        self._lock = threading.Lock()
        if config.rate_limit is not None or config.event_store is not None:
            self._open_rooms()  # what these name is checked now, like every setting
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
        if self._opened is not None:
            self._opened.invocations.handler = handler
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
        self._rooms.health.set_handler(function)
        return function

    def middleware(self, function: F) -> F:
        """Register an `async def mw(request, call_next)` around every route; use it as a decorator.

        The one registered last is the outermost.
        """
        if not callable(function):
            raise ConfigurationError(
                "Write @app.middleware without arguments above 'async def mw(request, call_next)'."
            )
        from .middleware.function import FunctionLayer  # imports starlette, which agents without it do not need

        self._add_layer(lambda app: FunctionLayer(app, function))
        return function

    def add_middleware(self, layer: Callable[..., ASGIApp], **options: Any) -> None:
        """Put an ASGI middleware class around every route: it is called as `layer(app, **options)`."""
        self._add_layer(lambda app: layer(app, **options))

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
        return self._rooms.recorder.metrics

    @property
    def fastapi(self) -> FastAPI:
        """The FastAPI app inside, made at first use: add routes, dependencies and routers to it."""
        with self._lock:
            if self._fastapi is None:
                from ._corridor.fastapi import build  # slow to import, and most agents never need it

                self._fastapi = build(self.config, lambda: self._handler)
            return self._fastapi

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
        await self._rooms.drain(self.config.shutdown_grace_seconds if grace_seconds is None else grace_seconds)

    async def can_shut_down(self) -> bool:
        """Say whether the handlers' event loop still listens; one that is blocked cannot leave the lifespan."""
        return await self._rooms.can_shut_down()

    def close(self) -> None:
        """End the app's own threads, as far as they can be ended; a new life of the app starts new ones."""
        self._rooms.close()

    @property
    def abandoned_threads(self) -> int:
        """How many threads are still at work; after a drain, work that could not be stopped."""
        return self._rooms.abandoned_threads

    @property
    def websockets(self) -> Literal["none", "handler", "perhaps"]:
        """Who answers WebSockets: nobody, `@app.websocket`, or perhaps a route or mounted app in FastAPI."""
        if self._websocket is not None:
            return "handler"
        routes = [] if self._fastapi is None else self._fastapi.routes
        return "none" if all(hasattr(route, "methods") for route in routes) else "perhaps"

    @property
    def stack(self) -> ASGIApp:
        """The ASGI app inside: the layers and the routes, put together at first use."""
        if self._stack is None:
            self._stack = self._rooms.stack(
                self._layers, self._uses_fastapi, lambda: self.fastapi, self._lifespan_managers, self._websocket
            )
        return self._stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.stack(scope, receive, send)

    @property
    def _rooms(self) -> Rooms:
        return self._open_rooms() if self._opened is None else self._opened

    def _open_rooms(self) -> Rooms:
        """Put together what answers requests. An app that is only imported, or looked at, does without.

        It is asyncio, pydantic_core and most of our own modules: four fifths of what this class would take to import.
        A server asks for it before it takes the first request.
        """
        with self._lock:
            if self._opened is None:
                from ._rooms import Rooms

                self._opened = Rooms(self.config, self._handler)
            return self._opened

    def _add_layer(self, layer: Callable[[ASGIApp], ASGIApp]) -> None:
        if self._stack is not None:
            raise ConfigurationError("Middleware is added before the app serves its first request.")
        self._layers.append(layer)

    def _uses_fastapi(self) -> bool:
        return self._fastapi is not None or self.config.debug

    def _lifespan_managers(self) -> list[Any]:
        rooms = self._rooms
        rooms.invocations.reopen()
        managers = [lifespan(self) for lifespan in (*rooms.lifespans(), *self._lifespans)]
        if self._fastapi is not None:
            managers.append(self._fastapi.router.lifespan_context(self._fastapi))
        return rooms.recorder.tracing.lifespans(managers)


AgentRuntimeApp = PPIOAgentRuntimeApp
