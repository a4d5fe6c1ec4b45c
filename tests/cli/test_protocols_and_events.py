"""`spec.protocols` in the manifest, wherever the agent runs, and `invoke --events` with the agent's questions."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from tests.support.command_line import CommandLine
from tests.support.ports import free_port

from .agents import write_agent
from .test_chat import PROGRAM


@pytest.fixture
def agent(cli: CommandLine) -> Path:
    folder = write_agent(cli.folder / "typed", "typed", PROGRAM)
    return with_protocols(folder, "[ag-ui, openai]")


def with_protocols(folder: Path, protocols: str) -> Path:
    manifest = folder / ".ppio-agent.yaml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace("spec:\n", f"spec:\n  protocols: {protocols}\n"), encoding="utf-8")
    return folder


@contextmanager
def developing(cli: CommandLine, folder: Path) -> Iterator[str]:
    port = free_port()
    process = cli.start("dev", folder, "--json", "--port", str(port))
    assert process.stdout is not None
    with process:
        ready = json.loads(process.stdout.readline())
        assert ready["event"] == "ready"
        yield ready["url"]
        process.terminate()
        process.stdout.read()


def models_of(url: str, token: str | None = None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.get(f"{url}/v1/models", headers=headers).status_code


@pytest.mark.slow
def test_dev_takes_the_protocols_of_the_manifest(cli: CommandLine, agent: Path) -> None:
    with developing(cli, agent) as url:
        assert models_of(url) == 200


@pytest.mark.slow
def test_the_runtime_takes_the_variables_of_the_manifest_that_it_starts_by(cli: CommandLine, agent: Path) -> None:
    manifest = agent / ".ppio-agent.yaml"
    manifest.write_text(
        f"{manifest.read_text(encoding='utf-8')}  envVars: {{PPIO_AGENT_PORT: 1234, PPIO_AGENT_HOST: '::1'}}\n"
    )
    shown = subprocess.run(
        [sys.executable, "-m", "ppio_agent_runtime", "--show-config", "--json"],
        cwd=agent,
        env=cli.variables({"PPIO_AGENT_PORT": "4321"}),
        capture_output=True,
        check=True,
    )
    settings = json.loads(shown.stdout)
    assert settings["protocols"]["value"] == ["ag-ui", "openai"]
    assert settings["host"]["value"] == "::1"
    assert settings["port"]["value"] == 4321


@pytest.mark.slow
def test_a_sandbox_takes_the_protocols_of_the_manifest(cli: CommandLine, agent: Path) -> None:
    assert cli.run("invoke", "--local", "-t", agent, "-i", "hi", "--keep").code == 0
    [session] = cli.run("sessions", "--local", "--json").document
    assert models_of(session["host_url"]) == 401  # its routes are there, behind the session's key


@pytest.mark.slow
def test_packages_that_protocols_need_are_named_before_they_are_missed(cli: CommandLine) -> None:
    folder = write_agent(cli.folder / "a")
    with_protocols(folder, "a2a, mcp, openai")
    line = "ppio-agent-runtime[a2a,mcp]"
    assert line in cli.run("validate", folder, "--no-import").out
    assert line in cli.run("deploy", "--config", folder, "--dry-run", "--json", PPIO_API_KEY="sk_x").out
    (folder / "requirements.txt").write_text("ppio-agent-runtime[a2a]\nmcp>=2\n", encoding="utf-8")
    assert line not in cli.run("validate", folder, "--no-import").out


@pytest.mark.slow
def test_doctor_names_the_protocols(cli: CommandLine) -> None:
    write_agent(cli.folder)
    with_protocols(cli.folder, "[ag-ui, mcp]")
    found = {check["name"]: check for check in cli.run("doctor", "--json").document["checks"]}
    assert found["protocols"]["value"] == "ag-ui, mcp"
    assert "ppio-agent-runtime[mcp]" in found["protocols"]["hint"]


def test_doctor_names_the_protocols_whose_packages_the_agents_python_lacks(cli: CommandLine) -> None:
    write_agent(cli.folder)
    with_protocols(cli.folder, "[a2a, mcp]")
    (cli.folder / "requirements.txt").write_text("ppio-agent-runtime[a2a,mcp]\n", encoding="utf-8")
    found = {check["name"]: check for check in cli.run("doctor", "--json").document["checks"]}
    lacking = [name for name in ("a2a", "mcp") if find_spec(name) is None]
    hint = f"its Python needs: pip install 'ppio-agent-runtime[{','.join(lacking)}]'" if lacking else None
    assert found["protocols"]["hint"] == hint


def test_info_names_the_protocols_of_a_template(cli: CommandLine, agent: Path) -> None:
    assert cli.run("deploy", "--local", "--config", agent).code == 0
    told = cli.run("info", "--local", "--template-id", "typed", "--json")
    shown = cli.run("info", "--local", "--template-id", "typed")
    assert told.document["protocols"] == ["ag-ui", "openai"]
    assert "protocols    ag-ui, openai\n" in shown.out


@pytest.mark.slow
def test_events_are_lines_of_json_and_text_for_people(cli: CommandLine, agent: Path) -> None:
    with developing(cli, agent) as url:
        told = cli.run("invoke", "--url", url, "-i", "weather", "--events", "--json")
        types = [json.loads(line)["type"] for line in told.out.splitlines()]
        assert (types[0], types[-1]) == ("RUN_STARTED", "RUN_FINISHED")
        assert "TOOL_CALL_RESULT" in types
        shown = cli.run("invoke", "--url", url, "-i", "weather", "--events", "-s", "other")
        assert shown.out == "message 1: weather\n"
        assert "get_weather" in shown.err


@pytest.mark.slow
def test_a_question_is_asked_on_the_terminal_and_the_run_goes_on(cli: CommandLine, agent: Path) -> None:
    with developing(cli, agent) as url:
        with cli.terminal("invoke", "--url", url, "-i", "book", "--events", "-s", "a") as terminal:
            terminal.wait_for(r"Book the flight\?[^$]*Answer: ")
            terminal.type('{"seat": 3}')
            terminal.wait_for(r"resolved {'seat': 3}")
            assert terminal.end() == 0
        with cli.terminal("invoke", "--url", url, "-i", "book", "--events", "-s", "b", "--no-input") as terminal:
            assert terminal.end() == 6
        asked = cli.run("invoke", "--url", url, "-i", "book", "--events", "--json", "-s", "c")
        assert asked.code == 6
        answer = {"interrupt_id": asked.error["interrupts"][0]["id"], "status": "resolved", "payload": True}
        resumed = cli.run("invoke", "--url", url, "-i", json.dumps({"resume": [answer]}), "--events", "-s", "c")
        assert resumed.out == "resolved True\n"
