"""Names and descriptions of the metrics, and the bounds of their histograms."""

from __future__ import annotations

from typing import Final

DURATION_BOUNDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0),
)
"""Upper bounds of the histograms, in seconds: from an echo to the longest stream."""

INFO: Final = ("ppio_agent_runtime_info", "The running version, as a label; always 1.")
INVOCATIONS: Final = ("ppio_agent_invocations", "Invocations that are over.")
REJECTED: Final = ("ppio_agent_rejected", "Requests refused before the agent ran.")
PROTOCOLS: Final = ("ppio_agent_protocol_invocations", "Invocations by protocol.")
DURATIONS: Final = (
    "ppio_agent_invocation_duration_seconds",
    "Time from the request to the last byte of the response.",
)
FIRST_CHUNKS: Final = ("ppio_agent_first_chunk_seconds", "Time from the request to the first chunk of a stream.")
CHUNKS: Final = ("ppio_agent_chunks", "Chunks of streams that were sent.")
SENT_BYTES: Final = ("ppio_agent_sent_bytes", "Bytes in the bodies of responses.")
GAUGES: Final = {
    "in_flight": ("ppio_agent_invocations_in_flight", "Invocations that are running."),
    "queued": ("ppio_agent_invocations_queued", "Invocations that wait in the queue."),
    "held": ("ppio_agent_invocations_held", "Durable invocations in memory, running and finished."),
    "held_bytes": ("ppio_agent_event_log_bytes", "Bytes of the events of durable invocations in memory."),
    "worker_threads": ("ppio_agent_worker_threads", "Threads for plain functions and generators, started so far."),
    "worker_threads_busy": ("ppio_agent_worker_threads_busy", "Jobs that run in a thread or wait for one."),
    "worker_threads_limit": ("ppio_agent_worker_threads_limit", "Largest number of threads, the setting sync_workers."),
}
