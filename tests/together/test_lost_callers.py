"""Callers that die or crowd: the work is done once, and what it said is complete."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ppio_agent_client import AgentRuntimeClient, InvocationResponse, SyncAgentRuntimeClient
from ppio_agent_runtime.testing import running
from tests.support.processes import environment, run_to_the_end, serving
from tests.support.worker import Worker

pytestmark = pytest.mark.contract

CHUNKS = 10_000
CALLERS = 100
AGENT = f"""
from ppio_agent_runtime import PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()
runs = 0

@app.entrypoint
def count(payload):
    global runs
    if payload.get("ask") == "runs":
        yield runs
        return
    runs += 1
    for number in range({CHUNKS}):
        yield number
"""
FIRST = {
    "async": """
import asyncio, sys
from ppio_agent_client import AgentRuntimeClient

async def main():
    async with AgentRuntimeClient() as client:
        async with client.attach(sys.argv[1]).stream({}) as stream:
            print(stream.invocation_id, flush=True)
            async for number in stream:
                print(stream.last_event_id, number, "." * 40, flush=True)

asyncio.run(main())
""",
    "sync": """
import sys
from ppio_agent_client import SyncAgentRuntimeClient

with SyncAgentRuntimeClient() as client:
    with client.attach(sys.argv[1]).stream({}) as stream:
        print(stream.invocation_id, flush=True)
        for number in stream:
            print(stream.last_event_id, number, "." * 40, flush=True)
""",
}
SECOND = """
import json, sys
from ppio_agent_client import SyncAgentRuntimeClient

with SyncAgentRuntimeClient() as client:
    handle = client.attach(sys.argv[1]).invocation(sys.argv[2])
    print(json.dumps(list(handle.events(after=int(sys.argv[3])))))
"""


@pytest.mark.parametrize("kind", FIRST)
@pytest.mark.slow
def test_a_stream_whose_reader_was_killed_is_finished_by_another_process(kind: str, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(AGENT)
    with serving("-m", "ppio_agent_runtime", "main.py", folder=tmp_path) as url:
        first = subprocess.Popen(
            [sys.executable, "-c", FIRST[kind], url], stdout=subprocess.PIPE, text=True, env=environment()
        )
        assert first.stdout is not None
        with first, first.stdout as said:
            invocation_id = said.readline().strip()
            lines = [said.readline() for _ in range(CHUNKS // 3)]
            first.kill()
            lines += said.readlines()
        seen = [tuple(map(int, line.split()[:2])) for line in lines if line.endswith("\n")]
        assert len(seen) < CHUNKS  # it was in the middle: a pipe holds 64 KiB, which is not the rest
        second = run_to_the_end("-c", SECOND, url, invocation_id, str(seen[-1][0]))
        assert second.returncode == 0, second.stderr
        with SyncAgentRuntimeClient() as client:
            session = client.attach(url)
            whole = list(session.invocation(invocation_id).events())
            assert session.invoke({"ask": "runs"}).result == [1]
    assert [number for _, number in seen] + json.loads(second.stdout) == list(range(CHUNKS))
    assert whole == list(range(CHUNKS))


def check(worker: Worker, answers: list[InvocationResponse]) -> None:
    assert worker.began.value == 1
    assert {answer.result for answer in answers} == {"the answer"}
    assert len({answer.invocation_id for answer in answers}) == 1
    assert [answer.replayed for answer in answers].count(False) == 1


async def test_a_hundred_calls_at_once_with_one_key_run_the_agent_once() -> None:
    worker = Worker()
    request = {"do": "answer", "value": "the answer"}
    with running(worker.app) as url:
        async with AgentRuntimeClient() as client:
            session = client.attach(url)
            calls = [session.invoke(request, idempotency_key="one") for _ in range(CALLERS)]
            check(worker, await asyncio.gather(*calls))


def test_a_hundred_threads_with_one_key_run_the_agent_once() -> None:
    worker = Worker()
    request = {"do": "answer", "value": "the answer"}
    with (
        running(worker.app) as url,
        SyncAgentRuntimeClient() as client,
        ThreadPoolExecutor(CALLERS) as threads,
    ):
        session = client.attach(url)
        calls = [threads.submit(session.invoke, request, idempotency_key="one") for _ in range(CALLERS)]
        check(worker, [call.result() for call in calls])
