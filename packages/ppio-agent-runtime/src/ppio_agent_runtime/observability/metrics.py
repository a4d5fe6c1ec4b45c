"""The metrics of a service, and `GET /metrics`, which shows them as Prometheus text.

prometheus-client only formats the page, and is imported at the first scrape. Its import takes 20 ms on top of
uvicorn's, a twelfth of an agent's startup, and its counters take 2.3 us for each invocation, behind four locks, where
plain additions on one event loop take 0.4. So this module counts, and exposes the numbers by one collector.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from ppio_agent_models import ERROR_TYPES

from .._version import __version__
from ..event_loop import run_in_thread
from .metric_names import (
    CHUNKS,
    DURATION_BOUNDS,
    DURATIONS,
    FIRST_CHUNKS,
    GAUGES,
    INFO,
    INVOCATIONS,
    PROTOCOLS,
    REJECTED,
    SENT_BYTES,
)

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

    from ..asgi import Receive, Scope, Send
    from .shared_metrics import SharedCounters

Mode = Literal["json", "stream"]
Outcome = Literal["success", "error", "timeout", "cancelled", "disconnected", "draining"]
"""How an invocation can end: `error` is a failure of the agent, `disconnected` that its caller disconnected, `draining`
that a drain stopped it."""

MODES: Final[tuple[Mode, ...]] = get_args(Mode)
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
MAX_RESPONSE_TIMES: Final = 1000

_MAX_WORDS: Final = 50
_MAX_WORD_CHARS: Final = 64
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class _Histogram:
    """Counts of values by upper bound; the last count is for values above every bound."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(DURATION_BOUNDS, seconds)] += 1
        self.total += seconds

    def snapshot(self) -> dict[str, Any]:
        """Return count, sum, and cumulative counts by upper bound, as in Prometheus."""
        counts = list(accumulate(self.counts))
        bounds = map(str, (*DURATION_BOUNDS, "+Inf"))
        return {"count": counts[-1], "sum": self.total, "buckets": dict(zip(bounds, counts, strict=True))}


class MetricsCollector:
    """The metrics of one service, as `app.metrics`; `GET /metrics` shows the same ones.

    They are written on one event loop, and can be read at any time.

    Args:
        gauges: Returns the values that aren't counted but measured, such as `in_flight`, at the time of a snapshot.
        shared: Where it also counts for all workers of this machine.

    Attributes:
        response_times: Durations of the last 1,000 invocations in seconds, the newest at the end.
    """

    def __init__(
        self, gauges: Callable[[], Mapping[str, int]] | None = None, shared: SharedCounters | None = None
    ) -> None:
        self.response_times: deque[float] = deque(maxlen=MAX_RESPONSE_TIMES)
        self._gauges = gauges
        self._shared = shared
        self._outcomes = {mode: Counter[str](dict.fromkeys(OUTCOMES, 0)) for mode in MODES}
        self._durations = {mode: _Histogram() for mode in MODES}
        self._sent_bytes = dict.fromkeys(MODES, 0)
        self._first_chunks = _Histogram()
        self._chunks = 0
        self._rejected = Counter[str]()
        self._protocols: dict[str, Counter[str]] = {}

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
            mode: The form of its response.
            sent_bytes: Size of the response's body.
            chunks: How many chunks a stream had.
            first_chunk: Time to the first chunk, in seconds from the start.
        """
        self._outcomes[mode][_word(status, self._outcomes[mode])] += 1
        self._durations[mode].observe(duration)
        self._sent_bytes[mode] += sent_bytes
        self.response_times.append(duration)
        if first_chunk is not None:
            self._chunks += chunks
            self._first_chunks.observe(first_chunk)
        if self._shared is not None:
            self._shared.record_request(duration, status, mode, sent_bytes, chunks, first_chunk)
            self._look()

    def record_protocol(self, protocol: str, status: str) -> None:
        """Count one invocation of a protocol other than our own, in addition to `record_request`."""
        self._protocols.setdefault(protocol, Counter())[status] += 1
        if self._shared is not None:
            self._shared.record_protocol(protocol, status)

    def record_rejection(self, error: BaseException) -> None:
        """Count a request that was refused before any of the agent's code ran."""
        reason = _reason_of(error)
        self._rejected[reason] += 1
        if self._shared is not None:
            self._shared.record_rejection(reason)

    def _look(self) -> None:
        """Share the current measured values, such as `in_flight`, with the other workers."""
        if self._shared is not None and self._gauges is not None:
            self._shared.look_at(self._gauges())

    def page(self) -> Callable[[str], tuple[str, bytes]]:
        """Return a function that writes the current metrics as content type and text, for an `Accept` header.

        They are those of all workers, if these share them, else of this one, with figures of its process.
        """
        if self._shared is None:
            return partial(_render, partial(_registry_of, self.snapshot()))
        self._look()
        return partial(_render, self._shared.registry)

    @property
    def request_count(self) -> int:
        """How many requests were answered: invocations that are over, and refused requests."""
        return sum(outcomes.total() for outcomes in self._outcomes.values()) + self._rejected.total()

    @property
    def error_count(self) -> int:
        """How many of these requests didn't succeed, whatever the cause."""
        return self.request_count - sum(outcomes["success"] for outcomes in self._outcomes.values())

    def snapshot(self) -> dict[str, Any]:
        """Return all metrics as plain data that can become JSON; later requests don't change it."""
        return {
            "request_count": self.request_count,
            "error_count": self.error_count,
            "invocations": {mode: dict(outcomes) for mode, outcomes in self._outcomes.items()},
            "rejected": dict(self._rejected),
            "protocols": {protocol: dict(outcomes) for protocol, outcomes in self._protocols.items()},
            "duration_seconds": {mode: durations.snapshot() for mode, durations in self._durations.items()},
            "first_chunk_seconds": self._first_chunks.snapshot(),
            "chunks": self._chunks,
            "sent_bytes": dict(self._sent_bytes),
            "gauges": {} if self._gauges is None else dict(self._gauges()),
        }


async def answer_scrape(metrics: MetricsCollector, scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer `GET /metrics` in the format that the `Accept` header asks for: Prometheus text, or OpenMetrics."""
    accept = b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
    page = metrics.page()  # not in the thread: on the loop, no counter changes meanwhile
    # In a thread: the first scrape imports prometheus-client.
    content_type, body = await run_in_thread(page, accept, name="agent-metrics")
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _word(status: object, known: Mapping[str, int]) -> str:
    """Return a status as a label: any object's text, shortened; "other" once there are many."""
    if type(status) is str and status in known:
        return status
    text = str(status).encode("utf-8", "replace").decode()[:_MAX_WORD_CHARS]
    return text if text in known or len(known) < _MAX_WORDS else "other"


def _render(registry: Callable[[], CollectorRegistry], accept: str) -> tuple[str, bytes]:
    from prometheus_client import exposition
    from prometheus_client.openmetrics import exposition as openmetrics

    if "application/openmetrics-text" in accept.lower():
        text: bytes = openmetrics.generate_latest(registry())  # type: ignore[no-untyped-call]  # it has no annotations
        return _OPENMETRICS, text
    return _TEXT, exposition.generate_latest(registry())


def _registry_of(snapshot: dict[str, Any]) -> CollectorRegistry:
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.registry import Collector

    class Snapshot(Collector):
        def collect(self) -> Iterator[Metric]:
            return _families(snapshot)

    registry = CollectorRegistry()
    registry.register(Snapshot())
    ProcessCollector(registry=registry)
    return registry


def _families(snapshot: dict[str, Any]) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    version = GaugeMetricFamily(*INFO, labels=["version"])
    version.add_metric([__version__], 1)
    ended = _by_two_labels(INVOCATIONS, "mode", snapshot["invocations"])
    rejected = CounterMetricFamily(*REJECTED, labels=["reason"])
    for reason, count in snapshot["rejected"].items():
        rejected.add_metric([reason], count)
    yield from (version, ended, rejected)
    if snapshot["protocols"]:
        yield _by_two_labels(PROTOCOLS, "protocol", snapshot["protocols"])
    for described, by_mode in (
        (DURATIONS, snapshot["duration_seconds"]),
        (FIRST_CHUNKS, {"stream": snapshot["first_chunk_seconds"]}),
    ):
        histogram = HistogramMetricFamily(*described, labels=["mode"])
        for mode, numbers in by_mode.items():
            histogram.add_metric([mode], list(numbers["buckets"].items()), numbers["sum"])
        yield histogram
    yield CounterMetricFamily(*CHUNKS, value=snapshot["chunks"])
    sent = CounterMetricFamily(*SENT_BYTES, labels=["mode"])
    for mode, count in snapshot["sent_bytes"].items():
        sent.add_metric([mode], count)
    yield sent
    for key, value in snapshot["gauges"].items():
        yield GaugeMetricFamily(*GAUGES[key], value=value)


def _by_two_labels(described: tuple[str, str], label: str, counts: Mapping[str, Mapping[str, int]]) -> Metric:
    from prometheus_client.metrics_core import CounterMetricFamily

    family = CounterMetricFamily(*described, labels=[label, "outcome"])
    for name, outcomes in counts.items():
        for outcome, count in outcomes.items():
            family.add_metric([name, outcome], count)
    return family


def _reason_of(error: BaseException) -> str:
    """Return the class of `error` as a label: `rate_limited` for `RateLimitedError`; `other` if it isn't ours."""
    name = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in ERROR_TYPES), None)
    if name is None:
        return "other"
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name.removesuffix("Error")).lower()
