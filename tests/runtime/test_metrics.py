"""What `GET /metrics` and `app.metrics` say, by the parser of prometheus-client and from a real server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from ppio_agent_runtime import AgentConfig, AgentError, MetricsCollector, PPIOAgentRuntimeApp, RateLimit, __version__
from ppio_agent_runtime.testing import running
from tests.runtime.wire import connect, in_background, post, read_until, request, send_post, until

pytestmark = pytest.mark.contract

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(url: str) -> Samples:
    answer = request(url, "GET", "/metrics")
    assert answer.status == 200
    return samples(answer.body.decode())


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def ended(url: str, mode: str, outcome: str) -> float:
    return scrape(url)["ppio_agent_invocations_total", labels(mode=mode, outcome=outcome)]


def labels(**given: str) -> frozenset[tuple[str, str]]:
    return frozenset(given.items())


def gauge(found: Samples, name: str) -> float:
    return found[name, frozenset()]


def test_outcomes_are_counted_by_mode() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def agent(request: dict[str, Any]) -> AsyncIterator[str]:
        yield "a"
        if request.get("fail"):
            raise ValueError("no")
        yield "bc"

    with running(app) as url:
        for _ in range(3):
            post(url)
        post(url, {"fail": True})
        post(url, Accept="application/json")
        post(url, {"fail": True}, Accept="application/json")
        found = scrape(url)
    assert found["ppio_agent_invocations_total", labels(mode="stream", outcome="success")] == 3
    assert found["ppio_agent_invocations_total", labels(mode="stream", outcome="error")] == 1
    assert found["ppio_agent_invocations_total", labels(mode="json", outcome="success")] == 1
    assert found["ppio_agent_invocations_total", labels(mode="json", outcome="error")] == 1
    assert gauge(found, "ppio_agent_chunks_total") == 7


def test_bytes_are_those_of_the_bodies() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def agent(request: dict[str, Any]) -> Any:
        return request

    with running(app) as url:
        value = post(url, {"n": 1})
        stream = post(url, {"n": 1}, Accept="text/event-stream")
        found = scrape(url)
    assert found["ppio_agent_sent_bytes_total", labels(mode="json")] == len(value.body)
    assert found["ppio_agent_sent_bytes_total", labels(mode="stream")] == len(stream.body)


def test_a_response_of_the_agent_is_counted_with_its_bytes() -> None:
    from starlette.responses import PlainTextResponse

    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def agent() -> Any:
        return PlainTextResponse("twelve bytes")

    with running(app) as url:
        post(url)
        found = scrape(url)
    assert found["ppio_agent_sent_bytes_total", labels(mode="json")] == 12


def test_histograms_add_up() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def agent(request: dict[str, Any]) -> Any:
        return (n for n in range(3)) if request.get("stream") else 1

    with running(app) as url:
        for _ in range(4):
            post(url)
        for _ in range(2):
            post(url, {"stream": True})
        found = scrape(url)
    for name, mode, count in (
        ("ppio_agent_invocation_duration_seconds", "json", 4),
        ("ppio_agent_invocation_duration_seconds", "stream", 2),
        ("ppio_agent_first_chunk_seconds", "stream", 2),
    ):
        buckets = [
            value
            for (sample, tags), value in sorted(found.items(), key=lambda item: float(dict(item[0][1]).get("le", 0)))
            if sample == f"{name}_bucket" and ("mode", mode) in tags
        ]
        assert buckets == sorted(buckets)
        assert buckets[-1] == found[f"{name}_count", labels(mode=mode)] == count
        assert found[f"{name}_sum", labels(mode=mode)] > 0


def test_refused_requests_are_counted_by_reason_and_not_as_invocations() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(max_request_size=100))

    @app.entrypoint
    async def agent(request: dict[str, Any]) -> Any:
        return request

    with running(app) as url:
        request(url, "POST", "/invocations", b"{")
        request(url, "POST", "/invocations", b"[]")
        request(url, "POST", "/invocations", b'"' + b"x" * 200 + b'"')
        request(url, "POST", "/invocations", b"{}", {"Content-Type": "text/csv"})
        found = scrape(url)
    reasons = {
        dict(tags)["reason"]: value for (name, tags), value in found.items() if name == "ppio_agent_rejected_total"
    }
    assert reasons == {
        "bad_request": 1,
        "payload_validation": 1,
        "payload_too_large": 1,
        "unsupported_media_type": 1,
    }
    assert found["ppio_agent_invocations_total", labels(mode="json", outcome="success")] == 0
    assert app.metrics.request_count == app.metrics.error_count == 4


def test_refusals_at_the_door_are_counted_by_reason() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(rate_limit=RateLimit(1, 3600)))

    @app.entrypoint
    async def agent() -> int:
        return 1

    with running(app) as url:
        assert [post(url).status for _ in range(3)] == [200, 429, 429]
        found = scrape(url)
    assert found["ppio_agent_rejected_total", labels(reason="rate_limited")] == 2
    assert found["ppio_agent_invocations_total", labels(mode="json", outcome="error")] == 0


def test_what_an_agent_raises_itself_is_its_error_and_no_refusal() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def agent() -> None:
        raise AgentError("too much", status_code=429)

    with running(app) as url:
        assert post(url).status == 429
        assert ended(url, "json", "error") == 1
    assert app.metrics.snapshot()["rejected"] == {}


def test_in_flight_and_queued_are_what_they_are_now() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(max_concurrency=1, when_busy="queue"))
    go = threading.Event()

    @app.entrypoint
    def agent() -> int:
        go.wait()
        return 1

    with running(app) as url:
        calls = [in_background(post, url) for _ in range(3)]
        until(lambda: app.metrics.snapshot()["gauges"]["queued"] == 2)
        found = scrape(url)
        go.set()
        assert [call.result().status for call in calls] == [200, 200, 200]
        until(lambda: gauge(scrape(url), "ppio_agent_worker_threads_busy") == 0)
        after = scrape(url)
    assert gauge(found, "ppio_agent_invocations_in_flight") == 1
    assert gauge(found, "ppio_agent_invocations_queued") == 2
    assert gauge(found, "ppio_agent_worker_threads_busy") == 1
    assert gauge(after, "ppio_agent_invocations_in_flight") == gauge(after, "ppio_agent_invocations_queued") == 0
    assert gauge(after, "ppio_agent_worker_threads") >= 1
    assert gauge(after, "ppio_agent_worker_threads_limit") == 256


def test_timeouts_and_disconnects_have_outcomes_of_their_own() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(timeout=0.1))

    @app.entrypoint
    async def agent(request: dict[str, Any]) -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    with running(app) as url:
        assert post(url, Accept="application/json").status == 504
        with closing(connect(url)) as connection:
            send_post(connection)
            read_until(connection, b"data: 1")
        until(lambda: ended(url, "stream", "disconnected") == 1)
        assert ended(url, "json", "timeout") == 1


def test_a_cut_by_the_drain_has_an_outcome_of_its_own() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(shutdown_grace_seconds=0))
    started = threading.Event()

    @app.entrypoint
    async def agent() -> None:
        started.set()
        await asyncio.Event().wait()

    with running(app) as url:
        call = in_background(post, url)
        started.wait()
    assert call.result().status == 503
    assert app.metrics.snapshot()["invocations"]["json"]["draining"] == 1


def test_figures_of_the_process_are_there() -> None:
    app = PPIOAgentRuntimeApp()
    app.entrypoint(lambda request: request)
    with running(app) as url:
        found = scrape(url)
    assert gauge(found, "process_resident_memory_bytes") > 1_000_000
    assert gauge(found, "process_open_fds") > 0
    assert ("ppio_agent_runtime_info", labels(version=__version__)) in found


def test_content_types_follow_the_accept_header() -> None:
    app = PPIOAgentRuntimeApp()
    app.entrypoint(lambda request: request)
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    with running(app) as url:
        plain = request(url, "GET", "/metrics")
        modern = request(url, "GET", "/metrics", headers={"Accept": accept})
        head = request(url, "HEAD", "/metrics")
        refused = request(url, "POST", "/metrics", b"{}")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert modern.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = parse_openmetrics(modern.body.decode())  # type: ignore[no-untyped-call]  # it has no annotations
    assert {family.name for family in families} >= {"ppio_agent_invocations"}
    assert (head.status, head.body) == (200, b"")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")


def test_an_odd_accept_header_is_no_reason_to_fail() -> None:
    app = PPIOAgentRuntimeApp()
    app.entrypoint(lambda request: request)
    with running(app) as url:
        answer = request(url, "GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=x,;;"})
    assert answer.status == 200


def test_labels_stay_bounded_whatever_callers_send() -> None:
    app = PPIOAgentRuntimeApp()
    app.entrypoint(lambda request: request)
    with running(app) as url:
        post(url)
        before = set(scrape(url))
        for number in range(20):
            post(url, session=f"s{number}", X_PPIO_Request_Id=f"r{number}", X_PPIO_User_Id=f"u{number}")
            request(url, "GET", f"/nowhere/{number}")
        assert set(scrape(url)) == before


def test_without_metrics_there_is_no_route_and_nothing_is_counted() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(enable_metrics=False))
    app.entrypoint(lambda request: request)
    with running(app) as url:
        assert post(url).status == 200
        assert request(url, "GET", "/metrics").status == 404
    assert app.metrics.request_count == 0


def test_a_route_of_the_agent_takes_precedence() -> None:
    app = PPIOAgentRuntimeApp()
    app.entrypoint(lambda request: request)

    @app.fastapi.get("/metrics")
    async def own() -> dict[str, str]:
        return {"mine": "yes"}

    with running(app) as url:
        assert request(url, "GET", "/metrics").json == {"mine": "yes"}


def test_two_protocols_are_one_family() -> None:
    metrics = MetricsCollector()
    metrics.record_protocol("ag-ui", "success")
    metrics.record_protocol("openai", "error")
    _, page = metrics.page()("")
    assert page.count(b"# TYPE ppio_agent_protocol_invocations_total") == 1
    assert (
        samples(page.decode())["ppio_agent_protocol_invocations_total", labels(protocol="openai", outcome="error")] == 1
    )


def test_prometheus_is_not_imported_before_the_first_scrape() -> None:
    program = """
import http.client, json, sys
from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running

app = PPIOAgentRuntimeApp()
app.entrypoint(lambda request: request)

def call(url, method, path, body=None):
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    connection.request(method, path, body)
    status = connection.getresponse().status
    connection.close()
    return status

heavy = ("prometheus_client", "opentelemetry", "fastapi", "limits")
with running(app) as url:
    assert call(url, "POST", "/invocations", "{}") == 200
    print(json.dumps([name for name in heavy if name in sys.modules]))
    assert call(url, "GET", "/metrics") == 200
    print(json.dumps([name for name in heavy if name in sys.modules]))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [json.loads(line) for line in ran.stdout.splitlines()] == [[], ["prometheus_client"]]


def test_the_page_and_the_numbers_work_on_a_second_loop() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(isolate_handlers=True))

    @app.entrypoint
    async def agent() -> AsyncIterator[int]:
        yield 1

    with running(app) as url:
        post(url)
        assert ended(url, "stream", "success") == 1
