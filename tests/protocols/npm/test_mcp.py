"""MCP's conformance suite and its inspector, both from npm, against the agent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.protocols.agent import TEXT, Clock, serving
from tests.protocols.node import run_program

pytest.importorskip("mcp", reason="needs MCP's package: hatch run judges:node")
pytestmark = pytest.mark.contract

SCENARIOS = ["server-initialize", "ping", "tools-list", "server-sse-multiple-streams", "dns-rebinding-protection"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_conformance_suite_passes(scenario: str) -> None:
    with serving(Clock(), ["mcp"]) as url:
        told = run_program("mcp", "conformance", "server", "--url", f"{url}/mcp", "--scenario", scenario)

    assert "0 failed" in told


def test_the_inspector_lists_and_calls_the_tool() -> None:
    def inspect(url: str, *arguments: str) -> Any:
        command = ("--cli", f"{url}/mcp", "--transport", "http", "--header", "Authorization: Bearer key")
        return json.loads(run_program("mcp", "mcp-inspector", *command, *arguments))

    with serving(Clock(), ["mcp"], api_keys=["key"]) as url:
        tools = inspect(url, "--method", "tools/list")["tools"]
        call = ("--method", "tools/call", "--tool-name", "clock", "--tool-arg")
        told = inspect(url, *call, "prompt=time?")
        asked = inspect(url, *call, "prompt=ask")["structuredContent"]
        resume = json.dumps([{"interrupt_id": asked["result"]["interrupts"][0]["id"], "payload": "yes"}])
        answered = inspect(url, *call, f"session_id={asked['session_id']}", f"resume={resume}")

    assert [tool["name"] for tool in tools] == ["clock"]
    assert told["content"][0]["text"] == "".join(TEXT)
    assert answered["content"][0]["text"] == "You said yes."
