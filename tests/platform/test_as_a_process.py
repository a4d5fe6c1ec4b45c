"""The emulator as a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.agents import write_agent
from tests.support.gates import eventually
from tests.support.platform import API_KEY
from tests.support.platform.processes import living
from tests.support.processes import environment


@pytest.mark.slow
def test_it_prints_where_it_listens_and_leaves_nothing_when_it_is_told_to_end(tmp_path: Path) -> None:
    source = write_agent(tmp_path / "agent", "worker")
    arguments = [sys.executable, "-m", "tests.support.platform", "--template", f"t-1={source}", "--pair", "ak:secret"]
    folder = tmp_path / "temporary"
    folder.mkdir()
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(TMPDIR=str(folder))
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        found = re.fullmatch(r"listens on (http://\S+)\n", process.stdout.readline())
        assert found
        with httpx.Client(base_url=found[1], headers={"X-API-KEY": API_KEY}) as client:
            made = client.post("/sandboxes", json={"templateID": "t-1", "timeout": 100}).json()
            headers = {"PPIO-Sandbox-Id": made["sandboxID"], "PPIO-Sandbox-Port": "49983"}
            message = b'{"process": {"cmd": "/bin/bash", "args": ["-c", "exec sleep 3600"]}}'
            with client.stream(
                "POST",
                "/process.Process/Start",
                content=b"\0" + len(message).to_bytes(4) + message,
                headers=headers | {"Content-Type": "application/connect+json"},
            ) as answer:
                next(answer.iter_raw())
        (pid,) = living(made["sandboxID"])
        process.terminate()
        assert (process.wait(), process.stderr.read()) == (0, "")

    eventually(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the process in the sandbox")
    assert list(folder.iterdir()) == []
