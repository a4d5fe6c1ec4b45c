"""A process that may open nothing more says so once a minute, and goes on when it may."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.agent_process import agent_process
from tests.support.gates import eventually
from tests.support.raw_http import get, invoke

pytest.importorskip("resource", reason="limits the descriptors of a process")
pytestmark = pytest.mark.contract

AGENT = """
import functools, resource

app = PPIOAgentRuntimeApp()

@app.entrypoint
async def handler(payload):
    return "here"

resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
app.run = functools.partial(app.run, **{options})
"""


@pytest.mark.parametrize("options", [{}, {"loop": "asyncio"}], ids=["default", "asyncio"])
@pytest.mark.slow
def test_lack_of_file_descriptors_is_told_once_and_the_service_goes_on(tmp_path: Path, options: dict[str, str]) -> None:
    with agent_process(tmp_path, AGENT.format(options=options)) as agent:
        address = urlsplit(agent.url)
        with ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(socket.create_connection((address.hostname, address.port)))
            agent.wait_for_log("no file descriptors are left")

        def answers() -> bool:
            try:
                return get(agent.url, "/ping").status == 200
            except OSError:
                return False

        eventually(answers, "there are descriptors again")
        assert invoke(agent.url).result == "here"
        agent.process.terminate()
        assert agent.process.wait(60) == 0
        assert agent.log.count("no file descriptors are left") == 1
        assert "Traceback" not in agent.log
