"""An async handler that blocks its event loop is named; an idle service does nothing at all."""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
from pathlib import Path

import pytest

from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.agent_process import agent_process
from tests.support.gates import Gate, eventually, opening
from tests.support.raw_http import Connection, get, invoke


@pytest.mark.contract
@pytest.mark.slow
def test_blocking_async_handler_is_named_with_its_file_and_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = PPIOAgentRuntimeApp()
    line = 0
    ours, theirs = socket.socketpair()

    def answer_when_warned() -> None:
        eventually(lambda: any("blocks the event loop" in record.getMessage() for record in list(caplog.records)), "it")
        theirs.sendall(b"line\n")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> None:
        nonlocal line
        with ours.makefile("rb") as reader:
            frame = inspect.currentframe()
            assert frame is not None
            line = frame.f_lineno + 1
            reader.readline()  # ends up in socket.py

    with ours, theirs, running(app) as url:
        helper = threading.Thread(target=answer_when_warned)
        helper.start()
        invoke(url)
        helper.join()
    (record,) = [record for record in caplog.records if "blocks the event loop" in record.getMessage()]
    assert f"{__file__}:{line} in handler" in record.getMessage()


@pytest.mark.contract
def test_async_handler_that_only_waits_is_not_named(caplog: pytest.LogCaptureFixture) -> None:
    app, go_on = PPIOAgentRuntimeApp(), Gate("go on")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> None:
        await asyncio.sleep(0.5)

    with opening(go_on), running(app) as url:
        invoke(url)
    assert not [record for record in caplog.records if "blocks the event loop" in record.getMessage()]


@pytest.mark.slow
def test_watchdog_wakes_up_again_after_a_silence(caplog: pytest.LogCaptureFixture) -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> None:
        if payload.get("block"):
            eventually(
                lambda: any("blocks the event loop" in record.getMessage() for record in list(caplog.records)), "it"
            )

    with running(app) as url:
        invoke(url)
        eventually(lambda: app._services.invocations._watchdog._asleep, "the watchdog sleeps")
        invoke(url, {"block": True})
    assert any("blocks the event loop" in record.getMessage() for record in caplog.records)


@pytest.mark.contract
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads how often threads wake up from /proc")
def test_threads_of_an_idle_service_sleep(tmp_path: Path) -> None:
    program = """
app = PPIOAgentRuntimeApp()

@app.entrypoint
def handler(payload):
    return None
"""
    with agent_process(tmp_path, program) as agent:
        with Connection(agent.url) as connection:
            connection.post()
            connection.read_answer()
        assert get(agent.url, "/ping").status == 200
        tasks = Path(f"/proc/{agent.process.pid}/task")

        def wake_ups() -> dict[str, str]:
            found = {}
            for task in tasks.iterdir():
                if task.name != str(agent.process.pid):  # the main thread is uvicorn's own
                    status = (task / "status").read_text()
                    found[task.name] = next(line for line in status.splitlines() if line.startswith("voluntary_ctxt"))
            return found

        quiet = 0
        before = wake_ups()

        def has_been_quiet() -> bool:
            nonlocal before, quiet
            now = wake_ups()
            quiet = quiet + 1 if now == before else 0
            before = now
            return quiet > 100  # looks, a hundredth of a second apart

        assert before
        eventually(has_been_quiet, "nothing but uvicorn's own loop wakes up")
