"""The ASGI middleware that people really add: it is told what it needs, and everything works behind it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response

from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.agent_process import agent_process
from tests.support.calls import call, refusal
from tests.support.durable import finished, submit
from tests.support.gates import eventually
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, get, invoke

asgiref = pytest.importorskip("asgiref.compatibility", reason="asgiref is not installed")
opentelemetry_asgi = pytest.importorskip(
    "opentelemetry.instrumentation.asgi", reason="opentelemetry-instrumentation-asgi is not installed"
)
sentry_asgi = pytest.importorskip("sentry_sdk.integrations.asgi", reason="sentry-sdk is not installed")
pytestmark = pytest.mark.contract


class PassOn(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


MIDDLEWARE: dict[str, tuple[Any, dict[str, Any]]] = {
    "OpenTelemetry": (opentelemetry_asgi.OpenTelemetryMiddleware, {}),
    "Sentry": (sentry_asgi.SentryAsgiMiddleware, {}),
    "asgiref": (asgiref.guarantee_single_callable, {}),
    "GZip": (GZipMiddleware, {"minimum_size": 10_000}),
    "TrustedHost": (TrustedHostMiddleware, {"allowed_hosts": ["agent", "localhost", "127.0.0.1"]}),
    "BaseHTTPMiddleware": (PassOn, {}),
}


def counting() -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def agent(payload: dict[str, Any]) -> AsyncIterator[int]:
        for number in range(3):
            if payload.get("fails"):
                raise ValueError("a secret")
            yield number

    return app


def check_everything(url: str) -> None:
    """Call the agent in every way there is."""
    assert get(url, "/ping").status == 200
    assert [event.data for event in invoke(url, headers=EVENT_STREAM).events] == [0, 1, 2]
    *chunks, done = invoke(url, headers=PROTOCOL_1).events
    assert ([event.event_id for event in chunks], done.kind) == ([1, 2, 3], "done")
    assert invoke(url, headers={"Accept": "application/json"}).result == [0, 1, 2]
    assert finished(url, submit(url))["response"]["result"] == [0, 1, 2]
    refusal(invoke(url, {"fails": True}), 500, "HandlerError")
    refusal(call(url, "/nowhere", method="GET"), 404, "NotFoundError")


@pytest.mark.parametrize(("middleware", "options"), MIDDLEWARE.values(), ids=MIDDLEWARE)
def test_everything_works_behind_it(middleware: Any, options: dict[str, Any]) -> None:
    app = counting()
    app.add_middleware(middleware, **options)
    with running(app) as url:
        check_everything(url)


def test_everything_works_behind_all_of_them() -> None:
    app = counting()
    for middleware, options in MIDDLEWARE.values():
        app.add_middleware(middleware, **options)
    with running(app) as url:
        check_everything(url)


def test_app_is_asgi_3_to_who_asks() -> None:
    app = counting()
    assert asgiref.guarantee_single_callable(app) is app
    assert not asgiref.is_double_callable(app)


OPEN_TELEMETRY = """
from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

class ToFile(SpanExporter):
    def export(self, spans):
        with (folder / "told").open("a") as file:
            file.writelines(span.to_json(indent=None) + "\\n" for span in spans)
        return SpanExportResult.SUCCESS

trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(ToFile()))
app = PPIOAgentRuntimeApp(AgentConfig(telemetry=False))
app.add_middleware(OpenTelemetryMiddleware)

@app.entrypoint
async def agent(payload):
    return trace.get_current_span().get_span_context().trace_id
"""
SENTRY = """
import json, sentry_sdk
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware
from sentry_sdk.transport import Transport

class ToFile(Transport):
    def capture_envelope(self, envelope):
        with (folder / "told").open("a") as file:
            file.writelines(json.dumps(item.payload.json) + "\\n" for item in envelope.items if item.payload.json)

sentry_sdk.init(dsn="http://key@127.0.0.1:1/1", transport=ToFile, traces_sample_rate=1.0)
app = PPIOAgentRuntimeApp()
app.add_middleware(SentryAsgiMiddleware)

@app.entrypoint
async def agent(payload):
    raise ValueError("of the agent")
"""


def told(folder: Path) -> list[dict[str, Any]]:
    path = folder / "told"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_spans_of_opentelemetry_go_on_in_the_handler(tmp_path: Path) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    with agent_process(tmp_path, OPEN_TELEMETRY) as agent:
        answer = invoke(agent.url, headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"})
        assert f"{answer.result:032x}" == trace_id
        eventually(lambda: any(span["kind"] == "SpanKind.SERVER" for span in told(tmp_path)), "a span has ended")
    (server,) = [span for span in told(tmp_path) if span["kind"] == "SpanKind.SERVER"]
    assert server["context"]["trace_id"] == f"0x{trace_id}"
    assert 200 in server["attributes"].values()


@pytest.mark.slow
def test_sentry_is_told_of_the_agents_failure_and_of_the_request(tmp_path: Path) -> None:
    with agent_process(tmp_path, SENTRY) as agent:
        refusal(invoke(agent.url), 500, "HandlerError")
        eventually(lambda: len(told(tmp_path)) >= 2, "it is told")
    (error,) = [each for each in told(tmp_path) if each.get("exception")]
    assert (error["exception"]["values"][-1]["type"], error["exception"]["values"][-1]["value"]) == (
        "ValueError",
        "of the agent",
    )
    (request,) = [each for each in told(tmp_path) if each.get("type") == "transaction"]
    assert request["request"]["url"].endswith("/invocations")
