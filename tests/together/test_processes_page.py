"""docs/processes.md: its unit is what systemd takes and starts an agent that drains; its workers run nothing twice."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ppio_agent_client import ClientConfig, SyncAgentRuntimeClient
from tests.support.gates import eventually
from tests.support.processes import environment
from tests.support.raw_http import get, invoke
from tests.support.replicas import free_port, listens

pytestmark = pytest.mark.contract

PAGE = Path(__file__).resolve().parents[2] / "docs" / "processes.md"
PYTHON = "/opt/weather/.venv/bin/python"
AGENT = """
import os
from ppio_agent_runtime import PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()

@app.entrypoint
async def work(payload):
    with open("runs", "a") as runs:
        runs.write(payload["call"] + "\\n")
    return os.getpid()
"""


def unit() -> str:
    text: str
    (text,) = re.findall(r"^```ini\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert PYTHON in text
    return text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    (tmp_path / "weather.service").write_text(unit().replace(PYTHON, sys.executable))
    checked = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "weather.service"], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_what_the_unit_starts_drains_within_its_time(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(AGENT)
    settings = dict(re.findall(r"^Environment=(\w+)=(.*)$", unit(), re.MULTILINE))
    port, grace = free_port(), float(settings["PPIO_AGENT_SHUTDOWN_GRACE_SECONDS"])
    (command,) = re.findall(r"^ExecStart=(.*)$", unit(), re.MULTILINE)
    (limit,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit(), re.MULTILINE)
    process = subprocess.Popen(
        shlex.split(command.replace(PYTHON, sys.executable)),
        cwd=tmp_path,
        env=environment(**settings | {"PPIO_AGENT_PORT": str(port)}),
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: listens(port), "the agent listens")
        assert invoke(f"http://127.0.0.1:{port}", {"call": "1"}).result == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()
    assert float(limit) > grace + 5


@pytest.mark.slow
def test_workers_run_nothing_twice_and_are_instances_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(AGENT)
    (command,) = re.findall(r"^\$ uvicorn (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    port, calls = free_port(), [str(number) for number in range(60)]
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", *shlex.split(command), "--host", "127.0.0.1", "--port", str(port)],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: listens(port), "the workers listen")
        instances: set[str] = set()

        def all_seen() -> bool:
            instances.add(get(url, "/ping").headers["ppio-agent-instance"])
            return len(instances) > 1

        eventually(all_seen, "a second worker answers")
        with SyncAgentRuntimeClient(config=ClientConfig(max_idle_connections=0)) as client:
            session = client.attach(url)
            workers = {session.invoke({"call": call}).result for call in calls}
        assert process.pid not in workers
        process.terminate()
        assert process.wait() == 0
    finally:
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
        process.wait()
    assert sorted((tmp_path / "runs").read_text().split()) == sorted(calls)
