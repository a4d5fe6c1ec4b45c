"""A conversation that outlives the processes that take part in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ppio_agent_client import SyncLocalSandboxProvider
from tests.support.agents import write_agent

pytestmark = pytest.mark.contract

BEGIN = """
    session = await client.create_session("worker", session_id="chat", metadata={"user": "u-1"})
    print(json.dumps([(await session.invoke("x")).result for _ in range(3)]))
"""
GO_ON = """
    session = await client.get_session("chat")
    joined = await client.create_session("worker", session_id="chat")
    await client.close_all_sessions()
    info = await session.info()
    turns = [(await session.invoke("x")).result, (await joined.invoke("x")).result]
    print(json.dumps([turns, info.metadata, session.sandbox_id == joined.sandbox_id]))
"""
HAND_IN = """
    session = await client.create_session("worker", session_id="job")
    print(json.dumps((await session.submit({"do": "session"})).invocation_id))
"""
FETCH = """
    session = await client.get_session("job")
    job = session.invocation(%r)
    print(json.dumps([(await job.result()).result, [chunk async for chunk in job.events()], await job.status()]))
"""
CLOSE = """
    print(json.dumps([await client.close_session("chat"), await client.close_session("chat")]))
"""
PROGRAM = """
import asyncio, json
from ppio_agent_client import AgentRuntimeClient

async def main(client):
{body}

async def run():
    async with AgentRuntimeClient(provider="local") as client:
        await main(client)

asyncio.run(run())
"""


def run(home: Path, body: str) -> Any:
    environment = {"PPIO_AGENT_HOME": str(home), "HOME": str(home.parent), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", PROGRAM.format(body=body)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_conversation_is_begun_continued_and_closed_by_three_processes(home: Path) -> None:
    SyncLocalSandboxProvider(home).deploy(write_agent(home.parent / "worker", "worker"))
    assert run(home, BEGIN) == [1, 2, 3]
    assert run(home, GO_ON) == [[4, 5], {"user": "u-1"}, True]
    assert run(home, CLOSE) == [True, False]


@pytest.mark.slow
def test_work_that_one_process_handed_in_is_fetched_by_another(home: Path) -> None:
    SyncLocalSandboxProvider(home).deploy(write_agent(home.parent / "worker", "worker"))
    invocation_id = run(home, HAND_IN)
    assert run(home, FETCH % invocation_id) == ["job", ["job"], "succeeded"]
