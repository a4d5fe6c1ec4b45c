"""`dev`: the agent runs here, starts again after a save, tells errors in its own words, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.command_line import CommandLine, Terminal
from tests.support.ports import free_port

PROGRAM = """
import os, subprocess, sys
from pathlib import Path
from ppio_agent_runtime import PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()

@app.entrypoint
def answer(request: dict) -> dict:
    return {"word": "first", "level": os.environ.get("LEVEL")}
"""
WITH_A_CHILD = f"""{PROGRAM}
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path("pids").write_text(f"{{os.getpid()}} {{child.pid}}")
"""


@pytest.fixture
def agent(cli: CommandLine) -> CommandLine:
    (cli.folder / ".ppio-agent.yaml").write_text(
        'metadata: {"name": "a"}\nspec:\n  entrypoint: main.py\n  envVars:\n    LEVEL: manifest\n', encoding="utf-8"
    )
    (cli.folder / "main.py").write_text(PROGRAM, encoding="utf-8")
    return cli


@contextmanager
def developing(cli: CommandLine, port: int) -> Iterator[Terminal]:
    with cli.terminal("dev", "--port", str(port)) as terminal:
        terminal.wait_for("curl -N.*\n")
        yield terminal


def ask(port: int) -> Any:
    return httpx.post(f"http://127.0.0.1:{port}/invocations", json={"prompt": "hi"}).json()["result"]


def wait_until_gone(*pids: int) -> None:
    """Wait for the end of processes that are not ours: each has a directory in /proc until then, or is a zombie."""
    for pid in pids:
        with suppress(ProcessLookupError), os.fdopen(os.pidfd_open(pid)) as watched:
            assert select.select([watched], [], [], 30)[0], f"process {pid} lives on"


def pids_of(cli: CommandLine) -> list[int]:
    return [int(pid) for pid in (cli.folder / "pids").read_text(encoding="utf-8").split()]


@pytest.mark.slow
def test_an_error_is_shown_and_its_repair_runs(agent: CommandLine) -> None:
    port = free_port()
    with developing(agent, port) as terminal:
        assert ask(port) == {"word": "first", "level": "manifest"}
        (agent.folder / "main.py").write_text(PROGRAM.replace("def answer(", "def answer(("), encoding="utf-8")
        terminal.wait_for("Waiting for the next save")
        assert "SyntaxError" in terminal.screen
        assert 'main.py", line 9' in terminal.screen
        (agent.folder / "main.py").write_text(PROGRAM.replace('"first"', '"second"'), encoding="utf-8")
        terminal.wait_for("Running again")
        assert ask(port)["word"] == "second"
        terminal.interrupt()
        assert terminal.end() == 130


@pytest.mark.slow
def test_a_traceback_has_the_frames_of_the_agent_alone(agent: CommandLine) -> None:
    (agent.folder / "helper.py").write_text(
        "import json\n\ndef load():\n    return json.loads('{')\n", encoding="utf-8"
    )
    (agent.folder / "main.py").write_text(f"import helper\nhelper.load()\n{PROGRAM}", encoding="utf-8")
    with agent.terminal("dev", "--port", str(free_port())) as terminal:
        terminal.wait_for("Waiting for the next save")
        frames = re.findall(r'File "(.*?)"', terminal.screen)
        assert [Path(frame).name for frame in frames] == ["main.py", "helper.py"]
        assert "JSONDecodeError" in terminal.screen


@pytest.mark.slow
def test_a_missing_library_is_told_with_the_line_that_installs_it(agent: CommandLine) -> None:
    (agent.folder / "main.py").write_text("import no_such_library\n", encoding="utf-8")
    with agent.terminal("dev", "--port", str(free_port())) as terminal:
        terminal.wait_for("pip install -r requirements.txt")
        terminal.wait_for("Waiting for the next save")


@pytest.mark.slow
def test_a_wrong_manifest_is_told_and_its_repair_runs(agent: CommandLine) -> None:
    port = free_port()
    manifest = agent.folder / ".ppio-agent.yaml"
    with developing(agent, port) as terminal:
        right = manifest.read_text(encoding="utf-8")
        manifest.write_text(right.replace("entrypoint", "entry"), encoding="utf-8")
        terminal.wait_for("spec.entrypoint")
        terminal.wait_for("Waiting for the next save")
        manifest.write_text(right, encoding="utf-8")
        terminal.wait_for("Running again")


@pytest.mark.slow
def test_data_that_the_agent_writes_does_not_start_it_again(agent: CommandLine) -> None:
    port = free_port()
    with developing(agent, port) as terminal:
        (agent.folder / "data.json").write_text("{}", encoding="utf-8")
        (agent.folder / "agent.sqlite").write_text("", encoding="utf-8")
        (agent.folder / "extra.py").write_text("", encoding="utf-8")
        terminal.wait_for("Running again")
        assert "extra.py changed" in terminal.screen
        assert "data.json" not in terminal.screen


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, None)]
)
@pytest.mark.slow
def test_no_process_is_left_behind(agent: CommandLine, number: int, code: int | None) -> None:
    (agent.folder / "main.py").write_text(WITH_A_CHILD, encoding="utf-8")
    with developing(agent, free_port()) as terminal:
        pids = pids_of(agent)
        os.kill(terminal.pid, number)
        assert code is None or terminal.end() == code
        wait_until_gone(*pids)


@pytest.mark.slow
def test_a_save_leaves_no_process_behind(agent: CommandLine) -> None:
    (agent.folder / "main.py").write_text(WITH_A_CHILD, encoding="utf-8")
    with developing(agent, free_port()) as terminal:
        pids = pids_of(agent)
        (agent.folder / "main.py").write_text(PROGRAM, encoding="utf-8")
        terminal.wait_for("Running again")
        wait_until_gone(*pids)


@pytest.mark.slow
def test_a_taken_port_is_told_with_its_holder_and_the_next_one(agent: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = agent.run("dev", "--port", str(port), "--json")
        assert ended.code == 1
        assert f"Port {port} is in use by" in ended.error["message"]
        assert f"(pid {os.getpid()})" in ended.error["message"]
        assert "--port" in ended.error["hint"]
        with agent.terminal("dev", "--port", str(port)) as terminal:
            terminal.wait_for(r"Use (\d+)\? \(y/n\) \[y\]: ")
            terminal.type("")
            terminal.wait_for("curl -N.*\n")


def test_a_folder_without_an_agent_is_a_usage_error(cli: CommandLine) -> None:
    ended = cli.run("dev")
    assert ended.code == 2
    assert "ppio-agent init" in ended.err


def test_an_environment_without_the_runtime_is_told_the_line_that_installs_it(agent: CommandLine) -> None:
    python = agent.folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {shutil.which(sys.executable)} -I -S "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    ended = agent.run("dev")
    assert ended.code == 2
    assert f"{python} -m pip install ppio-agent-runtime" in ended.err
