"""Traces: one client span for each call, with propagation of its context.

With opentelemetry-api installed every call is a span of kind CLIENT, and the agent's own span is its child; retries and
resumptions are events of that span. Without the package nothing is imported and nothing is sent. Attributes follow
OpenTelemetry's semantic conventions for generative AI (agent spans) and for HTTP client spans, and never include
requests or responses. An instrumentation of httpx adds a child span for each attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from ppio_agent_models import INVOCATION_ID_HEADER, REQUEST_ID_HEADER

from ._headers import merged
from ._version import __version__

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_IDS = {"ppio.invocation_id": INVOCATION_ID_HEADER.lower(), "ppio.request_id": REQUEST_ID_HEADER.lower()}


class CallSpan:
    """The span of one call, from its first attempt to the end of its response.

    Use it with `with` for a call whose response is read inside the block. A stream ends later: it uses `active` while
    it sends requests, and `end`.

    Args:
        operation: `invoke_agent`, or another operation on an invocation.
        session_id: The conversation.
    """

    __slots__ = ("_active", "_span")

    def __init__(self, operation: str, session_id: str) -> None:
        self._span: Any = None
        self._active: AbstractContextManager[Any] = nullcontext()
        if (tracer := _tracer()) is not None:
            from opentelemetry.trace import SpanKind

            attributes = {"gen_ai.operation.name": operation, "gen_ai.conversation.id": session_id}
            self._span = tracer.start_span(operation, kind=SpanKind.CLIENT, attributes=attributes)

    def __enter__(self) -> Self:
        self._active = self.active()
        self._active.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._active.__exit__(kind, error, trace)
        self.end(error)

    def active(self) -> AbstractContextManager[Any]:
        """Return a context manager: inside, the span is the current one."""
        if self._span is None:
            return nullcontext()
        from opentelemetry.trace import use_span

        return use_span(self._span, record_exception=False, set_status_on_exception=False)

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Record the IDs in the response, and its HTTP status."""
        if self._span is None:
            return
        self._span.set_attribute("http.response.status_code", status)
        for name, header in _IDS.items():
            if header in headers:
                self._span.set_attribute(name, headers[header])
        if status >= 400:
            self._fail(str(status))

    def end(self, error: BaseException | None = None, **attributes: int) -> None:
        """End the span. Only the class of an error is recorded, because messages can contain requests."""
        if self._span is None:
            return
        for name, value in attributes.items():
            self._span.set_attribute(f"ppio.{name}", value)
        if isinstance(error, Exception):
            self._fail(type(error).__qualname__)
        self._span.end()
        self._span = None

    def _fail(self, kind: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attribute("error.type", kind)
        self._span.set_status(Status(StatusCode.ERROR))


def note_call(method: str, url: str) -> None:
    """Add to the current span what is sent where."""
    if _tracer() is None:
        return
    from opentelemetry.trace import get_current_span

    place = urlsplit(url)
    ports = {"http": 80, "https": 443}
    get_current_span().set_attributes(
        {
            "http.request.method": method,
            "url.full": url.partition("?")[0],
            "server.address": place.hostname or "",
            "server.port": place.port or ports.get(place.scheme, 0),
        }
    )


def note_attempt(name: str, attempt: int, **attributes: float | str) -> None:
    """Add an event to the current span: attempt number `attempt` follows a failure (`retry`), or a cut (`resume`)."""
    if _tracer() is None:
        return
    from opentelemetry.trace import get_current_span

    span = get_current_span()
    span.add_event(f"ppio.{name}", {"attempt": attempt, **attributes})
    span.set_attribute("http.request.resend_count", attempt)


def propagated(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers with those that carry the current trace and baggage; a caller's own of these names stay."""
    if _tracer() is None:
        return dict(headers)
    from opentelemetry.propagate import inject

    carrier: dict[str, str] = {}
    inject(carrier)
    return merged(carrier, headers)


@cache
def _tracer() -> Tracer | None:
    try:
        from opentelemetry.trace import get_tracer
    except ImportError:
        return None
    return get_tracer("ppio_agent_client", __version__)
