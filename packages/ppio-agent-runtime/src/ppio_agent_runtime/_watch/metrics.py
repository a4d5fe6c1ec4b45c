"""What happened, as numbers: plain ints and bucket lists, written on one event loop and read whenever somebody asks.

Recording is a few additions, so that it can be on for everybody. Nothing here knows Prometheus; its text is made by
`scrape` from a snapshot.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from ppio_agent_models import ERROR_TYPES

Mode = Literal["json", "stream"]
Outcome = Literal["success", "error", "timeout", "cancelled", "disconnected", "draining"]

MODES: Final[tuple[Mode, ...]] = ("json", "stream")
OUTCOMES: Final[tuple[Outcome, ...]] = ("success", "error", "timeout", "cancelled", "disconnected", "draining")
"""How an invocation can end: `error` is the agent's failure, `disconnected` a caller that hung up, `draining` one that
was cut at the end of the grace."""

DURATION_BOUNDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0),
)
"""Upper bounds of the histograms, in seconds: from an echo to the longest stream."""


class Histogram:
    """Counts of values by upper bound.

    Attributes:
        counts: How many values fell into each bucket, not cumulated; the last one is for those above every bound.
        total: The sum of all values.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one value."""
        self.counts[bisect_left(DURATION_BOUNDS, seconds)] += 1
        self.total += seconds

    def snapshot(self) -> dict[str, Any]:
        """Return count, sum, and the cumulated counts by upper bound, as Prometheus has them."""
        buckets: dict[str, int] = {}
        so_far = 0
        for bound, count in zip((*DURATION_BOUNDS, "+Inf"), self.counts, strict=True):
            so_far += count
            buckets[str(bound)] = so_far
        return {"count": so_far, "sum": self.total, "buckets": buckets}


class _ModeNumbers:
    """What is counted for each mode apart."""

    __slots__ = ("durations", "outcomes", "sent_bytes")

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
        self.durations = Histogram()
        self.sent_bytes = 0


class MetricsCollector:
    """The numbers of one service, as `app.metrics`; `GET /metrics` shows the same ones.

    Args:
        gauges: Returns what is not counted but looked at, such as `in_flight`, at the moment of a snapshot.
    """

    def __init__(self, gauges: Callable[[], Mapping[str, int]] | None = None) -> None:
        self._gauges = gauges
        self._modes: dict[str, _ModeNumbers] = {mode: _ModeNumbers() for mode in MODES}
        self._first_chunks = Histogram()
        self._chunks = 0
        self._rejected: dict[str, int] = {}

    def record_request(
        self,
        duration: float,
        status: Outcome,
        mode: Mode = "json",
        sent_bytes: int = 0,
        chunks: int = 0,
        first_chunk: float | None = None,
    ) -> None:
        """Count one invocation that is over.

        Args:
            duration: Its time to the last byte, in seconds.
            status: How it ended.
            mode: The form of its answer.
            sent_bytes: Size of the answer's body.
            chunks: How many chunks a stream had.
            first_chunk: When the first one was there, in seconds from the beginning.
        """
        numbers = self._modes[mode]
        numbers.outcomes[status] += 1
        durations = numbers.durations  # observe(), written out: a call would cost as much as its work
        durations.counts[bisect_left(DURATION_BOUNDS, duration)] += 1
        durations.total += duration
        numbers.sent_bytes += sent_bytes
        if first_chunk is not None:
            self._chunks += chunks
            self._first_chunks.observe(first_chunk)

    def record_rejection(self, error: BaseException) -> None:
        """Count a request that was refused before any of the agent's code ran."""
        reason = rejection_reason(error)
        self._rejected[reason] = self._rejected.get(reason, 0) + 1

    @property
    def request_count(self) -> int:
        """Requests that are answered: invocations that are over, and what was refused."""
        return sum(sum(numbers.outcomes.values()) for numbers in self._modes.values()) + sum(self._rejected.values())

    @property
    def error_count(self) -> int:
        """Those of them that did not succeed, whoever was at fault."""
        return self.request_count - sum(numbers.outcomes["success"] for numbers in self._modes.values())

    def snapshot(self) -> dict[str, Any]:
        """Return all numbers as plain data that can become JSON, independent of what happens from now on."""
        return {
            "request_count": self.request_count,
            "error_count": self.error_count,
            "invocations": {mode: dict(numbers.outcomes) for mode, numbers in self._modes.items()},
            "rejected": dict(self._rejected),
            "duration_seconds": {mode: numbers.durations.snapshot() for mode, numbers in self._modes.items()},
            "first_chunk_seconds": self._first_chunks.snapshot(),
            "chunks": self._chunks,
            "sent_bytes": {mode: numbers.sent_bytes for mode, numbers in self._modes.items()},
            "gauges": {} if self._gauges is None else dict(self._gauges()),
        }


def rejection_reason(error: BaseException) -> str:
    """Return the class of `error` as a label: `RateLimitedError` is `rate_limited`, one of others is `other`."""
    name = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in ERROR_TYPES), None)
    if name is None:
        return "other"
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name.removesuffix("Error")).lower()
