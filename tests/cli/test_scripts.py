"""Entrypoints that serve by themselves: run as programs, wherever agents run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ppio_agent_models._entrypoint import serves_by_itself
from tests.support.command_line import CommandLine
from tests.support.ports import free_port
from tests.support.scripts import ON_PORT, SERVER

from .agents import write_agent

ON_8080 = 'if __name__ == "__main__":\n    HTTPServer(("0.0.0.0", 8080), Handler).serve_forever()\n'
WITH_UVICORN = """
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

async def ping(request):
    return JSONResponse({"status": "Healthy"})

async def invocations(request):
    return JSONResponse({"asked": await request.json()})

app = Starlette(routes=[Route("/ping", ping), Route("/invocations", invocations, methods=["POST"])])
uvicorn.run(app, host="0.0.0.0", port=8080, log_level="warning")
"""
WITH_THE_VENDORS_RUNTIME = """
from ppio_sandbox.agent_runtime import AgentRuntimeApp

app = AgentRuntimeApp()

@app.entrypoint
def answer(request):
    return {"asked": request}

if __name__ == "__main__":
    app.run()
"""
PROGRAMS = {
    "its port from PORT": SERVER + ON_PORT,
    "the platform's port": SERVER + ON_8080,
    "uvicorn": WITH_UVICORN,
    "the vendor's runtime": WITH_THE_VENDORS_RUNTIME,
}


@pytest.fixture
def folder(cli: CommandLine) -> Path:
    return write_agent(cli.folder, name="script", main=SERVER + ON_PORT)


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
@pytest.mark.slow
def test_a_script_runs_in_a_local_sandbox(cli: CommandLine, folder: Path, program: str) -> None:
    (folder / "main.py").write_text(program)
    ended = cli.run("invoke", "--local", "--input", "hello")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["asked"] == {"prompt": "hello"}


@pytest.mark.slow
def test_a_script_is_told_where_to_listen_and_is_the_main_program(cli: CommandLine, folder: Path) -> None:
    told = json.loads(cli.run("invoke", "--local", "--input", "hello").out)
    port, same, host = told["places"]
    assert (port == same, int(port) >= 20000, host) == (True, True, "127.0.0.1")
    assert (told["name"], told["arguments"]) == ("__main__", ["main.py"])


@pytest.mark.slow
def test_a_script_is_deployed_validated_and_looked_at(cli: CommandLine, folder: Path) -> None:
    (folder / "requirements.txt").write_text("httpx\n")
    assert cli.run("deploy", "--local").code == 0
    assert "asked" in cli.run("invoke", "--local", "--template-id", "script", "--input", "hello").out
    checked = cli.run("validate", "--json")
    assert {one["check"] for one in checked.document["findings"]} <= {"schema", "dockerfile"}
    doctor = cli.run("doctor", "--json", PIP_NO_INDEX="1", PPIO_API_URL=f"http://127.0.0.1:{free_port()}").document
    [start] = [one["value"] for one in doctor["checks"] if one["name"] == "start"]
    assert start == "a script that serves by itself"


def test_a_script_is_started_at_build_time_with_its_port(cli: CommandLine, folder: Path) -> None:
    plan = cli.run("deploy", "--dry-run", "--prestart", "--json", PPIO_API_KEY="k").document
    assert plan["start_command"].startswith("cd /app && PORT=8080 PPIO_AGENT_PORT=8080")
    assert plan["start_command"].endswith("exec python ./main.py")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal")
@pytest.mark.slow
def test_dev_runs_a_script(cli: CommandLine, folder: Path) -> None:
    (folder / "main.py").write_text(SERVER + ON_8080)
    port = free_port()
    with cli.terminal("dev", "--port", str(port)) as terminal:
        terminal.wait_for("curl -N.*\n")
        asked = cli.run("invoke", "--url", f"http://127.0.0.1:{port}", "--input", "hello")
        terminal.interrupt()
        terminal.end()
    assert json.loads(asked.out)["places"] == [str(port), str(port), "127.0.0.1"]


def test_the_runtime_runs_a_file_that_makes_no_app(tmp_path: Path) -> None:
    program = 'import os, ppio_agent_runtime\nif __name__ == "__main__":\n    print(os.environ["PORT"], flush=True)\n'
    (tmp_path / "main.py").write_text(program)
    command = [sys.executable, "-m", "ppio_agent_runtime", "main.py", "--port", "4711"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "4711\n"
    (tmp_path / "main.py").write_text("import ppio_agent_runtime\n")
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, "defines no PPIOAgentRuntimeApp" in ran.stderr) == (1, True)


@pytest.mark.slow
def test_what_an_agent_said_is_in_the_error_of_a_start_that_takes_too_long(cli: CommandLine, folder: Path) -> None:
    (folder / "main.py").write_text("import signal\nprint('reading the model', flush=True)\nsignal.pause()\n")
    manifest = folder / ".ppio-agent.yaml"
    manifest.write_text(manifest.read_text().replace("timeout: 60", "timeout: 3"))
    ended = cli.run("invoke", "--local", "--input", "hello")
    assert ended.code == 5
    assert "its last output:\nreading the model" in ended.err


@pytest.mark.parametrize(
    ("source", "is_one"),
    [
        *((program, True) for program in PROGRAMS.values()),
        ("import asyncio\nasync def main(): ...\nasyncio.run(main())\n", True),
        ("with open('x') as f:\n    app.run()\n", True),
        ("try:\n    serve()\nfinally:\n    pass\n", True),
        ("import other\n@other.app.entrypoint\ndef f(x):\n    return other.agent.run(x)\n", False),
        ("from ppio_agent_runtime import run_agent\nrun_agent(x)\n", False),
        ("print('hello')\n", False),
        ("def f(:\n", False),
        ("\0", False),
        ("", False),
    ],
)
def test_what_is_a_script_can_be_seen_without_running_it(source: str, is_one: bool) -> None:
    assert serves_by_itself(source.encode()) is is_one
