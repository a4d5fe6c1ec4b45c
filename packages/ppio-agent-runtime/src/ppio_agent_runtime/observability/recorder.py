"""What became of an invocation, told to those who want to know: the metrics, the access log, the trace."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from ppio_agent_models import ConfigurationError, DrainingError, InvocationCancelledError, InvocationTimeoutError

from ..errors import ClientGoneError
from .logging import log_access, logger
from .metrics import MetricsCollector, MetricsEndpoint, Mode, Outcome

if TYPE_CHECKING:
    from ..config import AgentConfig
    from ..context import RequestContext
    from .tracing import Tracing

_OUTCOMES: Final[tuple[tuple[type[BaseException], Outcome], ...]] = (
    (ClientGoneError, "disconnected"),
    (InvocationTimeoutError, "timeout"),
    (InvocationCancelledError, "cancelled"),
    (asyncio.CancelledError, "cancelled"),
    (DrainingError, "draining"),
)


class FinishedInvocation(Protocol):
    """What is recorded of an invocation.

    Attributes:
        context: Whose it was.
        streams: Its answer is a stream.
        sent_bytes: Size of the answer's body.
        sent_chunks: How many chunks of the stream are in it.
    """

    context: RequestContext
    streams: bool
    sent_bytes: int
    sent_chunks: int

    @property
    def first_chunk(self) -> float | None:
        """When the first chunk was there, in seconds from the beginning."""


class InvocationRecorder:
    """Records how invocations begin and end, as the settings ask for it.

    Args:
        config: The app's settings.
        gauges: Returns what the metrics do not count but look at, see `MetricsCollector`.
        agent_name: Returns the name under which invocations are traced.

    Attributes:
        metrics: The numbers; they stay 0 when `enable_metrics` is off.
        endpoint: Answers `GET /metrics`; None when that is off.
    """

    def __init__(
        self, config: AgentConfig, gauges: Callable[[], Mapping[str, int]], agent_name: Callable[[], str]
    ) -> None:
        self._config = config
        self._agent_name = agent_name
        self._tracing: Tracing | None = None
        self._counts = config.enable_metrics
        self._logs_access = config.access_log or config.debug
        self.metrics = MetricsCollector(gauges)
        self.endpoint = MetricsEndpoint(self.metrics) if config.enable_metrics else None

    @property
    def is_flushing(self) -> bool:
        """Spans of finished invocations are on their way."""
        return self._tracing is not None and self._tracing.is_flushing

    def started(self, context: RequestContext) -> None:
        """Note that an invocation is in flight. Called in the task that works for it."""
        if self._tracing is not None:
            self._tracing.begin(context)

    def finished(
        self, invocation: FinishedInvocation, failure: BaseException | None, *, was_refused: bool = False
    ) -> None:
        """Note that an invocation's answer is complete. Called in the task of `started`.

        Args:
            failure: What ended it instead of a result, or after the first chunk of a stream.
            was_refused: It failed before any of the agent's code ran.
        """
        outcome = outcome_of(failure)
        mode: Mode = "stream" if invocation.streams else "json"
        if failure is not None and was_refused:
            self.refused(failure)
        elif self._counts:
            self.metrics.record_request(
                invocation.context.elapsed(),
                outcome,
                mode,
                invocation.sent_bytes,
                invocation.sent_chunks,
                invocation.first_chunk,
            )
        if self._logs_access and failure is None:
            log_access(invocation.context, mode, invocation.sent_bytes, invocation.sent_chunks)
        elif outcome in ("cancelled", "disconnected"):  # which are no failures, and logged nowhere else
            logger.debug("Invocation %s was %s.", invocation.context.invocation_id, outcome)
        if self._tracing is not None:
            self._tracing.end(invocation.context, outcome, failure, mode=mode, chunks=invocation.sent_chunks)

    def refused(self, failure: BaseException) -> None:
        """Note a request that was refused before any of the agent's code ran."""
        if self._counts:
            self.metrics.record_rejection(failure)
        logger.debug("A request was refused: %s: %s", type(failure).__name__, failure)

    def lifespans(self, inner: list[Any]) -> list[Any]:
        """Return the app's context managers with those around them that begin and end the collection of spans."""
        return [self._trace_all(), *inner, self._trace_with_program()]

    @asynccontextmanager
    async def _trace_all(self) -> AsyncIterator[None]:
        """Collect spans inside, when the settings or the standard variables ask for it; send the last ones at the end.

        Entered first and left last, so that the program's own startup and shutdown are covered.

        Raises:
            ConfigurationError: The setting `telemetry` is on, and the SDK is not installed.
        """
        from .tracing import is_disabled, names_collector

        setting = self._config.telemetry
        if not is_disabled() and (names_collector() if setting is None else setting):
            try:
                self._start_tracing()
            except ConfigurationError as error:
                if setting:
                    raise
                logger.warning("OTEL_* variables name a collector, and nothing is sent to it: %s", error)
        try:
            yield
        finally:
            if self._tracing is not None:
                await self._tracing.close()

    @asynccontextmanager
    async def _trace_with_program(self) -> AsyncIterator[None]:
        """Collect spans for an SDK that the program has set up itself, at the latest during its startup."""
        if self._tracing is None and self._config.telemetry is None and "opentelemetry.sdk.trace" in sys.modules:
            from .tracing import program_has_set_up

            if program_has_set_up():
                self._start_tracing()
        yield

    def _start_tracing(self) -> None:
        from .tracing import Tracing

        self._tracing = Tracing(self._agent_name(), flush=self._config.telemetry_flush)


def outcome_of(failure: BaseException | None) -> Outcome:
    """Return how an invocation ended."""
    if failure is None:
        return "success"
    return next((outcome for kind, outcome in _OUTCOMES if isinstance(failure, kind)), "error")
