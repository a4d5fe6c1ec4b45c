"""The collector of metrics as a program uses it, in its own process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ppio_agent_runtime import MetricsCollector, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.runtime.wire import post

pytestmark = pytest.mark.contract


def test_the_collector_is_readable_in_process_as_plain_data() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def agent(request: dict[str, Any]) -> Any:
        return 1 / request["n"]

    assert isinstance(app.metrics, MetricsCollector)
    with running(app) as url:
        post(url, {"n": 1})
        post(url, {"n": 0})
    assert (app.metrics.request_count, app.metrics.error_count) == (2, 1)
    snapshot = app.metrics.snapshot()
    assert json.loads(json.dumps(snapshot)) == snapshot
    assert snapshot["invocations"]["json"] | {"success": 1, "error": 1} == snapshot["invocations"]["json"]
    assert snapshot["duration_seconds"]["json"]["count"] == 2


def test_any_word_counts_and_the_last_times_can_be_read() -> None:
    metrics = MetricsCollector()
    metrics.record_request(0.1, "success")
    metrics.record_request(0.2, "failed")
    assert (metrics.request_count, metrics.error_count) == (2, 1)
    assert metrics.snapshot()["invocations"]["json"]["failed"] == 1
    assert list(metrics.response_times) == [0.1, 0.2]
    for number in range(2000):
        metrics.record_request(float(number), "success")
    assert len(metrics.response_times) == 1000
    assert metrics.response_times[-1] == 1999.0


def test_no_word_breaks_the_page_or_makes_it_grow_without_a_limit() -> None:
    metrics = MetricsCollector()
    for word in ("", None, 5, 'a\nb"\\', "\ud800", "x" * 100_000, *(f"word {number}" for number in range(5000))):
        metrics.record_request(0.1, word)  # type: ignore[arg-type]
    _, page = metrics.page()("")
    assert len(page) < 50_000
    assert b'outcome="None"' in page
    assert (metrics.request_count, metrics.error_count) == (5006, 5006)
