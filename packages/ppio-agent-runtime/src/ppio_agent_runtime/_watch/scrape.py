"""`GET /metrics`: a snapshot of our numbers as Prometheus text. prometheus-client is imported at the first scrape."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from ..invocations.worker_threads import WorkerThreads
from .._version import __version__

if TYPE_CHECKING:
    from prometheus_client.metrics_core import HistogramMetricFamily, Metric

    from .._asgi import Receive, Scope, Send
    from .metrics import MetricsCollector

_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_GAUGES: Final = {
    "in_flight": ("ppio_agent_invocations_in_flight", "Invocations that are running."),
    "queued": ("ppio_agent_invocations_queued", "Invocations that wait for others to end."),
    "held": ("ppio_agent_invocations_held", "Durable invocations that can be looked up, running and finished."),
    "held_bytes": ("ppio_agent_event_log_bytes", "Bytes of the events of durable invocations in memory."),
    "worker_threads": ("ppio_agent_worker_threads", "Threads for plain functions and generators, started so far."),
    "worker_threads_busy": ("ppio_agent_worker_threads_busy", "Pieces of work that threads do or that wait for one."),
    "worker_threads_limit": ("ppio_agent_worker_threads_limit", "Most threads, the setting sync_workers."),
}


class MetricsPage:
    """An ASGI endpoint that shows the numbers of one collector."""

    def __init__(self, metrics: MetricsCollector) -> None:
        self._metrics = metrics
        self._thread = WorkerThreads(1)  # its own: off the loop, and no handler can be in the way

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer in the format that the `Accept` header asks for: Prometheus text, or OpenMetrics."""
        accept = b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
        snapshot = self._metrics.snapshot()  # here and not in the thread: on the loop nothing changes meanwhile
        content_type, body = await self._thread.run(Context(), render, snapshot, accept)
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def render(snapshot: dict[str, Any], accept: str = "") -> tuple[str, bytes]:
    """Return content type and text of a snapshot, with figures of the process; slow at first, because it imports.

    Args:
        snapshot: From `MetricsCollector.snapshot`.
        accept: An `Accept` header; only the word for OpenMetrics counts in it.
    """
    from prometheus_client import CollectorRegistry, ProcessCollector, exposition
    from prometheus_client.openmetrics import exposition as openmetrics
    from prometheus_client.registry import Collector

    class Snapshot(Collector):
        def collect(self) -> Iterator[Metric]:
            return _families(snapshot)

    registry = CollectorRegistry()
    registry.register(Snapshot())
    ProcessCollector(registry=registry)
    if "application/openmetrics-text" in accept.lower():
        text: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]  # it has no annotations
        return _OPENMETRICS, text
    return _TEXT, exposition.generate_latest(registry)


def _families(snapshot: dict[str, Any]) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

    version = GaugeMetricFamily("ppio_agent_runtime_info", "The version that runs; always 1.", labels=["version"])
    version.add_metric([__version__], 1)
    yield version
    ended = CounterMetricFamily("ppio_agent_invocations", "Invocations that are over.", labels=["mode", "outcome"])
    for mode, outcomes in snapshot["invocations"].items():
        for outcome, count in outcomes.items():
            ended.add_metric([mode, outcome], count)
    yield ended
    rejected = CounterMetricFamily("ppio_agent_rejected", "Requests refused before the agent ran.", labels=["reason"])
    for reason, count in snapshot["rejected"].items():
        rejected.add_metric([reason], count)
    yield rejected
    yield _histogram(
        "ppio_agent_invocation_duration_seconds",
        "Time from the request to the last byte of the answer.",
        snapshot["duration_seconds"],
    )
    yield _histogram(
        "ppio_agent_first_chunk_seconds",
        "Time from the request to the first chunk of a stream.",
        {"stream": snapshot["first_chunk_seconds"]},
    )
    yield CounterMetricFamily("ppio_agent_chunks", "Chunks of streams that were sent.", value=snapshot["chunks"])
    sent = CounterMetricFamily("ppio_agent_sent_bytes", "Bytes in the bodies of answers.", labels=["mode"])
    for mode, count in snapshot["sent_bytes"].items():
        sent.add_metric([mode], count)
    yield sent
    for key, value in snapshot["gauges"].items():
        yield GaugeMetricFamily(*_GAUGES[key], value=value)


def _histogram(name: str, sentence: str, by_mode: dict[str, dict[str, Any]]) -> HistogramMetricFamily:
    from prometheus_client.metrics_core import HistogramMetricFamily

    family = HistogramMetricFamily(name, sentence, labels=["mode"])
    for mode, numbers in by_mode.items():
        family.add_metric([mode], list(numbers["buckets"].items()), numbers["sum"])
    return family
