"""The metrics of all workers on one machine, with prometheus-client's multiprocess mode.

With `PROMETHEUS_MULTIPROC_DIR` set, each worker also counts in its own files in that directory, and the worker that is
scraped adds them up. This costs about 20 us for each invocation, and the import of prometheus-client at startup, so it
is not used for a single worker.

https://prometheus.github.io/client_python/multiprocess/
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ppio_agent_models import ConfigurationError

from .._version import __version__
from . import metric_names as names

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_LIVE_FILE: Final = re.compile(r"gauge_live\w*_(\d+)\.db")


@cache  # all apps of a process write to the same files
def shared_counters() -> SharedCounters | None:
    """Return the counters that workers share, or None if `PROMETHEUS_MULTIPROC_DIR` is not set.

    Raises:
        ConfigurationError: It is not a writable directory.
    """
    place = os.environ.get(VARIABLE)
    return None if not place else SharedCounters(Path(place))


class SharedCounters:
    """Counters, histograms and gauges of prometheus-client, in files of this process.

    Args:
        place: The directory. It is created if it is missing; it must be empty before the workers start.
    """

    def __init__(self, place: Path) -> None:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{VARIABLE} is {place}, which cannot be used: {error.strerror}.") from error
        if not os.access(place, os.W_OK):
            raise ConfigurationError(f"{VARIABLE} is {place}, where this process is not allowed to write.")
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        registry = CollectorRegistry()
        self._place = place
        self._ended = Counter(*names.INVOCATIONS, ["mode", "outcome"], registry=registry)
        self._rejected = Counter(*names.REJECTED, ["reason"], registry=registry)
        self._protocols = Counter(*names.PROTOCOLS, ["protocol", "outcome"], registry=registry)
        self._durations = Histogram(*names.DURATIONS, ["mode"], buckets=names.DURATION_BOUNDS, registry=registry)
        self._first = Histogram(*names.FIRST_CHUNKS, ["mode"], buckets=names.DURATION_BOUNDS, registry=registry)
        self._chunks = Counter(*names.CHUNKS, registry=registry)
        self._sent_bytes = Counter(*names.SENT_BYTES, ["mode"], registry=registry)
        self._gauges = {
            key: Gauge(name, sentence, registry=registry, multiprocess_mode="livesum")
            for key, (name, sentence) in names.GAUGES.items()
        }
        info = Gauge(*names.INFO, ["version"], registry=registry, multiprocess_mode="livemax")
        info.labels(__version__).set(1)

    def record_request(
        self, duration: float, status: str, mode: str, sent_bytes: int, chunks: int, first_chunk: float | None
    ) -> None:
        """See `MetricsCollector.record_request`."""
        self._ended.labels(mode, status).inc()
        self._durations.labels(mode).observe(duration)
        self._sent_bytes.labels(mode).inc(sent_bytes)
        if first_chunk is not None:
            self._chunks.inc(chunks)
            self._first.labels(mode).observe(first_chunk)

    def record_protocol(self, protocol: str, status: str) -> None:
        """See `MetricsCollector.record_protocol`."""
        self._protocols.labels(protocol, status).inc()

    def record_rejection(self, reason: str) -> None:
        """Count a request that was refused for a reason."""
        self._rejected.labels(reason).inc()

    def look_at(self, gauges: Mapping[str, int]) -> None:
        """Write the current measured values."""
        for key, value in gauges.items():
            self._gauges[key].set(value)

    def registry(self) -> CollectorRegistry:
        """Return a registry with the counts of all workers; gauges only of running ones."""
        from prometheus_client import CollectorRegistry
        from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

        for pid in self._dead():
            mark_process_dead(pid, str(self._place))  # type: ignore[no-untyped-call]  # it has no annotations
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._place))  # type: ignore[no-untyped-call]
        return registry

    def _dead(self) -> Iterator[int]:
        found = {int(named[1]) for file in self._place.iterdir() if (named := _LIVE_FILE.fullmatch(file.name))}
        for pid in found:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                yield pid
            except PermissionError:  # it is running, under another user
                pass
