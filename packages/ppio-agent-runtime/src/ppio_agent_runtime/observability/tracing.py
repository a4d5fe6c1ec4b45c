"""Traces: a server span for each invocation, its context active in the handler to the last byte.

The OpenTelemetry SDK is only imported if spans are collected. The SDK itself reads endpoint, headers, timeout,
sampler, batch sizes, resource and propagators from the standard `OTEL_*` variables.

Names of spans and attributes follow OpenTelemetry's semantic conventions for generative AI, agent spans. These are
still in development and have changed before, so they are only used in this file. See
https://github.com/open-telemetry/semantic-conventions-genai (agent spans) and, for `error.type`, the general ones.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import ConfigurationError, PPIOAgentRuntimeError

from .._version import __version__
from ..event_loop import run_in_thread
from .logging import logger, span_ids, type_name

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from ..context import RequestContext

_OPERATION: Final = "invoke_agent"
_CLOSE_SECONDS: Final = 5.0
"""How long sending the last spans may take; a collector that doesn't respond must not delay the exit."""
_UNNAMED: Final = "unknown_service"
"""How the SDK's default name of a service begins."""


class Tracing:
    """The spans of one app.

    Args:
        agent_name: Returns the agent's name for spans, unless the program or `OTEL_SERVICE_NAME` sets one.
        wanted: The setting `telemetry`.
        flush: Send spans after each invocation, not only every few seconds, for sandboxes that are frozen when idle.

    Attributes:
        is_collecting: Spans are recorded, so `begin` and `end` may be called.
        on_provider: Called with the SDK's provider when recording starts; None if not needed.
    """

    on_provider: Callable[[Any], None] | None = None

    def __init__(self, agent_name: Callable[[], str], *, wanted: bool | None, flush: bool) -> None:
        self._name_agent = agent_name
        self._wanted = wanted
        self._flush = flush
        self._flushing: asyncio.Future[Any] | None = None
        self._flush_again = False
        self.is_collecting: bool = False
        self._open: dict[RequestContext, tuple[Any, Any]] = {}

    def lifespans(self, inner: list[Any]) -> list[Any]:
        """Return the app's context managers, wrapped in those that start and stop the recording of spans."""
        return [self._collect(), *inner, self._collect_with_program()]

    @asynccontextmanager
    async def _collect(self) -> AsyncIterator[None]:
        """Record spans inside, if the settings or the standard variables require it; send the last ones at the end.

        Entered first and left last, so that the program's own startup and shutdown are covered.

        Raises:
            ConfigurationError: The setting `telemetry` is on, but the SDK is not installed.
        """
        is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        if not is_disabled and (_environment_names_collector() if self._wanted is None else self._wanted):
            try:
                self._start()
            except ConfigurationError as error:
                if self._wanted:
                    raise
                logger.warning("OTEL_* variables name a collector, but nothing is sent to it: %s", error)
        try:
            yield
        finally:
            if self.is_collecting:
                await self._close()

    @asynccontextmanager
    async def _collect_with_program(self) -> AsyncIterator[None]:
        """Record spans for an SDK that the program has set up itself, at the latest during its startup."""
        may_have = not self.is_collecting and self._wanted is None and "opentelemetry.sdk.trace" in sys.modules
        if may_have and _program_has_set_up():
            self._start()
        yield

    def _start(self) -> None:
        """Start recording spans.

        Raises:
            ConfigurationError: The SDK is not installed, or an exporter that `OTEL_TRACES_EXPORTER` names.
        """
        try:
            import opentelemetry.sdk.trace  # noqa: F401  # the API alone collects nothing
            from opentelemetry import context, propagate, trace
        except ImportError as error:
            raise ConfigurationError(
                "telemetry needs the OpenTelemetry SDK: pip install 'ppio-agent-runtime[otel]'"
            ) from error
        self._context, self._propagate, self._trace = context, propagate, trace  # kept: no import inside a request
        self._fields = frozenset(map(str.lower, propagate.get_global_textmap().fields))
        agent_name = self._name_agent()
        self._provider: Any = trace.get_tracer_provider()
        self._own = not _program_has_set_up()  # otherwise the program shuts it down
        if self._own:
            self._provider = _make_provider(agent_name)
            trace.set_tracer_provider(self._provider)
        if self.on_provider is not None:
            self.on_provider(self._provider)
        self._force_flush = getattr(self._provider, "force_flush", lambda: None)  # only the SDK has it, not the API
        self._agent_name = _service_name(self._provider) or agent_name
        self._tracer = self._provider.get_tracer("ppio_agent_runtime", __version__)
        self.is_collecting = True

    @property
    def is_flushing(self) -> bool:
        """Whether spans of finished invocations are still being sent; a sandbox should not be frozen before that."""
        return self._flushing is not None

    def begin(self, context: RequestContext) -> None:
        """Start the span of an invocation, and make it the current one of the running task and its child tasks.

        Its parent is the current span, if there is one, as with an agent that calls itself; else the caller's span from
        the request's headers (W3C Trace Context and Baggage, unless `OTEL_PROPAGATORS` names others).
        """
        current = parent = self._context.get_current()
        within = self._trace.get_current_span(current).get_span_context().is_valid
        if not within:
            parent = self._propagate.extract(self._carrier(context), current)
        span = self._tracer.start_span(
            f"{_OPERATION} {self._agent_name}",
            parent,
            kind=self._trace.SpanKind.INTERNAL if within else self._trace.SpanKind.SERVER,
            attributes=self._attributes(context),
        )
        self._context.attach(self._trace.set_span_in_context(span, parent))
        self._open[context] = span, current
        context.span_ids = span_ids(span.get_span_context())

    def end(
        self, context: RequestContext, outcome: str, failure: BaseException | None, *, mode: str, chunks: int
    ) -> None:
        """End the span of an invocation.

        Args:
            context: The context of the invocation.
            outcome: How it ended, as in the metrics.
            failure: Its exception. Only the type is recorded, because messages can contain payloads.
            mode: As in the metrics.
            chunks: How many chunks a stream had.
        """
        opened = self._open.pop(context, None)
        if opened is None:  # it began before tracing did
            return
        span, before = opened
        span.set_attribute("ppio.outcome", outcome)
        span.set_attribute("ppio.mode", mode)
        if mode == "stream":
            span.set_attribute("ppio.chunks", chunks)
        if failure is not None:
            kind = type_name(failure.__cause__ or failure)
            span.set_attribute("error.type", kind)
            is_callers_fault = isinstance(failure, PPIOAgentRuntimeError) and (failure.status_code or 500) < 500
            if outcome in ("error", "timeout", "draining") and not is_callers_fault:
                span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, kind))
        span.end()
        self._context.attach(before)  # not detach(): a stream may end in another context than it began in
        if self._flush:
            self._start_flush()

    async def _close(self) -> None:
        """Send the remaining spans, and shut down a provider of our own."""
        last = self._provider.shutdown if self._own else self._force_flush
        try:
            await asyncio.wait_for(run_in_thread(last, name="agent-tracing"), _CLOSE_SECONDS)
        except TimeoutError:
            logger.warning("The last spans were not sent within %g s and are lost.", _CLOSE_SECONDS)

    def _attributes(self, context: RequestContext) -> dict[str, Any]:
        """Return the span's attributes at the start of an invocation. Never its payload."""
        session = {} if context.session_id is None else {"gen_ai.conversation.id": context.session_id}
        return {
            "gen_ai.operation.name": _OPERATION,
            "gen_ai.agent.name": self._agent_name,
            "ppio.invocation_id": context.invocation_id,
            "ppio.request_id": context.request_id,
        } | session

    def _carrier(self, context: RequestContext) -> dict[str, str]:
        """Return the headers of trace propagation; repeated ones are joined (RFC 9110, section 5.3)."""
        values = {field: context.header_values(field.encode()) for field in self._fields}
        return {field: ",".join(found) for field, found in values.items() if found}

    def _start_flush(self) -> None:
        """Flush in a thread; flush again afterwards if more spans ended meanwhile."""
        if self._flushing is not None:
            self._flush_again = True
            return
        self._flush_again = False
        self._flushing = run_in_thread(self._force_flush, name="agent-tracing")
        self._flushing.add_done_callback(self._flushed)

    def _flushed(self, flushing: asyncio.Future[Any]) -> None:
        self._flushing = None
        if not flushing.cancelled() and (error := flushing.exception()) is not None:
            logger.warning("Spans could not be sent: %s.", type(error).__name__)
        if self._flush_again:
            self._start_flush()


def _environment_names_collector() -> bool:
    if os.environ.get("OTEL_TRACES_EXPORTER"):
        return bool(_exporter_names())
    return any(map(os.environ.get, ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")))


def _program_has_set_up() -> bool:
    """Return whether the program, or opentelemetry-instrument, has already set a provider."""
    from opentelemetry import trace

    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider)


def _make_provider(agent_name: str) -> TracerProvider:
    """Return a provider that sends spans in batches, with this service name unless an `OTEL_*` variable sets one.

    Raises:
        ConfigurationError: An exporter that the environment names is not installed.
    """
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create()
    if str(resource.attributes.get("service.name", _UNNAMED)).startswith(_UNNAMED):
        resource = resource.merge(Resource({"service.name": agent_name}))
    # Not at exit: the app shuts it down at the end of its lifespan, with a time limit.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for name in _exporter_names():
        provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
    return provider


def _service_name(provider: Any) -> str | None:
    """Return a provider's service name, or None if it is the default."""
    name = getattr(getattr(provider, "resource", None), "attributes", {}).get("service.name")
    return name if isinstance(name, str) and name and not name.startswith(_UNNAMED) else None


def _exporter_names() -> list[str]:
    """Return the names in `OTEL_TRACES_EXPORTER`, without `none`."""
    given = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    return [name.strip() for name in given.split(",") if name.strip() not in ("", "none")]


def _exporter(name: str) -> Any:
    entry = name
    if name == "otlp":
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        entry = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    from importlib.metadata import entry_points  # slow to import

    for found in entry_points(group="opentelemetry_traces_exporter", name=entry):
        return found.load()()
    raise ConfigurationError(f"The traces exporter {entry!r}, which the OTEL_* variables select, is not installed.")
