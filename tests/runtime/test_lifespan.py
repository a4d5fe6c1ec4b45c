"""Startup and shutdown of an agent, around everything that it serves; and one app that is served again and again."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.agent_process import agent_process
from tests.support.gates import Gate, aside, eventually, opening
from tests.support.raw_http import Connection, get, invoke

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("isolated", [False, True], ids=["one loop", "isolated"])
def test_lifespan_and_handlers_share_one_event_loop(isolated: bool) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    @asynccontextmanager
    async def lifespan(app: PPIOAgentRuntimeApp) -> AsyncIterator[None]:
        loops.append(asyncio.get_running_loop())
        yield
        loops.append(asyncio.get_running_loop())

    app = PPIOAgentRuntimeApp(AgentConfig(isolate_handlers=isolated), lifespan=lifespan)

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[int]:
        loops.append(asyncio.get_running_loop())
        yield 1

    with running(app) as url:
        invoke(url)
    assert len(loops) == 3
    assert len(set(loops)) == 1


def test_handlers_see_what_the_startup_made_and_the_shutdown_comes_last() -> None:
    order: list[str] = []

    @asynccontextmanager
    async def lifespan(app: PPIOAgentRuntimeApp) -> AsyncIterator[None]:
        order.append("startup")
        yield
        order.append("shutdown")

    app = PPIOAgentRuntimeApp(lifespan=lifespan)

    @app.entrypoint
    def handler(payload: dict[str, object]) -> None:
        order.append("handler")

    with running(app) as url:
        invoke(url)
    assert order == ["startup", "handler", "shutdown"]


def test_request_that_arrives_before_the_startup_is_complete_waits_for_it() -> None:
    go_on, starting = Gate("go on"), Gate("starting")

    @asynccontextmanager
    async def lifespan(app: PPIOAgentRuntimeApp) -> AsyncIterator[None]:
        starting.open()
        await go_on.passed()
        yield

    app = PPIOAgentRuntimeApp(lifespan=lifespan)

    @app.entrypoint
    def handler(payload: dict[str, object]) -> bool:
        return go_on.is_open

    with opening(go_on), running(app) as url, Connection(url) as connection:
        starting.wait()
        connection.post()
        go_on.open()
        assert connection.read_answer().result is True


def test_failing_startup_ends_the_process_with_1_and_the_reason(tmp_path: Path) -> None:
    program = """
@contextlib.asynccontextmanager
async def lifespan(app):
    raise ValueError("no such database")
    yield

app = PPIOAgentRuntimeApp(lifespan=lifespan)

@app.entrypoint
async def handler(payload):
    return None
"""
    with agent_process(tmp_path, program) as agent:
        assert agent.wait() == 1
        assert "ValueError: no such database" in agent.log


def test_startup_that_calls_sys_exit_ends_the_process_with_1(tmp_path: Path) -> None:
    program = """
@contextlib.asynccontextmanager
async def lifespan(app):
    sys.exit("DATABASE_URL is not set")
    yield

app = PPIOAgentRuntimeApp(lifespan=lifespan)

@app.entrypoint
async def handler(payload):
    return None
"""
    with agent_process(tmp_path, program) as agent:
        assert agent.wait() == 1
        assert "DATABASE_URL is not set" in agent.log


def test_failing_startup_is_an_error_of_running_and_hangs_up_on_who_waited() -> None:
    @asynccontextmanager
    async def lifespan(app: PPIOAgentRuntimeApp) -> AsyncIterator[None]:
        raise ValueError("no such database")
        yield

    app = PPIOAgentRuntimeApp(lifespan=lifespan)

    @app.entrypoint
    def handler(payload: dict[str, object]) -> None: ...

    def wait_in_vain() -> None:
        with running(app) as url, suppress(ConnectionError), Connection(url) as connection:
            connection.post()
            assert connection.read_to_the_end() == b""

    with pytest.raises(RuntimeError, match="lifespan failed"):
        wait_in_vain()


def test_app_can_be_served_again_and_again() -> None:
    lives: list[str] = []

    @asynccontextmanager
    async def lifespan(app: PPIOAgentRuntimeApp) -> AsyncIterator[None]:
        lives.append("up")
        yield
        lives.append("down")

    app = PPIOAgentRuntimeApp(lifespan=lifespan)

    @app.entrypoint
    def handler(payload: dict[str, object]) -> str:
        return "here"

    for _ in range(3):
        with running(app) as url:
            assert invoke(url).result == "here"
            assert get(url, "/ping").json["status"] == "Healthy"
    assert lives == ["up", "down"] * 3


def test_server_that_is_left_at_once_ends_as_well() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def handler(payload: dict[str, object]) -> None: ...

    def come_and_go() -> None:
        with running(app):
            pass

    for _ in range(10):
        aside(come_and_go).result(60)


@pytest.mark.parametrize("isolated", [False, True], ids=["one loop", "isolated"])
@pytest.mark.slow
def test_server_that_ended_leaves_no_thread_and_no_open_socket(isolated: bool) -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(isolate_handlers=isolated))

    @app.entrypoint
    def handler(payload: dict[str, object]) -> str:
        return "here"

    @app.ping
    def ping() -> str:
        return "ok"

    before = set(threading.enumerate())
    with running(app) as url:
        assert invoke(url).result == "here"
        get(url, "/ping")
    eventually(lambda: not set(threading.enumerate()) - before, "all threads ended")
    with pytest.raises(ConnectionRefusedError):
        Connection(url)
    gc.collect()  # an unclosed socket or loop would warn here, and warnings are errors
