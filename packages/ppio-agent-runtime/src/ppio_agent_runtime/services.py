"""Builds the parts of one app (routes, limits, invocations, observability), and shuts them down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .http.cors import CORSMiddleware
from .invocations.background import Background
from .invocations.manager import SHUTDOWN_GRACE_SECONDS, InvocationManager
from .invocations.ticker import TICK_SECONDS
from .invocations.worker_threads import WorkerThreads
from .lifespan import warn_of_workers
from .observability.health import Health
from .observability.logging import logger
from .observability.recorder import InvocationRecorder
from .routes.invocation_resource import InvocationResource
from .routes.invocations import InvocationsEndpoint
from .routes.router import Router
from .serialization import encode

if TYPE_CHECKING:
    from .asgi import ASGIApp
    from .config import AgentConfig
    from .handler import Handler
    from .isolation import SecondLoop
    from .lifespan import LifespanFunction
    from .limits import AdmissionControl
    from .plugin_hooks import PluginHooks
    from .routes.fastapi_app import FastAPI
    from .routes.plugin_routes import ClaimedInvocations


class Services:
    """The parts of an app besides what developers register.

    Args:
        config: The app's settings.
        handler: Its entrypoint, or None if there is none yet.

    Attributes:
        admission: The limits; None if there are none.
        workers: The threads of plain functions.
        health: The status for `/ping`.
        background: Background work outside of invocations.
        invocations: Running and kept invocations.
        recorder: Counts, logs and traces invocations.

    Raises:
        ConfigurationError: A setting names something that does not exist, or needs an extra.
    """

    def __init__(self, config: AgentConfig, handler: Handler | None) -> None:
        self._config = config
        self.workers: WorkerThreads = WorkerThreads(config.sync_workers)
        self.admission: AdmissionControl | None = _admission_control(config, self.workers)
        self.second_loop: SecondLoop | None = _second_loop() if config.isolate_handlers else None
        self.health: Health = Health(
            config.ping_timeout_seconds, None if self.second_loop is None else self.second_loop.run
        )
        # A thread whose caller has left still counts as work in flight.
        self.health.busy_checks.append(lambda: self.workers.unfinished > 0)
        self.background: Background = Background()
        self.health.busy_checks.append(self.background.keeps_busy)
        self.health.details.append(self.background.report)
        self.invocations: InvocationManager = InvocationManager(config, self.workers, self.health)
        self.invocations.handler = handler
        self.invocations.admission = self.admission
        self.recorder: InvocationRecorder = InvocationRecorder(config, self._gauges, self._agent_name)
        self.invocations.recorder = self.recorder
        self.health.busy_checks.append(lambda: self.recorder.tracing.is_flushing)
        self._endpoint = InvocationsEndpoint(self.invocations)
        self._abandoned_loops = 0

    def lifespans(self) -> list[LifespanFunction]:
        """Return the lifespans to enter before the agent's own, and leave after them."""
        warn_of_workers(self._config)
        own: list[LifespanFunction] = []
        if self._config.event_store is not None:
            own.append(lambda _: self.invocations.durable)
        if self.admission is not None:
            own.append(self.admission.lifespan)
        return own

    def stack(
        self,
        middleware: list[Callable[[ASGIApp], ASGIApp]],
        uses_fastapi: Callable[[], bool],
        fastapi: Callable[[], FastAPI],
        managers: Callable[[], list[Any]],
        websocket: ASGIApp | None,
        hooks: PluginHooks,
    ) -> ASGIApp:
        """Return the ASGI app: the routes, wrapped in middleware from the inside out.

        Args:
            middleware: The agent's own middleware.
            uses_fastapi: Returns whether FastAPI is used.
            fastapi: Returns the FastAPI app.
            managers: Makes the context managers of the lifespan.
            websocket: Handles `WS /ws`.
            hooks: The registrations of plugins.
        """
        encode(None)  # now, because on its first call pydantic_core imports uuid and pathlib, which takes 6 ms
        config = self._config
        resources = InvocationResource(self.invocations)
        metrics = self.recorder.endpoint
        endpoint: InvocationsEndpoint | ClaimedInvocations = self._endpoint
        if hooks.claims:
            from .routes.plugin_routes import ClaimedInvocations

            endpoint = ClaimedInvocations(self._endpoint, config, hooks.claims)
        router = Router(
            endpoint,
            resources,
            self.health,
            self.invocations.durable,
            uses_fastapi,
            fastapi,
            managers,
            metrics,
            websocket,
        )
        app: ASGIApp = router
        if config.debug:
            from .console.data import ConsoleData  # the console is only imported with debug
            from .console.docs_page import DocsPage

            app = DocsPage(ConsoleData(app, config, self.invocations, self.recorder))
        for wrap in middleware:
            app = wrap(app)
        if middleware:
            from .middleware import ErrorMiddleware  # starlette

            app = ErrorMiddleware(app, tells_errors=config.tells_errors)
        return self._guarded(app, router, hooks)

    def _guarded(self, app: ASGIApp, router: Router, hooks: PluginHooks) -> ASGIApp:
        """Return `app` wrapped in authentication, CORS and the other outer layers."""
        config = self._config
        if config.api_keys or config.hmac_keys:
            from .security.authentication import AuthenticationMiddleware

            app = AuthenticationMiddleware(app, config, self.invocations.refused, hooks.open_paths)
        if config.debug:
            from .console.page import ConsolePage

            app = ConsolePage(app, router.has_own_route)
        if hooks.error_writers:
            from .routes.plugin_routes import ErrorTranslator

            app = ErrorTranslator(app, hooks.error_writers)
        if config.cors_origins:
            app = CORSMiddleware(app, config.cors_origins)
        if self.second_loop is not None:
            from .isolation import IsolatedApp

            app = IsolatedApp(app, router.ping, self.second_loop)
        if config.debug and not (config.api_keys or config.hmac_keys):
            from .security.loopback import LoopbackGuard

            app = LoopbackGuard(app, checks_origin=config.explain()["cors_origins"][1] == "default")
        return app

    def _agent_name(self) -> str:
        return "agent" if self.invocations.handler is None else self.invocations.handler.name

    def _gauges(self) -> dict[str, int]:
        queued = 0 if self.admission is None else self.admission.queued
        return {
            "held": self.invocations.durable.held,
            "held_bytes": self.invocations.durable.held_bytes,
            "in_flight": len(self.invocations.in_flight) - queued,
            "queued": queued,
            "worker_threads": self.workers.threads,
            "worker_threads_busy": self.workers.unfinished,
            "worker_threads_limit": self.workers.most,
        }

    async def drain(self, grace_seconds: float) -> None:
        """Refuse new work, let running work finish for `grace_seconds`, then stop it."""
        self.health.draining = True
        draining = self._drain(grace_seconds)
        if self.second_loop is None:
            await draining
        else:
            try:
                await asyncio.wait_for(self.second_loop.run(draining), grace_seconds + SHUTDOWN_GRACE_SECONDS + 1)
            except TimeoutError:  # a handler blocks that loop
                logger.warning("The event loop of the handlers is blocked; the agent shuts down without it.")
                self.second_loop.abandon()
        # Plain functions, which see context.cancelled, get the same time to end as async ones.
        loop = asyncio.get_running_loop()
        until = loop.time() + SHUTDOWN_GRACE_SECONDS
        while self.workers.unfinished and loop.time() < until:  # noqa: ASYNC110  # other threads count it
            await asyncio.sleep(TICK_SECONDS)

    async def _drain(self, grace_seconds: float) -> None:
        ends = time.monotonic() + grace_seconds
        await self.invocations.drain(grace_seconds)
        await self.background.drain(max(0.0, ends - time.monotonic()))  # invocations may have started some meanwhile

    async def can_shut_down(self) -> bool:
        """Return whether the handlers' event loop still responds; a blocked one cannot leave the lifespan."""
        return self.second_loop is None or await self.second_loop.answers(SHUTDOWN_GRACE_SECONDS)

    def close(self) -> None:
        """Stop all threads that can be stopped; the next lifespan of the app starts new ones."""
        self.invocations.close()
        self.workers.close()
        if self.second_loop is not None and not self.second_loop.close(SHUTDOWN_GRACE_SECONDS):
            self._abandoned_loops += 1

    @property
    def abandoned_threads(self) -> int:
        """How many threads still run; after a drain, those that could not be stopped."""
        return self.workers.unfinished + self._abandoned_loops


def _second_loop() -> SecondLoop:
    from .isolation import SecondLoop  # only with isolate_handlers

    return SecondLoop()


def _admission_control(config: AgentConfig, workers: WorkerThreads) -> AdmissionControl | None:
    limits = (config.rate_limit, config.max_concurrency, config.max_concurrency_per_session)
    if all(limit is None for limit in limits):
        return None
    from .limits import AdmissionControl  # only with limits

    return AdmissionControl(config, workers)
