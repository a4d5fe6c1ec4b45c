"""While large bodies and results are read and written, `/ping` and everybody else are answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.agent_process import agent_process
from tests.support.calls import refusal
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection, invoke

pytestmark = pytest.mark.contract

RECORDS: Any = [{"id": number, "name": f"item {number}", "tags": ["a", "b"], "on": True} for number in range(120_000)]
"""Some 8 MB of JSON, which pydantic_core alone reads and writes in 0.2 s and more."""
LIMIT = 40_000_000
AGENT = """
from pydantic import BaseModel, field_serializer

app = PPIOAgentRuntimeApp()
turns = 0
turns_at_last = []

class Last(BaseModel):
    number: int

    @field_serializer("number")
    def note(self, number):
        turns_at_last.append(turns)
        return number

RECORDS = [{"id": number, "name": f"item {number}", "tags": ["a", "b"]} for number in range(120_000)]

def turn():
    global turns
    turns += 1
    if not heard("stop"):
        asyncio.get_running_loop().call_later(0.001, turn)

@app.entrypoint
async def handler(payload):
    if payload.get("ask"):
        say("stop")
        return turns_at_last
    turn()
    return {"records": [*RECORDS, Last(number=1)]}
"""


@pytest.fixture(scope="module")
def app() -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(AgentConfig(max_request_size=LIMIT))

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> Any:
        return {"page": payload.get("records", RECORDS)}

    return app


@pytest.mark.parametrize("headers", [{}, PROTOCOL_1, EVENT_STREAM], ids=["value", "durable", "stream"])
@pytest.mark.slow
def test_large_values_go_in_and_come_out_as_they_are(app: PPIOAgentRuntimeApp, headers: dict[str, str]) -> None:
    with running(app) as url:
        answer = invoke(url, {"records": RECORDS}, headers)
    result = answer.events[0].data if "Accept" in headers else answer.result
    assert result == {"page": RECORDS}


@pytest.mark.slow
def test_large_body_that_is_no_json_is_refused(app: PPIOAgentRuntimeApp) -> None:
    body = json.dumps({"records": RECORDS}).encode()
    with running(app) as url, Connection(url) as connection:
        connection.send(b"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: %d\r\n\r\n" % (len(body) - 1))
        connection.send(body[:-2] + b"}")
        assert "not valid JSON" in refusal(connection.read_answer(), 400, "BadRequestError")


@pytest.mark.slow
def test_event_loop_has_its_turns_while_a_large_result_is_written(tmp_path: Path) -> None:
    """They are counted when the last record is written: on the loop, or in one piece, there would be one."""
    with agent_process(tmp_path, AGENT) as agent:
        assert len(invoke(agent.url).result["records"]) == 120_001
        assert invoke(agent.url, {"ask": True}).result[-1] > 3


PROTOCOL = """
app = PPIOAgentRuntimeApp(AgentConfig(max_request_size=40_000_000))
turns = []

def turn():
    turns.append(1)
    asyncio.get_running_loop().call_later(0.001, turn)

@app.entrypoint
async def handler(payload):
    return len(turns)

async def own(request):
    turn()
    body = await app.read_json(request)
    read = len(turns)
    return JSONResponse([read, await app.invoke(body) - read])

class Protocol:
    def install(self, app):
        app.add_route("/own", own)

from starlette.responses import JSONResponse
app.install(Protocol())
"""


@pytest.mark.slow
def test_event_loop_has_its_turns_while_a_protocol_reads_a_large_body(tmp_path: Path) -> None:
    with agent_process(tmp_path, PROTOCOL) as agent, Connection(agent.url) as connection:
        connection.post({"records": RECORDS}, path="/own")
        read, invoked = connection.read_answer().json
    assert read > 3
    assert invoked > 3
