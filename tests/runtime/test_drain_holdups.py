"""What an agent or a caller may do to be in the way of the end, and how it comes all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.draining import BRIEF, SYNC, begun, wait_until_draining
from tests.support.agent_process import agent_process
from tests.support.raw_http import Connection

pytestmark = pytest.mark.contract


def assert_the_call_is_refused_and_the_process_ends_with_3(folder: Path, program: str) -> None:
    with agent_process(folder, program, **BRIEF) as agent, Connection(agent.url) as connection:
        connection.post()
        begun(agent)
        agent.terminate()
        assert connection.read_answer().status == 503
        assert agent.wait() == 3


@pytest.mark.slow
def test_sync_handler_that_never_returns_ends_the_process_with_3(tmp_path: Path) -> None:
    assert_the_call_is_refused_and_the_process_ends_with_3(tmp_path, SYNC)


def test_sync_handler_that_heeds_context_cancelled_ends_the_process_with_0(tmp_path: Path) -> None:
    program = """
app = PPIOAgentRuntimeApp()

@app.entrypoint
def handler(payload, context):
    say("begun")
    while not context.cancelled:
        time.sleep(0.2)
    say("cleaned up")
"""
    with agent_process(tmp_path, program, **BRIEF) as agent, Connection(agent.url) as connection:
        connection.post()
        begun(agent)
        agent.terminate()
        assert connection.read_answer().status == 503
        assert agent.wait() == 0
        assert agent.heard("cleaned up")


@pytest.mark.slow
def test_async_handler_that_swallows_every_cancellation_does_not_hold_up_the_end(tmp_path: Path) -> None:
    program = """
app = PPIOAgentRuntimeApp()

@app.entrypoint
async def handler(payload):
    say("begun")
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
"""
    assert_the_call_is_refused_and_the_process_ends_with_3(tmp_path, program)


def test_blocking_call_in_asyncio_to_thread_does_not_hold_up_the_end(tmp_path: Path) -> None:
    program = """
app = PPIOAgentRuntimeApp()

@app.entrypoint
async def handler(payload):
    await asyncio.to_thread(block)

def block():
    say("begun")
    wait("never")
"""
    assert_the_call_is_refused_and_the_process_ends_with_3(tmp_path, program)


def test_idle_kept_connections_do_not_hold_up_the_end(tmp_path: Path) -> None:
    with agent_process(tmp_path, SYNC) as agent:
        agent.say("go on")
        connections = [Connection(agent.url) for _ in range(20)]
        for connection in connections[:10]:  # the others have never said anything
            connection.post()
            assert connection.read_answer().status == 200
        agent.terminate()
        assert agent.wait() == 0
        for connection in connections:
            assert connection.read_to_the_end() == b""
            connection.close()


@pytest.mark.slow
def test_slow_reader_does_not_hold_up_the_end(tmp_path: Path) -> None:
    program = """
app = PPIOAgentRuntimeApp()

@app.entrypoint
async def handler(payload):
    for number in range(1_000_000):
        if number == 4:
            say("begun")
        yield "x" * 10_000
"""
    with agent_process(tmp_path, program, **BRIEF) as agent, Connection(agent.url, receive_buffer_bytes=4096) as reader:
        reader.post()
        reader.read_head()
        begun(agent)
        agent.terminate()
        assert agent.wait() == 0


@pytest.mark.slow
def test_isolated_loop_that_is_blocked_for_ever_does_not_hold_up_the_end(tmp_path: Path) -> None:
    program = """
app = PPIOAgentRuntimeApp(AgentConfig(isolate_handlers=True))

@app.entrypoint
async def handler(payload):
    say("begun")
    wait("never")
"""
    with agent_process(tmp_path, program, **BRIEF) as agent, Connection(agent.url) as connection:
        connection.post()
        begun(agent)
        agent.terminate()
        wait_until_draining(agent)
        assert agent.wait() == 3
