"""Agents to be ended while they work, and what to wait for meanwhile."""

from __future__ import annotations

from tests.support.agent_process import AgentProcess
from tests.support.gates import eventually
from tests.support.raw_http import get

VALUE = """
app = PPIOAgentRuntimeApp()

@app.entrypoint
async def handler(payload):
    say("begun")
    await passed("go on")
    return "finished"
"""

STREAM = """
app = PPIOAgentRuntimeApp()

@app.entrypoint
async def handler(payload):
    try:
        yield 1
        await passed("go on")
        yield 2
    finally:
        say("closed")
"""

SYNC = """
app = PPIOAgentRuntimeApp()

@app.entrypoint
def handler(payload):
    say("begun")
    wait("go on")
    return "finished"
"""

BRIEF = {"PPIO_AGENT_SHUTDOWN_GRACE_SECONDS": "0.1"}


def wait_until_draining(agent: AgentProcess) -> None:
    eventually(lambda: get(agent.url, "/ping").status == 503, "the drain")


def begun(agent: AgentProcess) -> None:
    eventually(lambda: agent.heard("begun"), "the handler begins")
