"""AgentCore's contracts, got by configuration alone: each on its port and at its path, asked by a client of others.

https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-service-contract.html
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ag_ui.core
import pytest
from ag_ui_validate import create_validator
from pydantic import TypeAdapter
from websockets.sync.client import connect

from tests.protocols.agent import TEXT
from tests.protocols.mcp_client import Mode, ask
from tests.runtime.test_logging import agent_process
from tests.support.calls import call

from tests.protocols.a2a_client import answered, connected, saying, state_of, texts  # isort: skip  # skips

pytestmark = [
    pytest.mark.contract,
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
    pytest.mark.skipif(sys.platform != "linux", reason="the ports are fixed, so each test has a loopback address"),
]

PROGRAM = """
    from ppio_agent_runtime import PPIOAgentRuntimeApp
    from tests.protocols.agent import Clock

    app = PPIOAgentRuntimeApp()
    app.entrypoint(Clock())
"""
EVENT: TypeAdapter[Any] = TypeAdapter(ag_ui.core.Event)


@pytest.fixture
def host() -> str:
    """Return an address that no test beside this one has."""
    process = os.getpid()
    return f"127.{process >> 16 & 127 | 128}.{process >> 8 & 255}.{process & 255}"


@contextmanager
def agentcore(folder: Path, protocol: str, host: str, **settings: str) -> Iterator[str]:
    """Serve a protocol from a program that says nothing of it."""
    named = {f"PPIO_AGENT_{name}": value for name, value in settings.items()}
    own = {"PPIO_AGENT_HOST": host, "PPIO_AGENT_PROTOCOLS": protocol, "PYTHONPATH": str(Path(__file__).parents[2])}
    with agent_process(folder, PROGRAM, **own, **named) as (url, _):
        assert call(url, "/ping", method="GET").json["status"] == "Healthy"
        yield url


async def test_a2a_at_the_root_of_port_9000(tmp_path: Path, host: str) -> None:
    with agentcore(tmp_path, "a2a", host, PORT="9000", PROTOCOL_PATHS='{"a2a": "/"}') as url:
        for binding in ("JSONRPC", "HTTP+JSON"):
            async with connected(f"http://{host}:9000", binding, streaming=False) as client:
                task = await answered(client, saying("time?", message_id=binding))
                assert (state_of(task), texts(task)) == ("COMPLETED", ["".join(TEXT[:2]), TEXT[2]])

    assert url == f"http://{host}:9000"


def test_mcp_on_port_8000_with_session_ids_of_the_platform(tmp_path: Path, host: str, mode: Mode) -> None:
    with agentcore(tmp_path, "mcp", host, PORT="8000", MCP_SESSIONS="false", AGENT_NAME="clock"):
        result = ask(f"http://{host}:8000", mode, "time?", headers={"Mcp-Session-Id": "made-by-the-platform"})[0]

    assert result.structured_content == {"result": "".join(TEXT), "session_id": "made-by-the-platform"}


def test_ag_ui_on_port_8080_as_post_and_websocket(tmp_path: Path, host: str) -> None:
    message = {"id": "m", "role": "user", "content": "time?"}
    run = json.dumps({"threadId": "thread", "runId": "run", "messages": [message], "tools": [], "context": []})
    with agentcore(tmp_path, "ag-ui", host, PORT="8080", PROTOCOL_PATHS='{"ag-ui": "/invocations"}'):
        posted = [event.data for event in call(f"http://{host}:8080", "/invocations", body=run.encode()).events]
        with connect(f"ws://{host}:8080/ws") as websocket:
            websocket.send(run)
            received = [json.loads(websocket.recv(60))]
            while received[-1]["type"] != "RUN_FINISHED":
                received.append(json.loads(websocket.recv(60)))

    for events in (posted, received):
        validator = create_validator()
        found = [each for event in events for each in validator.feed(event)] + validator.finalize()
        assert [each for each in found if each.severity != "info"] == []
        parsed = [EVENT.validate_python(event) for event in events]
        assert [event.delta for event in parsed if event.type == "TEXT_MESSAGE_CONTENT"] == TEXT
