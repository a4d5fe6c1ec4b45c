"""Ctrl-C, a second signal, and signals while the lifespan starts or ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.draining import VALUE, begun, wait_until_draining
from tests.support.agent_process import agent_process
from tests.support.calls import refusal
from tests.support.raw_http import Connection, get

pytestmark = pytest.mark.contract


def test_ctrl_c_ends_with_0_and_says_how_to_hurry(tmp_path: Path) -> None:
    with agent_process(tmp_path, VALUE) as agent:
        assert get(agent.url, "/ping").status == 200
        agent.interrupt()
        assert agent.wait() == 0
        assert "press Ctrl-C again" in agent.log


@pytest.mark.parametrize("signals", ["TERM", "INT"])
def test_second_signal_ends_a_drain_at_once(tmp_path: Path, signals: str) -> None:
    with agent_process(tmp_path, VALUE, PPIO_AGENT_SHUTDOWN_GRACE_SECONDS="3600") as agent:
        send = agent.terminate if signals == "TERM" else agent.interrupt
        with Connection(agent.url) as connection:
            connection.post()
            begun(agent)
            send()
            wait_until_draining(agent)
            send()
            assert agent.wait() == 0
            assert "Traceback" not in agent.log  # it was asked for, so it is no failure
            assert "lifespan" not in agent.log


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}], ids=["plain", "durable"])
def test_second_signal_tells_callers_that_their_call_was_cut(tmp_path: Path, headers: dict[str, str]) -> None:
    with agent_process(tmp_path, VALUE) as agent, Connection(agent.url) as connection:
        connection.post(headers=headers)
        begun(agent)
        agent.terminate()
        wait_until_draining(agent)
        agent.terminate()
        answer = connection.read_answer()
        assert "may have taken effect" in refusal(answer, 503, "DrainingError")
        assert "retry-after" not in answer.headers
        assert agent.wait() == 0


def test_second_signal_ends_an_agent_whose_loop_is_blocked(tmp_path: Path) -> None:
    program = """
app = PPIOAgentRuntimeApp()

@app.entrypoint
async def handler(payload):
    say("begun")
    wait("never")
"""
    with agent_process(tmp_path, program) as agent, Connection(agent.url) as connection:
        connection.post()
        begun(agent)
        agent.interrupt()
        agent.wait_for_log("press Ctrl-C again")
        agent.interrupt()
        assert agent.wait() == 3


def test_second_signal_ends_a_hanging_lifespan_shutdown(tmp_path: Path) -> None:
    program = """
@contextlib.asynccontextmanager
async def lifespan(app):
    yield
    say("begun")
    await asyncio.Future()

app = PPIOAgentRuntimeApp(lifespan=lifespan)

@app.entrypoint
async def handler(payload):
    return None
"""
    with agent_process(tmp_path, program) as agent:
        assert get(agent.url, "/ping").status == 200
        agent.terminate()
        begun(agent)
        agent.terminate()
        assert agent.wait() == 0


def test_signal_ends_a_hanging_lifespan_startup(tmp_path: Path) -> None:
    program = """
@contextlib.asynccontextmanager
async def lifespan(app):
    say("begun")
    await asyncio.Future()
    yield

app = PPIOAgentRuntimeApp(lifespan=lifespan)

@app.entrypoint
async def handler(payload):
    return None
"""
    with agent_process(tmp_path, program) as agent:
        begun(agent)
        agent.terminate()
        assert agent.wait() == 0
        assert "Traceback" not in agent.log


def test_lifespan_shutdown_runs_after_the_last_invocation(tmp_path: Path) -> None:
    program = """
@contextlib.asynccontextmanager
async def lifespan(app):
    yield
    say("left after the invocation" if heard("finished") else "left too early")

app = PPIOAgentRuntimeApp(lifespan=lifespan)

@app.entrypoint
async def handler(payload):
    say("begun")
    await passed("go on")
    say("finished")
"""
    with agent_process(tmp_path, program) as agent, Connection(agent.url) as connection:
        connection.post()
        begun(agent)
        agent.terminate()
        wait_until_draining(agent)
        agent.say("go on")
        assert connection.read_answer().status == 200
        assert agent.wait() == 0
        assert agent.heard("left after the invocation")
