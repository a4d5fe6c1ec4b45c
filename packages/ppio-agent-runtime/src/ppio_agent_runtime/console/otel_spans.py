"""Collects the spans that OpenTelemetry's SDK records for each run. Imported only if the runtime records spans."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import SpanProcessor

from .spans import MAX_SPANS, Span, shown

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace import Span as OpenSpan

    from .runs import RunHistory

_MAX_KNOWN: Final = 20_000
"""For how many spans to remember the run that they belong to."""
_RUN_ATTRIBUTE: Final = "ppio.invocation_id"


class RunSpanProcessor(SpanProcessor):
    """Adds each span to the run that it is a part of; ignores spans outside of runs.

    Args:
        history: The runs.
    """

    def __init__(self, history: RunHistory) -> None:
        self._history = history
        self._runs: OrderedDict[int, str] = OrderedDict()  # span id to run
        self._open: dict[int, Span] = {}
        self._lock = threading.Lock()  # spans begin and end in any thread

    def on_start(self, span: OpenSpan, parent_context: Context | None = None) -> None:
        """Record the start of a span."""
        ids, parent = span.get_span_context(), span.parent
        with self._lock:
            given = None if span.attributes is None else span.attributes.get(_RUN_ATTRIBUTE)
            run_id = given if isinstance(given, str) else None if parent is None else self._runs.get(parent.span_id)
            spans = None if run_id is None else self._history.spans_of(run_id)
            if run_id is None or spans is None:
                return
            self._runs[ids.span_id] = run_id
            if len(self._runs) > _MAX_KNOWN:
                self._open.pop(self._runs.popitem(last=False)[0], None)
            if len(spans) < MAX_SPANS:
                is_root = parent is None or self._runs.get(parent.span_id) != run_id
                parent_id = None if parent is None or is_root else f"{parent.span_id:016x}"
                started_at = (span.start_time or 0) / 1e9
                made = Span(f"{ids.span_id:016x}", parent_id, span.name, span.kind.name.lower(), started_at)
                self._open[ids.span_id] = made
                spans.append(made)

    def on_end(self, span: ReadableSpan) -> None:
        """Record the end of a span."""
        ids = span.get_span_context()
        with self._lock:
            made = None if ids is None else self._open.pop(ids.span_id, None)
        if made is None:
            return
        made.name = span.name
        made.duration_seconds = max(0.0, ((span.end_time or 0) - (span.start_time or 0)) / 1e9)
        made.status = _STATUS[span.status.status_code.name]
        attributes: dict[str, Any] = {name: shown(value) for name, value in (span.attributes or {}).items()}
        raised = [(event.attributes or {}).get("exception.type") for event in span.events if event.name == "exception"]
        error = attributes.get("error.type") or next(iter(raised), None)
        made.error = None if error is None else str(error)
        made.attributes = attributes


_STATUS: Final[dict[str, Any]] = {"UNSET": "unset", "OK": "ok", "ERROR": "error"}
