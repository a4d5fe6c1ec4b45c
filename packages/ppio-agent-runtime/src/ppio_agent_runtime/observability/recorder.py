"""Records starts and outcomes of invocations in metrics, access log and traces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from ppio_agent_models import DrainingError, InvocationCancelledError, InvocationTimeoutError

from ..errors import ClientGoneError
from .logging import access_logger, ids_of, logger
from .metrics import MetricsCollector, answer_scrape
from .shared_metrics import shared_counters
from .tracing import Tracing

if TYPE_CHECKING:
    from ..asgi import ASGIApp
    from ..config import AgentConfig
    from ..context import RequestContext
    from .metrics import Mode, Outcome

_OUTCOMES: Final[tuple[tuple[type[BaseException], Outcome], ...]] = (
    (ClientGoneError, "disconnected"),
    (InvocationTimeoutError, "timeout"),
    (InvocationCancelledError, "cancelled"),
    (asyncio.CancelledError, "cancelled"),
    (DrainingError, "draining"),
)


class RunObserver(Protocol):
    """Observes invocations while they run, as the console does."""

    def started(self, context: RequestContext) -> None:
        """Called when an invocation starts, in the task that runs it."""

    def admitted(self, context: RequestContext) -> None:
        """Called when an invocation leaves the queue."""

    def events(self, context: RequestContext, events: list[dict[str, Any]]) -> None:
        """Called with new typed events, except further text of an open message."""

    def finished(
        self,
        context: RequestContext,
        outcome: Outcome | Literal["refused"],
        failure: BaseException | None,
        mode: Mode,
        *,
        sent_bytes: int,
        chunks: int,
        first_chunk: float | None,
    ) -> None:
        """Called when the response is complete; see `InvocationRecorder.finished`."""


class InvocationRecorder:
    """Records invocations as the settings require.

    Args:
        config: The app's settings.
        gauges: Returns the measured values, see `MetricsCollector`.
        agent_name: Returns the agent's name for traces.

    Attributes:
        metrics: The metrics; they stay 0 without `enable_metrics`.
        endpoint: The ASGI endpoint of `GET /metrics`, or None without `enable_metrics`.
        tracing: The traces.
        observer: Observes each invocation; None if not needed.
    """

    observer: RunObserver | None = None

    def __init__(
        self, config: AgentConfig, gauges: Callable[[], Mapping[str, int]], agent_name: Callable[[], str]
    ) -> None:
        self._counts = config.enable_metrics
        self._logs_access = config.access_log or config.debug
        self.metrics: MetricsCollector = MetricsCollector(gauges, shared_counters() if config.enable_metrics else None)
        self.endpoint: ASGIApp | None = partial(answer_scrape, self.metrics) if config.enable_metrics else None
        self.tracing: Tracing = Tracing(agent_name, wanted=config.telemetry, flush=config.telemetry_flush)

    def started(self, context: RequestContext) -> None:
        """Note that an invocation is in flight. Called in the task that works for it."""
        self.metrics._look()
        if self.observer is not None:
            self.observer.started(context)
        if self.tracing.is_collecting:
            self.tracing.begin(context)

    def admitted(self, context: RequestContext) -> None:
        """Record that an invocation left the queue."""
        if self.observer is not None:
            self.observer.admitted(context)

    def finished(
        self,
        context: RequestContext,
        failure: BaseException | None,
        mode: Mode = "json",
        *,
        sent_bytes: int = 0,
        chunks: int = 0,
        first_chunk: float | None = None,
        was_refused: bool = False,
    ) -> None:
        """Record that an invocation's response is complete. Called in the task of `started`.

        Args:
            context: The context of the invocation.
            failure: The exception that ended it, or None.
            mode: See `MetricsCollector.record_request`, as for the three that follow.
            was_refused: It failed before any of the agent's code ran.
        """
        outcome: Outcome = "success"
        if failure is not None:
            outcome = next((outcome for kind, outcome in _OUTCOMES if isinstance(failure, kind)), "error")
        duration = context.elapsed()
        if failure is not None and was_refused:
            self.refused(failure)
        elif self._counts:
            self.metrics.record_request(duration, outcome, mode, sent_bytes, chunks, first_chunk)
            if context.protocol is not None:
                self.metrics.record_protocol(context.protocol, outcome)
        if self._logs_access and failure is None:
            _log_access(context, mode, duration, sent_bytes, chunks)
        elif outcome in ("cancelled", "disconnected"):  # not failures, and logged nowhere else
            logger.debug("Invocation %s was %s.", context.invocation_id, outcome)
        if self.tracing.is_collecting:
            self.tracing.end(context, outcome, failure, mode=mode, chunks=chunks)
        if self.observer is not None:
            self.observer.finished(
                context,
                "refused" if was_refused else outcome,
                failure,
                mode,
                sent_bytes=sent_bytes,
                chunks=chunks,
                first_chunk=first_chunk,
            )

    def refused(self, failure: BaseException) -> None:
        """Record a request that was refused before any of the agent's code ran."""
        if self._counts:
            self.metrics.record_rejection(failure)
        logger.debug("A request was refused: %s: %s", type(failure).__name__, failure)


def _log_access(context: RequestContext, mode: Mode, duration: float, sent_bytes: int, chunks: int) -> None:
    protocol = {} if context.protocol is None else {"protocol": context.protocol}
    fields = {"mode": mode, "duration_seconds": round(duration, 6), "sent_bytes": sent_bytes, "chunks": chunks}
    access_logger.info(
        "Invocation %s succeeded: %s, %.3f s, %d bytes, %d chunks",
        context.invocation_id,
        *fields.values(),
        extra={**ids_of(context), **fields, **protocol},
    )
