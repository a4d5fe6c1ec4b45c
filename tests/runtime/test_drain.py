"""SIGTERM and Ctrl-C: no new work, time for the running work, and an end that comes whatever the agent does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.agent_process import AgentProcess, agent_process
from tests.support.gates import eventually
from tests.support.raw_http import PROTOCOL_1, Connection, get, request

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


def test_idle_agent_ends_with_0(tmp_path: Path) -> None:
    with agent_process(tmp_path, VALUE) as agent:
        assert get(agent.url, "/ping").status == 200
        agent.terminate()
        assert agent.wait() == 0


def test_ctrl_c_ends_with_0_and_says_how_to_hurry(tmp_path: Path) -> None:
    with agent_process(tmp_path, VALUE) as agent:
        assert get(agent.url, "/ping").status == 200
        agent.interrupt()
        assert agent.wait() == 0
        assert "press Ctrl-C again" in agent.log


def test_draining_agent_is_not_ready(tmp_path: Path) -> None:
    with agent_process(tmp_path, VALUE) as agent, Connection(agent.url) as connection:
        connection.post()
        begun(agent)
        agent.terminate()
        wait_until_draining(agent)
        ping = get(agent.url, "/ping").json
        assert (ping["status"], ping["message"]) == ("Unhealthy", "draining")
        agent.say("go on")
        assert agent.wait() == 0


def test_new_work_is_refused_with_503_while_the_port_is_still_open(tmp_path: Path) -> None:
    with agent_process(tmp_path, VALUE) as agent, Connection(agent.url) as running, Connection(agent.url) as new:
        running.post()
        begun(agent)
        agent.terminate()
        wait_until_draining(agent)
        new.post()
        refused = new.read_answer()
        assert (refused.status, refused.json["error_type"]) == (503, "DrainingError")
        assert int(refused.headers["retry-after"]) >= 1
        agent.say("go on")
        assert agent.wait() == 0


@pytest.mark.parametrize("program", [VALUE, SYNC], ids=["async", "sync"])
def test_running_value_may_finish_within_the_grace(tmp_path: Path, program: str) -> None:
    with agent_process(tmp_path, program) as agent, Connection(agent.url) as connection:
        connection.post()
        begun(agent)
        agent.terminate()
        wait_until_draining(agent)
        agent.say("go on")
        assert connection.read_answer().result == "finished"
        assert agent.wait() == 0


def test_running_stream_may_finish_within_the_grace(tmp_path: Path) -> None:
    with agent_process(tmp_path, STREAM) as agent, Connection(agent.url) as connection:
        connection.post(headers=PROTOCOL_1)
        connection.read_head()
        events = connection.events()
        assert next(events).data == 1
        agent.terminate()
        wait_until_draining(agent)
        agent.say("go on")
        assert [event.kind for event in events] == ["chunk", "done"]
        assert agent.wait() == 0


def test_stream_beyond_the_grace_ends_with_an_error_event_that_says_draining(tmp_path: Path) -> None:
    with agent_process(tmp_path, STREAM, **BRIEF) as agent, Connection(agent.url) as connection:
        connection.post(headers=PROTOCOL_1)
        connection.read_head()
        events = connection.events()
        assert next(events).data == 1
        agent.terminate()
        (last,) = events
        assert (last.kind, last.data["error_type"]) == ("error", "DrainingError")
        assert "draining" in last.data["error"]
        assert agent.wait() == 0
        assert agent.heard("closed")


def test_value_beyond_the_grace_is_503_with_retry_after(tmp_path: Path) -> None:
    with agent_process(tmp_path, VALUE, **BRIEF) as agent, Connection(agent.url) as connection:
        connection.post()
        begun(agent)
        agent.terminate()
        answer = connection.read_answer()
        assert (answer.status, answer.json["error_type"]) == (503, "DrainingError")
        assert "retry-after" in answer.headers
        assert agent.wait() == 0


def test_sync_handler_that_never_returns_ends_the_process_with_3(tmp_path: Path) -> None:
    with agent_process(tmp_path, SYNC, **BRIEF) as agent, Connection(agent.url) as connection:
        connection.post()
        begun(agent)
        agent.terminate()
        assert connection.read_answer().status == 503
        assert agent.wait() == 3


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
    with agent_process(tmp_path, program, **BRIEF) as agent, Connection(agent.url) as connection:
        connection.post()
        begun(agent)
        agent.terminate()
        assert connection.read_answer().status == 503
        assert agent.wait() == 3


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
    with agent_process(tmp_path, program, **BRIEF) as agent, Connection(agent.url) as connection:
        connection.post()
        begun(agent)
        agent.terminate()
        assert connection.read_answer().status == 503
        assert agent.wait() == 3


def test_upload_in_progress_is_refused_when_the_drain_begins(tmp_path: Path) -> None:
    with agent_process(tmp_path, VALUE) as agent, Connection(agent.url) as connection:
        connection.send(request({"prompt": "half of it"})[:-5])
        eventually(lambda: get(agent.url, "/ping").status == 200, "it runs")
        agent.terminate()
        answer = connection.read_answer()
        assert (answer.status, answer.json["error_type"]) == (503, "DrainingError")
        assert agent.wait() == 0


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
            assert "is cut: the server ends" in agent.log
            assert "Traceback" not in agent.log  # it was asked for, so it is no failure
            assert "lifespan" not in agent.log


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


def test_slow_reader_does_not_hold_up_the_end(tmp_path: Path) -> None:
    program = """
app = PPIOAgentRuntimeApp()

@app.entrypoint
async def handler(payload):
    for number in range(1_000_000):
        if number == 200:
            say("begun")
        yield "x" * 10_000
"""
    with agent_process(tmp_path, program, **BRIEF) as agent, Connection(agent.url, receive_buffer_bytes=4096) as reader:
        reader.post()
        reader.read_head()
        begun(agent)
        agent.terminate()
        assert agent.wait() == 0


def test_isolated_agent_drains_like_any_other(tmp_path: Path) -> None:
    with agent_process(tmp_path, VALUE, PPIO_AGENT_ISOLATE_HANDLERS="1") as agent, Connection(agent.url) as connection:
        connection.post()
        begun(agent)
        agent.terminate()
        wait_until_draining(agent)
        agent.say("go on")
        assert connection.read_answer().result == "finished"
        assert agent.wait() == 0


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


def test_drain_says_nothing_about_errors_when_all_goes_well(tmp_path: Path) -> None:
    with agent_process(tmp_path, VALUE) as agent, Connection(agent.url) as connection:
        connection.post()
        begun(agent)
        agent.terminate()
        agent.say("go on")
        assert connection.read_answer().result == "finished"
        assert agent.wait() == 0
        assert "ERROR" not in agent.log
        assert "Traceback" not in agent.log
