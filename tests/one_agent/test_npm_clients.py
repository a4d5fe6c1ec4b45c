"""Clients from npm talk to the one agent: `useChat`'s transport, AG-UI's client, CopilotKit, the MCP inspector."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.frameworks.script import Script
from tests.one_agent.agent import NAME
from tests.one_agent.conversation import CONVERSATION, Transcript, tool_asked_for

from tests.protocols.node import run_program, run_script  # isort: skip  # skips

pytestmark = [pytest.mark.contract, pytest.mark.timeout(800)]  # installs from npm at first


@pytest.mark.parametrize(("client", "script_name"), [("@ag-ui/client", "ag-ui"), ("@copilotkit/runtime", "copilotkit")])
def test_ag_ui(url: str, script: Script, client: str, script_name: str) -> None:
    told, bought = Transcript(client), len(script.bought)
    told.add_events(run_script(f"{script_name}/shop.mjs", url)["events"])
    told.show()

    assert told.lines == CONVERSATION
    assert script.bought[bought:] == ["tea"]


def test_use_chat(url: str, script: Script) -> None:
    told, bought = Transcript("ai, which useChat is made of"), len(script.bought)
    seen = run_script("vercel/shop.mjs", url)
    *before, last = seen["messages"]
    for message in [*before, {"role": "assistant", "parts": seen["asked"]}]:
        add_parts(told, message["role"], message["parts"])
    told.add("user", "approved")
    told.add_result(last["parts"][1]["output"])
    add_parts(told, "assistant", last["parts"][len(seen["asked"]) :])
    told.show()

    assert told.lines == CONVERSATION
    assert script.bought[bought:] == ["tea"]


def add_parts(told: Transcript, role: str, parts: list[dict[str, Any]]) -> None:
    """Add what the parts of a UI message say."""
    for part in parts:
        if part["type"] == "text":
            told.add("user" if role == "user" else "agent", part["text"])
        elif part["type"] == "dynamic-tool":
            told.add("calls", part["toolName"])
            told.add_result(part.get("output"))
            if part["state"] == "approval-requested":
                told.add("asks", part["toolName"])


def test_mcp_inspector(url: str, script: Script) -> None:
    told, bought = Transcript("MCP inspector"), len(script.bought)

    def inspect(said: str, **arguments: str) -> Any:
        told.add("user", said)
        options = [f"{name}={value}" for name, value in arguments.items()]
        command = ["--cli", f"{url}/mcp", "--transport", "http", "--method", "tools/call", "--tool-name", NAME]
        result = json.loads(run_program("mcp", "mcp-inspector", *command, "--tool-arg", *options))
        return result["structuredContent"]["result"]

    told.add("agent", inspect("time?", prompt="time?", session_id="inspector"))
    (question,) = inspect("buy tea", prompt="buy tea", session_id="inspector")["interrupts"]
    told.add("asks", tool_asked_for(question["message"]))
    resume = json.dumps([{"interrupt_id": question["id"], "payload": True}])
    told.add("agent", inspect("approved", resume=resume, session_id="inspector"))
    told.show()

    # Without progress messages only results are seen.
    assert told.lines == [
        *[("user", "time?"), ("agent", "Let me see: It is 12:00 utc.")],
        *[("user", "buy tea"), ("asks", "buy"), ("user", "approved"), ("agent", "It is tea bought.")],
    ]
    assert script.bought[bought:] == ["tea"]
