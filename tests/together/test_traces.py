"""One trace from the caller's own span through the client to the agent, as a collector of OTLP receives it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.runtime.test_logging import agent_process
from tests.support.otlp_sink import Received, Sink, collecting, plain
from tests.support.processes import run_to_the_end
from tests.support.raw_server import LAST_PIECE, Caller, answering, piece, raw_server, stream_head

AGENT = """
    import asyncio
    import logging
    from opentelemetry import baggage
    from ppio_agent_runtime import PPIOAgentRuntimeApp
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def agent(request):
        logging.getLogger("mine").warning("asked")
        if request["prompt"] == "fail":
            raise ValueError("PAYLOAD")
        if request["prompt"] == "stream":
            return words()
        if request["prompt"] == "without end":
            return words_without_end()
        return baggage.get_baggage("tenant")

    async def words():
        yield "one"
        yield "two"

    async def words_without_end():
        yield "one"
        await asyncio.Event().wait()
"""

CALLER = """
import asyncio
import sys

from opentelemetry import baggage, context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from ppio_agent_client import AgentRuntimeClient, InvocationError, SyncAgentRuntimeClient

collector, url, instrumented, *prompts = sys.argv[1:]
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=collector + "/v1/traces")))
trace.set_tracer_provider(provider)
if instrumented == "instrumented":
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    HTTPXClientInstrumentor().instrument()


async def main():
    async with AgentRuntimeClient() as client:
        session = client.attach(url)
        for prompt in prompts:
            try:
                if prompt == "leave":
                    async with session.stream("without end") as stream:
                        await anext(stream)
                elif prompt == "stream":
                    assert [chunk async for chunk in session.stream(prompt)] == ["one", "two"]
                else:
                    assert (await session.invoke(prompt)).result == "t1"
            except InvocationError:
                assert prompt == "fail"


def main_sync():
    with SyncAgentRuntimeClient() as client:
        assert client.attach(url).invoke("value").result == "t1"


context.attach(baggage.set_baggage("tenant", "t1"))
with trace.get_tracer("caller").start_as_current_span("caller"):
    main_sync() if prompts == ["sync"] else asyncio.run(main())
provider.shutdown()
"""


def traced(sink: Sink, url: str, *prompts: str, instrumented: bool = False) -> None:
    ended = run_to_the_end("-c", CALLER, sink.url, url, "instrumented" if instrumented else "plain", *prompts)
    assert ended.returncode == 0, ended.stderr


def spans(sink: Sink) -> dict[str, Received]:
    """Return the spans by name; `agent` is the agent's own."""
    found = {}
    for received in sink.received:
        is_agent = received.span.kind == Span.SPAN_KIND_SERVER
        found["agent" if is_agent else received.span.name] = received
    assert len(found) == len(sink.received), [each.span.name for each in sink.received]
    return found


@pytest.mark.parametrize("prompt", ["value", "stream", "sync"])
@pytest.mark.slow
def test_the_agents_span_is_a_child_of_the_calls_which_is_a_child_of_the_callers(prompt: str, tmp_path: Path) -> None:
    with collecting() as sink:
        with agent_process(tmp_path, AGENT, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url) as (url, _):
            traced(sink, url, prompt)
        found = spans(sink)
    caller, call, agent = (found[name].span for name in ("caller", "invoke_agent", "agent"))
    assert call.kind == Span.SPAN_KIND_CLIENT
    assert {span.trace_id for span in (caller, call, agent)} == {caller.trace_id}
    assert (call.parent_span_id, agent.parent_span_id) == (caller.span_id, call.span_id)
    attributes = found["invoke_agent"].attributes
    assert attributes["http.response.status_code"] == 200
    assert attributes["url.full"] == f"{url}/invocations"
    assert attributes["http.request.method"] == "POST"
    assert attributes["server.port"] == int(url.rpartition(":")[2])
    for name in ("ppio.invocation_id", "ppio.request_id", "gen_ai.conversation.id", "gen_ai.operation.name"):
        assert attributes[name] == found["agent"].attributes[name], name
    assert attributes.get("ppio.chunks") == (2 if prompt == "stream" else None)
    assert call.status.code == Status.STATUS_CODE_UNSET


@pytest.mark.slow
def test_beside_the_instrumentation_of_httpx_there_is_one_span_for_the_call_and_one_for_its_attempt(
    tmp_path: Path,
) -> None:
    with collecting() as sink:
        with agent_process(tmp_path, AGENT, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url) as (url, _):
            traced(sink, url, "value", instrumented=True)
        found = spans(sink)
    assert found.keys() == {"caller", "invoke_agent", "POST", "agent"}
    assert found["POST"].span.parent_span_id == found["invoke_agent"].span.span_id
    assert found["agent"].span.parent_span_id == found["POST"].span.span_id


@pytest.mark.slow
def test_what_ends_a_stream_that_is_left_belongs_to_its_span(tmp_path: Path) -> None:
    with collecting() as sink:
        with agent_process(tmp_path, AGENT, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url) as (url, _):
            traced(sink, url, "leave", instrumented=True)
        found = spans(sink)
    assert found.keys() == {"caller", "invoke_agent", "POST", "DELETE", "agent"}
    assert found["DELETE"].span.parent_span_id == found["invoke_agent"].span.span_id


@pytest.mark.slow
def test_a_failure_is_told_by_its_class_and_never_by_its_message(tmp_path: Path) -> None:
    with collecting() as sink:
        with agent_process(tmp_path, AGENT, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, PPIO_AGENT_EXPOSE_ERRORS="true") as (
            url,
            _,
        ):
            traced(sink, url, "fail")
        found = spans(sink)
    call = found["invoke_agent"]
    assert call.span.status.code == Status.STATUS_CODE_ERROR
    assert (call.attributes["error.type"], call.attributes["http.response.status_code"]) == ("500", 500)
    assert b"PAYLOAD" not in call.span.SerializeToString()


@pytest.mark.slow
def test_retries_are_events_of_one_span() -> None:
    told = b'{"status": "error", "error": "Too many.", "error_type": "RateLimitedError"}'
    head = b"HTTP/1.1 429 Too Many Requests\r\nPPIO-Agent-Protocol: 1\r\nRetry-After: 0\r\nContent-Length: %d\r\n\r\n"
    busy = head % len(told) + told
    body = b'{"result": "t1", "status": "success"}'
    fine = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with collecting() as sink:
        with raw_server(answering(busy, busy, fine)) as server:
            traced(sink, server.url, "value")
        found = spans(sink)
    call = found["invoke_agent"]
    assert [event.name for event in call.span.events] == ["ppio.retry"] * 2
    assert call.attributes["http.request.resend_count"] == 2
    assert len({request.headers["traceparent"] for request in server.requests}) == 1


@pytest.mark.slow
def test_a_resumption_is_an_event_of_the_one_span_of_its_stream() -> None:
    head = stream_head(headers={"X-PPIO-Invocation-Id": "i-1"})
    rest = b'id: 2\ndata: "two"\n\nid: 3\nevent: done\ndata: {}\n\n'
    answers = [head + piece(b'id: 1\ndata: "one"\n\n'), head + piece(rest) + LAST_PIECE]

    def agent(caller: Caller) -> None:
        caller.read_request()
        caller.send(answers.pop(0))  # and hangs up

    with collecting() as sink:
        with raw_server(agent, agent) as server:
            traced(sink, server.url, "stream")
        found = spans(sink)
    call = found["invoke_agent"]
    assert [(event.name, plain(event.attributes)) for event in call.span.events] == [
        ("ppio.resume", {"attempt": 1, "last_event_id": 1})
    ]
    assert call.attributes["ppio.chunks"] == 2


@pytest.mark.slow
def test_json_lines_of_the_agent_carry_the_ids_of_its_span(tmp_path: Path) -> None:
    with collecting() as sink:
        with agent_process(tmp_path, AGENT, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, PPIO_AGENT_LOG_FORMAT="json") as (
            url,
            lines,
        ):
            traced(sink, url, "fail")
        agent = spans(sink)["agent"].span
    told = [json.loads(line) for line in lines if line.startswith("{")]
    within = [line for line in told if line["logger"] == "mine" or line["level"] == "ERROR"]
    assert len(within) == 2
    expected = {"trace_id": agent.trace_id.hex(), "span_id": agent.span_id.hex()}
    assert [{name: line.get(name) for name in expected} for line in within] == [expected] * 2
    assert all("trace_id" not in line for line in told if line not in within)
