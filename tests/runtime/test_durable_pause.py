"""A paused process wakes without a storm of timeouts; a handler that blocks its loop is no pause."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.calls import refusal
from tests.support.durable import cancel, events, finished, resource, submit
from tests.support.gates import aside, eventually
from tests.support.processes import environment
from tests.support.raw_http import PROTOCOL_1, Connection, invoke

pytestmark = pytest.mark.contract

LIMIT_SECONDS = 10.0
PAUSE_SECONDS = 11.0

AGENT = """
import asyncio

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp(AgentConfig(host="127.0.0.1", port=0, timeout=10, stream_timeout=10, background_timeout=10,
    resume_window_seconds=10, event_log_max_age_seconds=10, request_read_timeout_seconds=10))
gate = asyncio.Event()


@app.entrypoint
async def handler(payload: dict, context):
    if payload.get("do") == "open":
        gate.set()
        return "opened"
    if payload.get("do") == "stream":
        return stream(context)
    return await time_left(context)


async def stream(context):
    yield "first"
    yield await time_left(context)


async def time_left(context):
    await gate.wait()
    while not context.remaining():  # what was slept is given back a moment after waking
        await asyncio.sleep(0.01)
    return context.remaining()


app.run()
"""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[tuple[str, int]]:
    program = tmp_path / "agent.py"
    program.write_text(AGENT)
    process = subprocess.Popen([sys.executable, str(program)], env=environment(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = next(line for line in process.stderr if "listens on " in line)
        yield line.split("listens on ")[1].strip(), process.pid
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def pause(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    threading.Event().wait(PAUSE_SECONDS)  # the pause itself: longer than every limit of the agent
    os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
def test_process_that_slept_longer_than_its_limits_goes_on_where_it_was(agent: tuple[str, int]) -> None:
    url, pid = agent
    before = submit(url, {"do": "open nothing"}, {"X-PPIO-Timeout": "0.05"})
    assert finished(url, before)["state"] == "failed"
    values = [aside(lambda: invoke(url)) for _ in range(10)]
    durable = [aside(lambda: invoke(url, headers=PROTOCOL_1)) for _ in range(10)]
    streams = [aside(lambda: invoke(url, {"do": "stream"}, PROTOCOL_1)) for _ in range(10)]
    submitted = submit(url)
    with Connection(url) as leaver, Connection(url) as uploader:
        leaver.post({"do": "stream"}, PROTOCOL_1)
        _, headers = leaver.read_head()
        abandoned = f"/invocations/{headers['x-ppio-invocation-id']}"
        next(leaver.events())
        leaver.close()
        body = json.dumps({"do": "nothing", "long": "x" * 100}).encode()
        head = f"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        uploader.send(head + body[:50])
        eventually(lambda: resource(url, abandoned)["last_event_id"] == 1, "everything runs")
        pause(pid)
        # Found again, though it ended longer ago than what is finished is held: that time was slept.
        assert resource(url, before)["state"] == "failed"
        uploader.send(body[50:])
        assert invoke(url, {"do": "open"}).result == "opened"
        assert uploader.read_answer().status == 200
    for each in values + durable:
        assert 0 < each.result().result <= LIMIT_SECONDS
    for each in streams:
        assert [event.kind for event in each.result().events] == ["chunk", "chunk", "done"]
    assert finished(url, submitted)["state"] == "succeeded"
    assert [event.kind for event in events(url, abandoned).events] == ["chunk", "chunk", "done"]


@pytest.mark.slow
def test_limits_still_hold_after_a_pause(agent: tuple[str, int]) -> None:
    url, pid = agent
    path = submit(url)
    eventually(lambda: resource(url, path)["state"] == "running", "it runs")
    pause(pid)
    assert resource(url, path)["state"] == "running"
    short = invoke(url, headers={"X-PPIO-Timeout": "0.1"})
    refusal(short, 504, "InvocationTimeoutError")
    assert cancel(url, path).status == 202
    assert finished(url, path)["state"] == "cancelled"


@pytest.mark.parametrize("isolated", [False, True], ids=["", "isolated"])
@pytest.mark.parametrize("headers", [{}, PROTOCOL_1], ids=["plain", "protocol 1"])
@pytest.mark.slow
def test_handler_that_blocks_its_loop_is_not_taken_for_a_pause(isolated: bool, headers: dict[str, str]) -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(timeout=1.0, isolate_handlers=isolated))

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> None:
        time.sleep(3.0)
        await asyncio.Future()

    with running(app) as url:
        refusal(invoke(url, headers=headers), 504, "InvocationTimeoutError")
