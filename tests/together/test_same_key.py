"""A key and a session named by two processes: one run, also in the example that the page gives."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ppio_agent_client import SyncAgentRuntimeClient
from tests.support.processes import serving
from tests.support.snippets import snippets

pytestmark = pytest.mark.contract

DOCS = Path(__file__).parents[2] / "docs"
AGENT = """
from ppio_agent_runtime import PPIOAgentRuntimeApp, RequestContext

app = PPIOAgentRuntimeApp()
runs = []

@app.entrypoint
def agent(payload: dict, context: RequestContext):
    if payload.get("prompt") == "runs":
        return [len(runs), *sorted({str(run) for run in runs})]
    runs.append((context.session_id, context.user_id, context.headers.get("x-tenant")))
    return runs[-1]
"""
WORKER = """
import sys
from ppio_agent_client import SyncAgentRuntimeClient

with SyncAgentRuntimeClient() as client:
    session = client.attach(sys.argv[1], session_id="orders", user_id="ada", headers={"X-Tenant": "a"})
    print(session.submit({"order": 1}, idempotency_key="order-1").result(timeout=60).result)
"""


def runs_at(url: str) -> list[object]:
    with SyncAgentRuntimeClient() as client:
        found: list[object] = client.attach(url).invoke("runs").result
        return found


def twice(*command: str, **environment: str) -> list[subprocess.CompletedProcess[str]]:
    def run(_: int) -> subprocess.CompletedProcess[str]:
        variables = {"PATH": "/usr/bin:/bin", **environment}
        return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=variables, check=False)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, range(2)))


@pytest.mark.slow
def test_one_key_from_two_processes_at_once_is_one_run(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(AGENT)
    with serving("-m", "ppio_agent_runtime", "main.py", folder=tmp_path) as url:
        done = twice("-c", WORKER, url)
        assert [each.stdout for each in done] == ["['orders', 'ada', 'a']\n"] * 2, done
        assert runs_at(url) == [1, "('orders', 'ada', 'a')"]


@pytest.mark.slow
def test_the_example_of_the_page_that_runs_twice_is_one_run(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(AGENT)
    (example,) = (each for each in snippets(DOCS / "client.md") if each.file == "long_work.py")
    with serving("-m", "ppio_agent_runtime", "main.py", folder=tmp_path) as url:
        done = twice("-c", example.text, AGENT_URL=url)
        assert [each.returncode for each in done] == [0, 0], done
        assert runs_at(url)[0] == 1
