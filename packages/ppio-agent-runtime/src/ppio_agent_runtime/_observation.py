"""Everything that watches one app, put together from its settings: numbers, access log, traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._metrics import MetricsCollector
from ._recorder import InvocationRecorder
from ._scrape import MetricsPage
from ._telemetry import collecting, joining

if TYPE_CHECKING:
    from ._admission import Door
    from ._config import AgentConfig
    from ._durable import DurableInvocations
    from ._engine import Engine


class Observation:
    """What an app needs in order to be watched.

    Attributes:
        metrics: The numbers; they stay 0 when `enable_metrics` is off.
        page: Answers `GET /metrics`; None when that is off.
        durable: What is held for callers who come back; None before the app has it.
    """

    def __init__(self, config: AgentConfig, engine: Engine, door: Door) -> None:
        self._config = config
        self._engine = engine
        self._door = door
        self.durable: DurableInvocations | None = None
        self.metrics = MetricsCollector(self._gauges)
        self.page = MetricsPage(self.metrics) if config.enable_metrics else None
        self._recorder = InvocationRecorder(
            engine, self.metrics if config.enable_metrics else None, access_log=config.access_log
        )
        if config.enable_metrics or config.access_log:
            engine.recorder = self._recorder

    def lifespans(self, inner: list[Any]) -> list[Any]:
        """Return the app's context managers with those around them that collect spans."""
        handler = self._engine.handler
        name = "agent" if handler is None else handler.name
        return [
            collecting(self._engine, self._recorder, self._config, name),
            *inner,
            joining(self._engine, self._recorder, self._config, name),
        ]

    def _gauges(self) -> dict[str, int]:
        workers = self._engine.workers
        queued = 0 if self._door.concurrency is None else self._door.concurrency.queued
        return {
            "held": 0 if self.durable is None else self.durable.held,
            "held_bytes": 0 if self.durable is None else self.durable.held_bytes,
            "in_flight": self._engine.invocations.running - queued,
            "queued": queued,
            "worker_threads": workers.threads,
            "worker_threads_busy": workers.unfinished,
            "worker_threads_limit": workers.most,
        }
