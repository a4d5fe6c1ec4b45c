"""What happened, as numbers, and `GET /metrics`, which shows them as Prometheus text.

prometheus-client writes the page and counts nothing, and it is imported at the first scrape. Its import takes 20 ms on
top of uvicorn's, a twelfth of an agent's start, and its counters take 2.3 us for each invocation, behind four locks,
where plain additions on one event loop take 0.4. So the numbers are ours, behind one collector.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from ppio_agent_models import ERROR_TYPES

from .._version import __version__
from ..event_loop import run_in_thread

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from ..asgi import Receive, Scope, Send

Mode = Literal["json", "stream"]
Outcome = Literal["success", "error", "timeout", "cancelled", "disconnected", "draining"]
"""How an invocation can end: `error` is the agent's failure, `disconnected` a caller that hung up, `draining` one that
was cut at the end of the grace."""

MODES: Final[tuple[Mode, ...]] = get_args(Mode)
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
DURATION_BOUNDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0),
)
"""Upper bounds of the histograms, in seconds: from an echo to the longest stream."""
MAX_RESPONSE_TIMES: Final = 1000

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


class _Histogram:
    """Counts of values by upper bound; the last count is of those above every bound."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(DURATION_BOUNDS, seconds)] += 1
        self.total += seconds

    def snapshot(self) -> dict[str, Any]:
        """Return count, sum, and the cumulated counts by upper bound, as Prometheus has them."""
        counts = list(accumulate(self.counts))
        bounds = map(str, (*DURATION_BOUNDS, "+Inf"))
        return {"count": counts[-1], "sum": self.total, "buckets": dict(zip(bounds, counts, strict=True))}


class MetricsCollector:
    """The numbers of one service, as `app.metrics`; `GET /metrics` shows the same ones.

    They are written on one event loop and read whenever somebody asks.

    Args:
        gauges: Returns what is not counted but looked at, such as `in_flight`, at the moment of a snapshot.

    Attributes:
        response_times: Durations of the last 1,000 invocations in seconds, the newest at the end.
    """

    def __init__(self, gauges: Callable[[], Mapping[str, int]] | None = None) -> None:
        self.response_times: deque[float] = deque(maxlen=MAX_RESPONSE_TIMES)
        self._gauges = gauges
        self._outcomes = {mode: Counter[str](dict.fromkeys(OUTCOMES, 0)) for mode in MODES}
        self._durations = {mode: _Histogram() for mode in MODES}
        self._sent_bytes = dict.fromkeys(MODES, 0)
        self._first_chunks = _Histogram()
        self._chunks = 0
        self._rejected = Counter[str]()

    def record_request(
        self,
        duration: float,
        status: str,
        mode: Mode = "json",
        sent_bytes: int = 0,
        chunks: int = 0,
        first_chunk: float | None = None,
    ) -> None:
        """Count one invocation that is over.

        Args:
            duration: Its time to the last byte, in seconds.
            status: How it ended: `success`, or any other word, which counts as an error; the service's own words are
                error, timeout, cancelled, disconnected and draining.
            mode: The form of its answer.
            sent_bytes: Size of the answer's body.
            chunks: How many chunks a stream had.
            first_chunk: When the first one was there, in seconds from the beginning.
        """
        self._outcomes[mode][status] += 1
        self._durations[mode].observe(duration)
        self._sent_bytes[mode] += sent_bytes
        self.response_times.append(duration)
        if first_chunk is not None:
            self._chunks += chunks
            self._first_chunks.observe(first_chunk)

    def record_rejection(self, error: BaseException) -> None:
        """Count a request that was refused before any of the agent's code ran."""
        self._rejected[_reason_of(error)] += 1

    @property
    def request_count(self) -> int:
        """Requests that are answered: invocations that are over, and what was refused."""
        return sum(outcomes.total() for outcomes in self._outcomes.values()) + self._rejected.total()

    @property
    def error_count(self) -> int:
        """Those of them that did not succeed, whoever was at fault."""
        return self.request_count - sum(outcomes["success"] for outcomes in self._outcomes.values())

    def snapshot(self) -> dict[str, Any]:
        """Return all numbers as plain data that can become JSON, independent of what happens from now on."""
        return {
            "request_count": self.request_count,
            "error_count": self.error_count,
            "invocations": {mode: dict(outcomes) for mode, outcomes in self._outcomes.items()},
            "rejected": dict(self._rejected),
            "duration_seconds": {mode: durations.snapshot() for mode, durations in self._durations.items()},
            "first_chunk_seconds": self._first_chunks.snapshot(),
            "chunks": self._chunks,
            "sent_bytes": dict(self._sent_bytes),
            "gauges": {} if self._gauges is None else dict(self._gauges()),
        }


async def answer_scrape(metrics: MetricsCollector, scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer `GET /metrics` in the format that the `Accept` header asks for: Prometheus text, or OpenMetrics."""
    accept = b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
    snapshot = metrics.snapshot()  # here and not in the thread: on the loop nothing changes meanwhile
    # In a thread: the first scrape imports prometheus-client.
    content_type, body = await run_in_thread(render, snapshot, accept, name="agent-metrics")
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def render(snapshot: dict[str, Any], accept: str = "") -> tuple[str, bytes]:
    """Return content type and text of a snapshot, with figures of the process.

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
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    version = GaugeMetricFamily("ppio_agent_runtime_info", "The version that runs; always 1.", labels=["version"])
    version.add_metric([__version__], 1)
    ended = CounterMetricFamily("ppio_agent_invocations", "Invocations that are over.", labels=["mode", "outcome"])
    for mode, outcomes in snapshot["invocations"].items():
        for outcome, count in outcomes.items():
            ended.add_metric([mode, outcome], count)
    rejected = CounterMetricFamily("ppio_agent_rejected", "Requests refused before the agent ran.", labels=["reason"])
    for reason, count in snapshot["rejected"].items():
        rejected.add_metric([reason], count)
    yield from (version, ended, rejected)
    for name, sentence, by_mode in (
        (
            "ppio_agent_invocation_duration_seconds",
            "Time from the request to the last byte of the answer.",
            snapshot["duration_seconds"],
        ),
        (
            "ppio_agent_first_chunk_seconds",
            "Time from the request to the first chunk of a stream.",
            {"stream": snapshot["first_chunk_seconds"]},
        ),
    ):
        histogram = HistogramMetricFamily(name, sentence, labels=["mode"])
        for mode, numbers in by_mode.items():
            histogram.add_metric([mode], list(numbers["buckets"].items()), numbers["sum"])
        yield histogram
    yield CounterMetricFamily("ppio_agent_chunks", "Chunks of streams that were sent.", value=snapshot["chunks"])
    sent = CounterMetricFamily("ppio_agent_sent_bytes", "Bytes in the bodies of answers.", labels=["mode"])
    for mode, count in snapshot["sent_bytes"].items():
        sent.add_metric([mode], count)
    yield sent
    for key, value in snapshot["gauges"].items():
        yield GaugeMetricFamily(*_GAUGES[key], value=value)


def _reason_of(error: BaseException) -> str:
    """Return the class of `error` as a label: `RateLimitedError` is `rate_limited`, one of others is `other`."""
    name = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in ERROR_TYPES), None)
    if name is None:
        return "other"
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name.removesuffix("Error")).lower()
