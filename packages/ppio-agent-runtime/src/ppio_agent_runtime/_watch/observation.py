"""Everything that watches one app, put together from its settings: numbers, access log, traces."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ppio_agent_models import ConfigurationError

from .metrics import MetricsCollector
from .recorder import InvocationRecorder
from .scrape import MetricsPage
from .telemetry_setup import collector_is_named, is_disabled, program_has_set_up

if TYPE_CHECKING:
    from .._door.admission import Door
    from ..invocations.manager import InvocationManager
    from .._settings.config import AgentConfig

logger = logging.getLogger("ppio_agent_runtime")


class Observation:
    """What an app needs in order to be watched.

    Attributes:
        metrics: The numbers; they stay 0 when `enable_metrics` is off.
        page: Answers `GET /metrics`; None when that is off.
    """

    def __init__(self, config: AgentConfig, manager: InvocationManager, door: Door) -> None:
        self._config = config
        self._manager = manager
        self._door = door
        self.metrics = MetricsCollector(self._gauges)
        self.page = MetricsPage(self.metrics) if config.enable_metrics else None
        self._recorder = InvocationRecorder(
            manager, self.metrics if config.enable_metrics else None, access_log=config.access_log
        )
        if config.enable_metrics or config.access_log:
            manager.recorder = self._recorder

    def lifespans(self, inner: list[Any]) -> list[Any]:
        """Return the app's context managers with those around them that begin and end the collection of spans."""
        return [self._collecting(), *inner, self._joining()]

    @asynccontextmanager
    async def _collecting(self) -> AsyncIterator[None]:
        """Collect spans inside, when the settings or the standard variables ask for it; send the last ones at the end.

        Entered first and left last, so that the program's own startup and shutdown are covered.

        Raises:
            ConfigurationError: The setting `telemetry` is on, and the SDK is not installed.
        """
        setting = self._config.telemetry
        if not is_disabled() and (collector_is_named() if setting is None else setting):
            try:
                self._collect()
            except ConfigurationError as error:
                if setting:
                    raise
                logger.warning("OTEL_* variables name a collector, and nothing is sent to it: %s", error)
        try:
            yield
        finally:
            if self._recorder.telemetry is not None:
                await self._recorder.telemetry.close()

    @asynccontextmanager
    async def _joining(self) -> AsyncIterator[None]:
        """Collect spans for an SDK that the program has set up itself, at the latest during its startup."""
        undecided = self._recorder.telemetry is None and self._config.telemetry is None
        if undecided and "opentelemetry.sdk.trace" in sys.modules and program_has_set_up():
            self._collect()
        yield

    def _collect(self) -> None:
        from .telemetry import Telemetry  # where nobody collects, it is not needed

        handler = self._manager.handler
        agent_name = "agent" if handler is None else handler.name
        self._recorder.telemetry = telemetry = Telemetry(agent_name, flush=self._config.telemetry_flush)
        self._manager.recorder = self._recorder
        self._manager.busy_also_while(lambda: telemetry.is_flushing)

    def _gauges(self) -> dict[str, int]:
        workers = self._manager.workers
        queued = 0 if self._door.concurrency is None else self._door.concurrency.queued
        return {
            "held": self._manager.held,
            "held_bytes": self._manager.held_bytes,
            "in_flight": self._manager.running - queued,
            "queued": queued,
            "worker_threads": workers.threads,
            "worker_threads_busy": workers.unfinished,
            "worker_threads_limit": workers.most,
        }
