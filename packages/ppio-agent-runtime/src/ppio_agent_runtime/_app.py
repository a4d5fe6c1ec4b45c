"""`PPIOAgentRuntimeApp`: what an agent developer touches. It owns the rooms and says who answers which route."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ppio_agent_models import ConfigurationError

from ._admission import Door
from ._background import Background
from ._config import CLIENT_VARIABLES, AgentConfig
from ._context import RequestContext, current_context
from ._durable import DurableInvocations
from ._durable_corridor import DurableCorridor
from ._engine import Engine
from ._extensions import AppExtensions
from ._handler import Handler
from ._health import Health
from ._invocations import FAREWELL_SECONDS, TICK_SECONDS, Invocations
from ._isolation import IsolatedApp, SecondLoop
from ._lifespan import LifespanFunction
from ._observation import Observation
from ._pipeline import Corridor
from ._resource import InvocationResources
from ._router import Router
from ._serialize import encode
from .middleware.cors import CORSLayer
from .middleware.errors import ErrorLayer

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ._asgi import ASGIApp, Receive, Scope, Send
    from ._exchange import Answerer

logger = logging.getLogger("ppio_agent_runtime")

F = TypeVar("F", bound=Callable[..., Any])


class PPIOAgentRuntimeApp(AppExtensions):
    """An agent as an HTTP service. The object is an ASGI app (specification 3.0); `run()` serves it.

    Args:
        config: Settings; without it they come from the environment and the defaults.
        debug: The same as `AgentConfig(debug=True)`.
        lifespan: An async context manager function that takes this app; entered before the first request and left
            after the last, on the event loop of the handlers.

    Attributes:
        metrics: The numbers of what happened, which `GET /metrics` shows too.

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
        self._door = Door(config)
        self._workers = self._door.workers
        self._second_loop = SecondLoop() if config.isolate_handlers else None
        self._health = Health(self._workers, config.ping_timeout_seconds, self._second_loop)
        self._background = Background()
        self._health.further_work.append(self._background.keeps_busy)
        self._health.details.append(self._background.report)
        self._invocations = Invocations(self._health)
        self._engine = Engine(self._invocations, self._workers)
        self._engine.admission = None if self._door.is_open else self._door
        self._observation = Observation(config, self._engine, self._door)
        self.metrics = self._observation.metrics
        self._durable = self._observation.durable = DurableInvocations(config, self._engine)
        self._durably = DurableCorridor(config, self._invocations, self._durable)
        self._corridor = Corridor(config, self._engine, self._durably)
        self._lifespans: list[LifespanFunction] = []
        if config.event_store is not None:
            self.on_lifespan(lambda _: self._durable)
        if self._door.rate_limit is not None:
            self.on_lifespan(self._door.lifespan)
        if lifespan is not None:
            self.on_lifespan(lifespan)
        self._abandoned_loops = 0
        self._layers: list[Callable[[ASGIApp], ASGIApp]] = []
        self._stack: ASGIApp | None = None
        self._shortcut: Answerer | None = None
        self._fastapi: FastAPI | None = None
        self._fastapi_lock = threading.Lock()
        for sentence in AgentConfig.unknown_variables(CLIENT_VARIABLES):
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
        if self._engine.handler is not None:
            raise ConfigurationError(
                f"This app has the entrypoint {self._engine.handler.name} already; {handler.name} needs another app."
            )
        self._engine.handler = handler
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
        self._health.use(function)
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
        return None if self._engine.handler is None else self._engine.handler.name

    @property
    def fastapi(self) -> FastAPI:
        """The FastAPI app inside, made at first use: add routes, dependencies and routers to it."""
        with self._fastapi_lock:
            if self._fastapi is None:
                from ._fastapi import build  # slow to import, and most agents never need it

                self._fastapi = build(self.config, lambda: self._engine.handler)
            return self._fastapi

    def run(self, port: int | None = None, host: str | None = None) -> None:
        """Serve until SIGTERM or Ctrl-C, then drain and exit the process if anything went wrong.

        Args:
            port: Instead of the configured one.
            host: Instead of the configured one.

        Raises:
            ConfigurationError: No entrypoint, or a bad host or port.
            SystemExit: With 1 when it cannot start, with 3 when a thread had to be abandoned.
        """
        from ._server import (
            PPIOAgentRuntimeServer,
            leave_in_time,
        )  # imports uvicorn, which tests and other servers do not need

        code = PPIOAgentRuntimeServer(self, port=port, host=host).run()
        leave_in_time(code)
        if code:
            raise SystemExit(code)

    async def drain(self, grace_seconds: float | None = None) -> None:
        """Refuse new work, let running work finish for `grace_seconds`, then stop it."""
        grace = self.config.shutdown_grace_seconds if grace_seconds is None else grace_seconds
        self._health.draining = True
        draining = self._drain(grace)
        if self._second_loop is None:
            await draining
        else:
            try:
                await asyncio.wait_for(self._second_loop.run(draining), grace + FAREWELL_SECONDS + 1)
            except TimeoutError:  # a handler blocks that loop
                logger.warning("The event loop of the handlers is blocked; the agent ends without it.")
                self._second_loop.abandon()
        # Plain functions that were told by context.cancelled get the same time as async ones for their farewell.
        loop = asyncio.get_running_loop()
        until = loop.time() + FAREWELL_SECONDS
        while self._workers.unfinished and loop.time() < until:  # noqa: ASYNC110  # other threads count it
            await asyncio.sleep(TICK_SECONDS)

    async def can_shut_down(self) -> bool:
        """Say whether the handlers' event loop still listens; one that is blocked cannot leave the lifespan."""
        return self._second_loop is None or await self._second_loop.answers(FAREWELL_SECONDS)

    def close(self) -> None:
        """End the app's own threads, as far as they can be ended; a new life of the app starts new ones."""
        self._invocations.close()
        self._workers.close()
        if self._second_loop is not None and not self._second_loop.close(FAREWELL_SECONDS):
            self._abandoned_loops += 1

    async def _drain(self, grace_seconds: float) -> None:
        ends = time.monotonic() + grace_seconds
        await self._invocations.drain(grace_seconds)
        await self._background.drain(max(0.0, ends - time.monotonic()))  # invocations may have started some meanwhile

    @property
    def abandoned_threads(self) -> int:
        """How many threads are still at work; after a drain, work that could not be stopped."""
        return self._workers.unfinished + self._abandoned_loops

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
            self._stack = self._build_stack()
        return self._stack

    @property
    def shortcut(self) -> Answerer | None:
        """What answers a `POST /invocations` that has no `Origin`, past ASGI; None where a layer must be passed."""
        _ = self.stack
        return self._shortcut

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.stack(scope, receive, send)

    def _build_stack(self) -> ASGIApp:
        encode(None)  # for its first value pydantic_core imports uuid and pathlib, 6 ms: not within a request
        router = Router(
            self._corridor,
            InvocationResources(
                self.config, self._invocations, self._durable, has_door=self._engine.admission is not None
            ),
            self._health,
            self._uses_fastapi,
            lambda: self.fastapi,
            self._lifespan_managers,
            self._observation.page,
            self._websocket,
        )
        app: ASGIApp = router
        if not self._layers:
            self._shortcut = self._corridor.answer
        for layer in self._layers:
            app = layer(app)
        if self._layers:
            self._durably.has_middleware = True
            app = ErrorLayer(app, tells_errors=self.config.tells_errors)
        if self.config.api_keys or self.config.hmac_keys:
            from .middleware.access import AccessLayer

            app = access = AccessLayer(app, self.config, self._engine.refused)
            self._shortcut = self._shortcut and access.around(self._shortcut)
        if self.config.cors_origins:
            app = CORSLayer(app, self.config.cors_origins)
        if self._second_loop is not None:
            app = isolated = IsolatedApp(app, router.ping, self._second_loop)
            self._shortcut = self._shortcut and isolated.around(self._shortcut)
        return app

    def _add_layer(self, layer: Callable[[ASGIApp], ASGIApp]) -> None:
        if self._stack is not None:
            raise ConfigurationError("Middleware is added before the app serves its first request.")
        self._layers.append(layer)

    def _uses_fastapi(self) -> bool:
        return self._fastapi is not None or self.config.debug

    def _lifespan_managers(self) -> list[Any]:
        self._invocations.reopen()
        managers = [lifespan(self) for lifespan in self._lifespans]
        if self._fastapi is not None:
            managers.append(self._fastapi.router.lifespan_context(self._fastapi))
        return self._observation.lifespans(managers)


AgentRuntimeApp = PPIOAgentRuntimeApp
