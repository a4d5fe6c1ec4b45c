"""Sessions on the platform outlive the process that made them: every process with the key finds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.agents import write_agent
from tests.support.platform import API_KEY, Platform
from tests.support.processes import run_to_the_end

CREATE = """
from ppio_agent_client import SyncAgentRuntimeClient
client = SyncAgentRuntimeClient()
session = client.create_session("t-1", 600, session_id="Gespräch 7")
print(session.sandbox_id, session.invoke({}).result)
client.close()
"""
USE = """
import asyncio
from ppio_agent_client import AgentRuntimeClient

async def main():
    async with AgentRuntimeClient() as client:
        (listed,) = await client.list_sessions()
        session = await client.get_session(listed.session_id)
        joined = await client.create_session("t-1", session_id=listed.session_id)
        assert joined.sandbox_id == session.sandbox_id == listed.sandbox_id
        print(session.sandbox_id, (await session.invoke({})).result)

asyncio.run(main())
"""
CLOSE = """
from ppio_agent_client import SyncAgentRuntimeClient
client = SyncAgentRuntimeClient()
print(client.close_session("Gespräch 7"), client.get_session("Gespräch 7"), client.list_sessions())
client.close()
"""


@pytest.fixture
def variables(platform: Platform, url: str, tmp_path: Path) -> dict[str, str]:
    platform.add_template("t-1", write_agent(tmp_path / "agent", "worker"))
    return {
        "PPIO_API_KEY": API_KEY,
        "PPIO_API_URL": url,
        "PPIO_SANDBOX_URL": url,
        "PPIO_DOMAIN": "emulator.test",
        "PYTHONIOENCODING": "utf-8",
    }


@pytest.mark.slow
def test_a_session_is_made_used_and_closed_by_three_processes(platform: Platform, variables: dict[str, str]) -> None:
    printed = []
    for program in (CREATE, USE, CLOSE):
        done = run_to_the_end("-W", "error", "-c", program, variables=variables)
        assert (done.returncode, done.stderr) == (0, "")
        printed.append(done.stdout.split())

    made, used, closed = printed
    assert made[0] == used[0]
    assert (made[1], used[1]) == ("1", "2")  # the agent remembers
    assert closed == ["True", "None", "[]"]
    assert len(platform.sandboxes) == 0
    assert platform.sandboxes.made == 1
