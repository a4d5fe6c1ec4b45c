"""Spans as a collector gets them: a real OTLP/HTTP sink, agents in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.runtime.test_logging import agent_process
from tests.runtime.wire import connect, post, read_until, request, send_post, until
from tests.support.otlp_sink import Sink, collecting

pytestmark = pytest.mark.contract

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"


@pytest.fixture
def sink() -> Iterator[Sink]:
    with collecting() as sink:
        yield sink


ECHO = """
    from opentelemetry import baggage, trace
    from ppio_agent_runtime import PPIOAgentRuntimeApp
    app = PPIOAgentRuntimeApp()

    def seen():
        span = trace.get_current_span().get_span_context()
        return {"trace": f"{span.trace_id:032x}", "span": f"{span.span_id:016x}", "baggage": dict(baggage.get_all())}
"""

KINDS = {
    "plain function": """
    @app.entrypoint
    def agent(request):
        return seen()
    """,
    "coroutine": """
    @app.entrypoint
    async def agent(request):
        return seen()
    """,
    "generator": """
    import time
    @app.entrypoint
    def agent(request):
        for _ in range(3):
            yield seen()
    """,
    "async generator": """
    import asyncio
    @app.entrypoint
    async def agent(request):
        for _ in range(3):
            yield seen()
            await asyncio.sleep(0)
    """,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_the_context_is_active_in_the_handler_to_its_last_chunk(kind: str, sink: Sink, tmp_path: Path) -> None:
    with agent_process(tmp_path, ECHO + KINDS[kind], OTEL_EXPORTER_OTLP_ENDPOINT=sink.url) as (url, _):
        answer = post(url, traceparent=TRACEPARENT, baggage="tenant=t1,tier=gold", Accept="application/json")
    span = sink.one.span
    found = answer.json["result"] if isinstance(answer.json["result"], list) else [answer.json["result"]]
    expected = {"trace": TRACE_ID, "span": span.span_id.hex(), "baggage": {"tenant": "t1", "tier": "gold"}}
    assert found == [expected] * len(found)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE_ID, PARENT_ID)
    assert span.kind == Span.SPAN_KIND_SERVER
    assert sink.paths == {"/v1/traces"}


PLAIN = """
    from ppio_agent_runtime import AgentError, PPIOAgentRuntimeApp
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def agent(request):
        if request["ask"] == "fail":
            raise ValueError("PAYLOAD")
        if request["ask"] == "refuse":
            raise AgentError("PAYLOAD", status_code=404)
        return 1
"""

STREAM = """
    import asyncio
    from ppio_agent_runtime import PPIOAgentRuntimeApp
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def agent(request):
        yield 1
        yield 2
        if request["ask"] == "wait":
            await asyncio.Event().wait()
        if request["ask"] == "fail":
            raise ValueError("PAYLOAD")
"""


def test_a_span_has_the_attributes_of_an_agent_and_nothing_of_the_payload(sink: Sink, tmp_path: Path) -> None:
    with agent_process(tmp_path, PLAIN, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url) as (url, _):
        answer = post(url, {"ask": "PAYLOAD"}, session="s 1".replace(" ", "%20"))
    assert sink.one.span.name == "invoke_agent main.agent"
    assert sink.one.attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "main.agent",
        "gen_ai.conversation.id": "s 1",
        "ppio.invocation_id": answer.headers["x-ppio-invocation-id"],
        "ppio.request_id": answer.headers["x-ppio-request-id"],
        "ppio.outcome": "success",
        "ppio.mode": "json",
    }
    assert sink.one.resource["service.name"] == "main.agent"
    assert sink.one.span.status.code == Status.STATUS_CODE_UNSET
    assert not sink.one.span.parent_span_id
    assert b"PAYLOAD" not in sink.one.span.SerializeToString()


def test_the_standard_variables_name_service_and_resource(sink: Sink, tmp_path: Path) -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{sink.url}/here",
        "OTEL_SERVICE_NAME": "weather",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
    }
    with agent_process(tmp_path, PLAIN, **variables) as (url, _):
        post(url, {"ask": ""})
    assert sink.paths == {"/here"}
    assert sink.one.attributes["gen_ai.agent.name"] == "weather"
    assert sink.one.resource.items() >= {"service.name": "weather", "deployment.environment": "test"}.items()


@pytest.mark.parametrize(
    ("ask", "error", "status"),
    [
        ("fail", "ValueError", Status.STATUS_CODE_ERROR),
        ("refuse", "ppio_agent_models.AgentError", Status.STATUS_CODE_UNSET),
    ],
)
@pytest.mark.slow
def test_an_error_is_recorded_by_type_and_status_without_its_message(
    ask: str, error: str, status: Any, sink: Sink, tmp_path: Path
) -> None:
    with agent_process(tmp_path, PLAIN, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url) as (url, _):
        post(url, {"ask": ask})
    assert sink.one.attributes.items() >= {"error.type": error, "ppio.outcome": "error"}.items()
    assert sink.one.span.status.code == status
    assert b"PAYLOAD" not in sink.one.span.SerializeToString()


def test_a_stream_that_fails_late_and_one_that_is_left_are_told_apart(sink: Sink, tmp_path: Path) -> None:
    with agent_process(tmp_path, STREAM, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, PPIO_AGENT_TELEMETRY_FLUSH="1") as (
        url,
        _,
    ):
        post(url, {"ask": "fail"})
        post(url, {"ask": ""})
        with closing(connect(url)) as connection:
            send_post(connection, {"ask": "wait"})
            read_until(connection, b"data: 2")
        until(lambda: len(sink.received) == 3)
    outcomes = [each.attributes["ppio.outcome"] for each in sink.received]
    assert sorted(outcomes) == ["disconnected", "error", "success"]
    assert {each.attributes["ppio.mode"] for each in sink.received} == {"stream"}
    assert {each.attributes["ppio.chunks"] for each in sink.received} == {2}
    codes = {each.attributes["ppio.outcome"]: each.span.status.code for each in sink.received}
    assert codes == {
        "success": Status.STATUS_CODE_UNSET,
        "error": Status.STATUS_CODE_ERROR,
        "disconnected": Status.STATUS_CODE_UNSET,
    }


def test_spans_leave_after_each_invocation_when_asked(sink: Sink, tmp_path: Path) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
    with agent_process(tmp_path, PLAIN, PPIO_AGENT_TELEMETRY_FLUSH="true", **variables) as (url, _):
        for number in range(1, 4):
            post(url, {"ask": ""})
            until(lambda: len(sink.received) == number)  # noqa: B023  # called before the next round


@pytest.mark.slow
def test_ping_is_busy_until_the_flushed_spans_have_left(sink: Sink, tmp_path: Path) -> None:
    sink.open.clear()
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "PPIO_AGENT_TELEMETRY_FLUSH": "true"}
    with agent_process(tmp_path, PLAIN, **variables) as (url, _):
        post(url, {"ask": ""})
        assert request(url, "GET", "/ping").json["status"] == "HealthyBusy"
        sink.open.set()
        until(lambda: request(url, "GET", "/ping").json["status"] == "Healthy")
        assert len(sink.received) == 1


def test_the_last_spans_leave_before_the_exit(sink: Sink, tmp_path: Path) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
    with agent_process(tmp_path, PLAIN, **variables) as (url, _):
        for _ in range(5):
            post(url, {"ask": ""})
        assert sink.received == []
    assert len(sink.received) == 5


def test_a_collector_that_does_not_answer_is_no_trouble_for_callers(tmp_path: Path) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    with agent_process(tmp_path, PLAIN, PPIO_AGENT_TELEMETRY_FLUSH="true", **variables) as (url, _):
        assert [post(url, {"ask": ""}).status for _ in range(3)] == [200, 200, 200]


def test_a_malformed_traceparent_starts_a_new_trace(sink: Sink, tmp_path: Path) -> None:
    with agent_process(tmp_path, PLAIN, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url) as (url, _):
        assert post(url, {"ask": ""}, traceparent="00-zz-zz-01", baggage="=;,%").status == 200
    assert not sink.one.span.parent_span_id


def test_an_agent_that_calls_itself_has_a_span_within_a_span(sink: Sink, tmp_path: Path) -> None:
    program = """
    from ppio_agent_runtime import PPIOAgentRuntimeApp
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def agent(request):
        return 1 if request["inner"] else await app.invoke({"inner": True}, app.context)
    """
    with agent_process(tmp_path, program, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url) as (url, _):
        assert post(url, {"inner": False}, traceparent=TRACEPARENT).json["result"] == 1
    inner, outer = (each.span for each in sink.received)
    assert (inner.kind, outer.kind) == (Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_SERVER)
    assert inner.parent_span_id == outer.span_id
    assert inner.trace_id.hex() == outer.trace_id.hex() == TRACE_ID


@pytest.mark.slow
def test_an_sdk_that_the_program_has_set_up_itself_gets_the_spans(sink: Sink, tmp_path: Path) -> None:
    program = """
    from contextlib import asynccontextmanager
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from ppio_agent_runtime import PPIOAgentRuntimeApp

    @asynccontextmanager
    async def lifespan(app):
        provider = TracerProvider(resource=Resource.create({"service.name": "mine"}))
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint="%s/v1/traces")))
        trace.set_tracer_provider(provider)
        yield

    app = PPIOAgentRuntimeApp(lifespan=lifespan)

    @app.entrypoint
    async def agent(request):
        with trace.get_tracer("mine").start_as_current_span("step"):
            return 1
    """
    with agent_process(tmp_path, program % sink.url) as (url, _):
        post(url)
    step, invocation = (each.span for each in sink.received)
    assert (step.name, invocation.name) == ("step", "invoke_agent mine")
    assert step.parent_span_id == invocation.span_id


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "PPIO_AGENT_TELEMETRY": "false"},
    ],
    ids=["unset", "disabled", "no exporter", "switched off"],
)
@pytest.mark.slow
def test_without_a_collector_nothing_of_opentelemetry_is_imported(variables: dict[str, str], tmp_path: Path) -> None:
    program = """
    import sys
    from ppio_agent_runtime import PPIOAgentRuntimeApp
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def agent(request):
        return [name for name in sys.modules if name.startswith("opentelemetry")]
    """
    with agent_process(tmp_path, program, **variables) as (url, _):
        assert post(url, traceparent=TRACEPARENT).json["result"] == []


HIDE_SDK = """
import sys
sys.modules["opentelemetry.sdk"] = None
"""


def test_a_missing_sdk_is_named_with_its_cure(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(HIDE_SDK + textwrap.dedent(PLAIN), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "ppio_agent_runtime", "main.py"],
        cwd=tmp_path,
        env=os.environ | {"PPIO_AGENT_TELEMETRY": "true", "PPIO_AGENT_PORT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "pip install 'ppio-agent-runtime[otel]'" in ran.stderr


def test_a_missing_sdk_is_a_warning_where_only_the_variables_ask_for_it(tmp_path: Path) -> None:
    collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with agent_process(tmp_path, HIDE_SDK + textwrap.dedent(PLAIN), **collector) as (url, lines):
        assert post(url, {"ask": ""}).status == 200
    assert len([line for line in lines if "pip install 'ppio-agent-runtime[otel]'" in line]) == 1
