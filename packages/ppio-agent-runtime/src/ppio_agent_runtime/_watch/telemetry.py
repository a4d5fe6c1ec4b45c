"""Traces: a server span for each invocation, its context active in the handler to the last byte.

OpenTelemetry is imported here and in `telemetry_setup`, once somebody collects; other agents do not pay for it.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import ConfigurationError, PPIOAgentRuntimeError

from ..invocations.worker_threads import WorkerThreads
from .._version import __version__
from .genai import CHUNKS, ERROR_TYPE, MODE, OUTCOME, attributes_of, span_name
from .telemetry_setup import make_provider, program_has_set_up, service_name

if TYPE_CHECKING:
    from ..invocations.invocation import Invocation
    from .metrics import Outcome

logger = logging.getLogger("ppio_agent_runtime")

_CLOSE_SECONDS: Final = 5.0
"""How long the last spans may take to leave; a collector that does not answer must not hold up the exit."""


class Telemetry:
    """The spans of one app.

    Args:
        agent_name: Goes into every span, unless the program or `OTEL_SERVICE_NAME` names the service.
        flush: Send spans after each invocation, and not only every few seconds: a sandbox that is frozen as soon as it
            is idle would lose them.

    Raises:
        ConfigurationError: The SDK is not installed, or an exporter that `OTEL_TRACES_EXPORTER` names.
    """

    def __init__(self, agent_name: str, *, flush: bool) -> None:
        try:
            import opentelemetry.sdk.trace  # noqa: F401  # the API alone collects nothing
            from opentelemetry import context, propagate, trace
        except ImportError as error:
            raise ConfigurationError(
                "telemetry needs the OpenTelemetry SDK: pip install 'ppio-agent-runtime[otel]'"
            ) from error
        self._context, self._propagate, self._trace = context, propagate, trace  # kept: no import inside a request
        self._fields = frozenset(map(str.lower, propagate.get_global_textmap().fields))
        self._provider: Any = trace.get_tracer_provider()
        self._own = not program_has_set_up()  # else somebody ends it as well
        if self._own:
            self._provider = make_provider(agent_name)
            trace.set_tracer_provider(self._provider)
        self._agent_name = service_name(self._provider) or agent_name
        self._tracer = self._provider.get_tracer("ppio_agent_runtime", __version__)
        self._flush = flush
        self._flushing: asyncio.Future[Any] | None = None
        self._flush_again = False
        self._thread = WorkerThreads(1)
        self._open: dict[Invocation, tuple[Any, Any]] = {}

    @property
    def is_flushing(self) -> bool:
        """Spans of finished invocations are on their way: whoever freezes idle sandboxes should wait for them."""
        return self._flushing is not None

    def begin(self, run: Invocation) -> None:
        """Start the span of a run and make it the current one of the running task, and of what the task starts.

        Its parent is the span that is current already, as with an agent that calls itself; else the caller's, by the
        request's headers (W3C Trace Context and Baggage, unless `OTEL_PROPAGATORS` says otherwise).
        """
        current = parent = self._context.get_current()
        within = self._trace.get_current_span(current).get_span_context().is_valid
        if not within:
            parent = self._propagate.extract(self._carrier(run), current)
        span = self._tracer.start_span(
            span_name(self._agent_name),
            parent,
            kind=self._trace.SpanKind.INTERNAL if within else self._trace.SpanKind.SERVER,
            attributes=attributes_of(self._agent_name, run.context),
        )
        self._context.attach(self._trace.set_span_in_context(span, parent))
        self._open[run] = span, current

    def end(self, run: Invocation, outcome: Outcome, failure: BaseException | None) -> None:
        """End the span of a run; of a failure it tells the type and nothing else, for messages can hold payloads."""
        opened = self._open.pop(run, None)
        if opened is None:  # it began before telemetry did
            return
        span, before = opened
        span.set_attribute(OUTCOME, outcome)
        span.set_attribute(MODE, "stream" if run.streams else "json")
        if run.streams:
            span.set_attribute(CHUNKS, run.sent_chunks)
        if failure is not None:
            kind = _type_name(failure.__cause__ or failure)
            span.set_attribute(ERROR_TYPE, kind)
            if outcome in ("error", "timeout", "draining") and not _is_callers_fault(failure):
                span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, kind))
        span.end()
        self._context.attach(before)  # not detach(): a stream may end in another context than the one it began in
        if self._flush:
            self._start_flush()

    async def close(self) -> None:
        """Send what is left, and end what was started here."""
        last = self._provider.shutdown if self._own else self._force_flush
        try:
            await asyncio.wait_for(self._thread.run(Context(), last), _CLOSE_SECONDS)
        except TimeoutError:
            logger.warning("The last spans did not leave within %g s; they are lost.", _CLOSE_SECONDS)

    def _carrier(self, run: Invocation) -> dict[str, str]:
        """Return the headers that carry a trace; repeated ones joined (RFC 9110, section 5.3)."""
        values = {field: run.context.header_values(field.encode()) for field in self._fields}
        return {field: ",".join(found) for field, found in values.items() if found}

    def _start_flush(self) -> None:
        """Flush in the thread; what ends meanwhile is flushed once more afterwards."""
        if self._flushing is not None:
            self._flush_again = True
            return
        self._flush_again = False
        self._flushing = self._thread.run(Context(), self._force_flush)
        self._flushing.add_done_callback(self._flushed)

    def _flushed(self, flushing: asyncio.Future[Any]) -> None:
        self._flushing = None
        if not flushing.cancelled() and (error := flushing.exception()) is not None:
            logger.warning("Spans could not be sent: %s.", type(error).__name__)
        if self._flush_again:
            self._start_flush()

    def _force_flush(self) -> None:
        if (force_flush := getattr(self._provider, "force_flush", None)) is not None:  # it is the SDK's, not the API's
            force_flush()


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _is_callers_fault(failure: BaseException) -> bool:
    return isinstance(failure, PPIOAgentRuntimeError) and (failure.status_code or 500) < 500
