"""What handlers leave behind: child processes have nothing of the server, and nothing keeps the agent from ending."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.agent_process import agent_process
from tests.support.raw_http import LIMIT_SECONDS, Connection, invoke

FORKING = """
import signal

app = PPIOAgentRuntimeApp()

@app.entrypoint
{kind} handler(payload):
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        left = [signal.getsignal(signal.SIGTERM) == signal.SIG_DFL]
        left += [signal.getsignal(signal.SIGINT) == signal.default_int_handler]
        os.write(tell, str(left).encode())
        while True:
            signal.pause()
    return [child, os.read(told, 100).decode()]
"""
LEAVING = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

app = PPIOAgentRuntimeApp()
FORK = multiprocessing.get_context("fork")

@app.entrypoint
async def handler(payload):
    global kept
    kept = {leaves}
"""
LEAVE = {
    "a process": "FORK.Process(target=time.sleep, args=[600]).start()",
    "a process that was told to stay": "FORK.Process(target=stay).start()",
    "a pool of processes": "(pool := ProcessPoolExecutor(1, FORK), pool.submit(time.sleep, 600))",
    "a thread": "threading.Thread(target=time.sleep, args=[600]).start()",
    "a pool of threads": "(pool := ThreadPoolExecutor(1), pool.submit(time.sleep, 600))",
}
STAY = """
def stay():
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
"""


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_forked_child_has_neither_signal_handlers_nor_sockets_of_the_server(tmp_path: Path, kind: str) -> None:
    program = FORKING.replace("{kind}", kind)
    with agent_process(tmp_path, program, PYTHONWARNINGS="default") as agent, Connection(agent.url) as caller:
        caller.post(headers={"Connection": "close"})
        child, defaults = caller.read_answer().result
        try:
            assert defaults == "[True, True]"
            assert caller.read_to_the_end() == b""
            agent.terminate()
            assert agent.process.wait(LIMIT_SECONDS) == 0
            with socket.socket() as again:
                assert again.connect_ex(("127.0.0.1", urlsplit(agent.url).port)) != 0
        finally:
            os.kill(child, signal.SIGTERM)
            agent.wait()  # for the end of its log, which the child has too


@pytest.mark.parametrize("leaves", LEAVE.values(), ids=LEAVE)
@pytest.mark.slow
def test_nothing_that_a_handler_leaves_keeps_the_agent_from_ending(tmp_path: Path, leaves: str) -> None:
    program = STAY + LEAVING.replace("{leaves}", leaves)
    with agent_process(tmp_path, program, PYTHONWARNINGS="default") as agent:
        invoke(agent.url)
        agent.terminate()
        assert agent.wait() == (3 if "hread" in leaves else 0)
    assert ("are terminated" if "FORK" in leaves else "without them") in agent.log


@pytest.mark.slow
def test_what_the_program_does_at_its_end_has_its_time(tmp_path: Path) -> None:
    program = """
import atexit
from concurrent.futures import ThreadPoolExecutor

atexit.register(lambda: (time.sleep(3), say("done")))
app = PPIOAgentRuntimeApp()

@app.entrypoint
async def handler(payload):
    global pool
    pool = ThreadPoolExecutor(1)
    pool.submit(time.sleep, 1)
"""
    with agent_process(tmp_path, program) as agent:
        invoke(agent.url)
        agent.terminate()
        assert agent.wait() == 0
        assert agent.heard("done")
