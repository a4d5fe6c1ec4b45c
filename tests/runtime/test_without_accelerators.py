"""Where there is no uvloop, asyncio's own loop serves as promptly; without httptools uvicorn's protocol does."""

from __future__ import annotations

import pytest

from tests.support.processes import run_to_the_end

pytestmark = pytest.mark.contract

AGENT = """
import sys

sys.modules["uvloop"] = None

import gc, socket
from http.client import HTTPConnection
from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running

app = PPIOAgentRuntimeApp()

@app.entrypoint
def handler(payload: dict):
    open_ones = [each for each in gc.get_objects() if isinstance(each, socket.socket) and each.fileno() >= 0]
    ours = [each for each in open_ones if each.family == socket.AF_INET and each.getsockname()[1] == port]
    return [each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for each in ours]

with running(app) as url:
    port = int(url.rpartition(":")[2])
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/invocations", "{}", {"Content-Type": "application/json"})
    print(connection.getresponse().read().decode())
"""


def test_small_answers_are_sent_at_once() -> None:
    finished = run_to_the_end("-c", AGENT)

    assert finished.returncode == 0, finished.stderr
    assert '"result":[1,1]' in finished.stdout.replace(" ", "")  # the listening socket and the caller's


def test_without_httptools_uvicorns_own_protocol_answers() -> None:
    finished = run_to_the_end("-c", AGENT.replace('"uvloop"', '"httptools"'))

    assert finished.returncode == 0, finished.stderr
    assert '"status":"success"' in finished.stdout.replace(" ", "")
