"""`dev` tells each request in one line, failures in the agent's own frames, and lets streams end before a reload."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.command_line import CommandLine, Terminal
from tests.support.ports import free_port

PROGRAM = """
import asyncio, json, logging, os, time
from pathlib import Path
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp

logging.basicConfig(level=logging.DEBUG)
app = PPIOAgentRuntimeApp(AgentConfig(protocols=["ag-ui", "openai", "vercel"]))

def load(text):
    return json.loads(text)

@app.entrypoint
async def answer(request: dict):
    prompt = request.get("prompt", "")
    print("asked", prompt)
    logging.getLogger("mine").debug("a line of mine")
    if prompt == "fail":
        load("{")
    if prompt == "hold":
        yield "held"
        while not Path("go").exists():
            await asyncio.sleep(0.01)
    if prompt == "forever":
        yield "begun"
        await asyncio.sleep(600)
    yield "one"
    yield "two"
    if prompt == "fail late":
        load("{")
"""


@pytest.fixture
def agent(cli: CommandLine) -> CommandLine:
    (cli.folder / ".ppio-agent.yaml").write_text("metadata: {name: a}\nspec: {entrypoint: main.py}\n", encoding="utf-8")
    (cli.folder / "main.py").write_text(PROGRAM, encoding="utf-8")
    return cli


@contextmanager
def developing(cli: CommandLine, port: int, *options: str, **variables: str) -> Iterator[Terminal]:
    with cli.terminal("dev", "--port", str(port), *options, **{"COLUMNS": "120"} | variables) as terminal:
        terminal.wait_for("vercel: .*\n")
        yield terminal


def ask(port: int, prompt: str, **headers: str) -> httpx.Response:
    url = f"http://127.0.0.1:{port}/invocations"
    return httpx.post(url, json={"prompt": prompt}, headers={name.replace("_", "-"): v for name, v in headers.items()})


@pytest.mark.slow
def test_each_request_is_one_line(agent: CommandLine) -> None:
    port = free_port()
    with developing(agent, port) as terminal:
        ask(port, "hi", X_PPIO_Session_Id="oslo-trip")
        terminal.wait_for(
            r"\d\d:\d\d:\d\d POST /invocations stream 200  oslo-trip  first [\d.]+ m?s  [\d.]+ m?s  2 chunks\r\n"
        )
        ask(port, "hi", Accept="application/json")
        terminal.wait_for(r"POST /invocations json 200  -  [\d.]+ m?s\r\n")
        httpx.post(f"http://127.0.0.1:{port}/invocations", content="{", headers={"Content-Type": "application/json"})
        terminal.wait_for(r"POST /invocations json 400  -  [\d.]+ m?s\x1b\[0m\r\n")
        httpx.get(f"http://127.0.0.1:{port}/ping")
        httpx.get(f"http://127.0.0.1:{port}/nowhere")
        terminal.wait_for(r"GET /nowhere json 404")
        assert "/ping" not in terminal.screen


@pytest.mark.slow
def test_a_narrow_terminal_gets_two_lines_that_fit(agent: CommandLine) -> None:
    port = free_port()
    with developing(agent, port, COLUMNS="40") as terminal:
        shown = len(terminal.screen)
        ask(port, "hi", X_PPIO_Session_Id="a-session-with-a-long-name")
        terminal.wait_for("2 chunks\r\n")
        told = terminal.screen[shown:].split("a line of mine\n")[1].splitlines()
        assert len(told) == 2
        assert max(map(len, told)) <= 40


@pytest.mark.slow
def test_what_the_agent_writes_is_shown_and_what_libraries_write_below_a_warning_is_not(agent: CommandLine) -> None:
    port = free_port()
    with developing(agent, port) as terminal:
        ask(port, "hi")
        terminal.wait_for("2 chunks")
        assert "asked hi" in terminal.screen
        assert "a line of mine" in terminal.screen
        assert "ppio_agent_runtime:" not in terminal.screen


@pytest.mark.slow
def test_verbose_shows_what_libraries_write_too(agent: CommandLine) -> None:
    port = free_port()
    with developing(agent, port, "-v") as terminal:
        ask(port, "fail")
        terminal.wait_for("json 500")
        assert "INFO:ppio_agent_runtime:main.answer listens" in terminal.screen
        assert len(re.findall(r'File "(.*?)"', terminal.screen)) > 3


@pytest.mark.slow
def test_a_failure_has_the_frames_of_the_agent_with_their_lines(agent: CommandLine) -> None:
    port = free_port()
    with developing(agent, port) as terminal:
        ask(port, "fail")
        terminal.wait_for(r"POST /invocations json 500")
        frames = re.findall(r'File ".*/(\S+)", line \d+, in (\w+)\s+(.*)', terminal.screen)
        assert [(file, function, line.strip()) for file, function, line in frames] == [
            ("main.py", "answer", 'load("{")'),
            ("main.py", "load", "return json.loads(text)"),
        ]
        assert re.search(r"… \d+ frames of libraries", terminal.screen)
        assert "JSONDecodeError: Expecting property name" in terminal.screen


@pytest.mark.slow
def test_a_stream_that_fails_late_and_one_whose_caller_leaves_are_told_apart(agent: CommandLine) -> None:
    port = free_port()
    with developing(agent, port) as terminal:
        ask(port, "fail late", PPIO_Agent_Protocol="1")
        terminal.wait_for(r"stream 200  -  first .* 2 chunks  failed")
        url = f"http://127.0.0.1:{port}/invocations"
        with httpx.stream("POST", url, json={"prompt": "forever"}) as answer:
            next(answer.iter_bytes())
        terminal.wait_for(r"stream 200  -  first .* 1 chunk  caller left")


@pytest.mark.slow
def test_a_stream_ends_before_a_save_starts_the_agent_again(agent: CommandLine) -> None:
    port = free_port()
    with developing(agent, port) as terminal:
        held = threading.Thread(target=lambda: whole.append(ask(port, "hold")))
        whole: list[httpx.Response] = []
        held.start()
        terminal.wait_for("asked hold")
        (agent.folder / "main.py").write_text(PROGRAM.replace('"two"', '"three"'), encoding="utf-8")
        terminal.wait_for(r"main.py changed")
        (agent.folder / "go").touch()
        held.join()
        assert '"two"' in whole[0].text
        terminal.wait_for("Running again")
        assert '"three"' in ask(port, "hi").text


@pytest.mark.slow
def test_a_stream_without_end_does_not_keep_a_save_waiting(agent: CommandLine) -> None:
    port = free_port()
    with developing(agent, port) as terminal:
        url = f"http://127.0.0.1:{port}/invocations"
        with httpx.stream("POST", url, json={"prompt": "forever"}, timeout=60) as answer:
            lines = answer.iter_lines()
            assert next(lines) == 'data: "begun"'
            (agent.folder / "main.py").write_text(PROGRAM + "\n", encoding="utf-8")
            assert "DrainingError" in "".join(lines)
        terminal.wait_for("Running again")


@pytest.mark.slow
def test_the_lines_to_try_protocols_work_as_they_are_printed(agent: CommandLine) -> None:
    port = free_port()
    with developing(agent, port) as terminal:
        lines = terminal.screen.splitlines()
        commands = [line.partition("curl")[2] for line in lines if "curl" in line]
        assert len(commands) == 4
        for command in commands:
            ended = subprocess.run(
                ["curl", "-sS", "--fail-with-body", *shlex.split(command)], check=False, capture_output=True, text=True
            )
            assert ended.returncode == 0, ended.stdout + ended.stderr
            assert "two" in ended.stdout


@pytest.mark.slow
def test_the_page_is_opened_when_it_is_wanted(agent: CommandLine) -> None:
    program = f"{PROGRAM}\nfrom starlette.responses import HTMLResponse\napp.get('/')(lambda: HTMLResponse('a page'))\n"
    (agent.folder / "main.py").write_text(program, encoding="utf-8")
    browser = agent.folder / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {agent.folder}/opened\n', encoding="utf-8")
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    port = free_port()
    with developing(agent, port, "--open", BROWSER=f"{browser} %s") as terminal:
        assert f"http://127.0.0.1:{port}/" in terminal.screen
        terminal.press("o")
        terminal.press("q")
        assert terminal.end() == 0
    assert (agent.folder / "opened").read_text(encoding="utf-8").split() == [f"http://127.0.0.1:{port}/"] * 2
    with developing(agent, port, "--open", BROWSER=f"{browser} %s", CI="true") as terminal:
        terminal.press("q")
        assert terminal.end() == 0
    assert len((agent.folder / "opened").read_text(encoding="utf-8").split()) == 2


@pytest.mark.slow
def test_keys_start_again_and_quit_and_leave_the_terminal_as_it_was(agent: CommandLine) -> None:
    with developing(agent, free_port()) as terminal:
        assert not terminal.shows_typing()
        terminal.press("r")
        terminal.wait_for("Running again")
        terminal.press("q")
        terminal.wait_for("Stopped")
        assert terminal.shows_typing()
        assert terminal.end() == 0


@pytest.mark.slow
def test_without_a_terminal_there_are_no_keys_and_no_box(agent: CommandLine) -> None:
    port = free_port()
    process = agent.start("dev", "--port", str(port), stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stderr is not None
    with process, process.stdin as keys, process.stderr as lines:
        assert next(lines) == f"a is running at http://127.0.0.1:{port}\n"
        keys.write("q")
        keys.flush()
        while not next(lines).startswith("vercel"):
            pass
        ask(port, "hi")
        while (line := next(lines)).startswith(("asked", "DEBUG")):
            pass
        assert "POST /invocations stream 200" in line
        assert "\x1b" not in line
        process.terminate()
        assert process.wait(60) == 143


@pytest.mark.slow
def test_a_program_is_told_requests_in_lines_of_json(agent: CommandLine) -> None:
    port = free_port()
    process = agent.start("dev", "--json", "--port", str(port))
    assert process.stdout is not None
    with process, process.stdout as lines:
        ready = json.loads(lines.readline())
        assert (ready["event"], ready["url"]) == ("ready", f"http://127.0.0.1:{port}")
        assert ready["protocols"] == {"ag-ui": "/ag-ui", "openai": "/v1", "vercel": "/api/chat"}
        ask(port, "hi", X_PPIO_Session_Id="%E5%8C%97")
        told = json.loads(lines.readline())
        assert told["duration_seconds"] >= told["first_seconds"]
        assert told | {"duration_seconds": 0, "first_seconds": 0} == {
            "event": "request",
            "method": "POST",
            "path": "/invocations",
            "form": "stream",
            "session_id": "北",
            "status": 200,
            "first_seconds": 0,
            "duration_seconds": 0,
            "chunks": 2,
            "outcome": "whole",
        }
        os.kill(process.pid, 15)
        assert process.wait(60) == 143


def test_an_agent_that_is_no_app_of_ours_is_not_disturbed(cli: CommandLine) -> None:
    (cli.folder / ".ppio-agent.yaml").write_text("metadata: {name: a}\nspec: {entrypoint: main.py}\n", encoding="utf-8")
    (cli.folder / "main.py").write_text(
        "import os\nfrom http.server import *\nprint('served by itself')\n"
        "place = os.environ['PPIO_AGENT_HOST'], int(os.environ['PORT'])\n"
        "HTTPServer(place, SimpleHTTPRequestHandler).serve_forever()\n",
        encoding="utf-8",
    )
    Path(cli.folder / "ping").write_text("Healthy", encoding="utf-8")
    with cli.terminal("dev", "--port", str(free_port())) as terminal:
        terminal.wait_for("curl -N.*\n")
        assert "served by itself" in terminal.screen
