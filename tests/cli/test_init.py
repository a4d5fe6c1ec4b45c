"""A new agent: what is written, what is asked, what is left alone."""

from __future__ import annotations

import ast
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from ppio_agent_client.cli.commands.init import Kind
from ppio_agent_models import AgentManifest
from tests.support.command_line import CommandLine
from tests.support.processes import serving

FILES = ["main.py", ".ppio-agent.yaml", "requirements.txt", "Dockerfile", ".dockerignore", "README.md"]


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.slow
def test_every_template_is_written_whole(cli: CommandLine, kind: Kind) -> None:
    ended = cli.run("init", "--name", "my-agent", "--entrypoint", "main.py", "--template", kind, "--json")
    assert ended.code == 0
    assert ended.document["written"] == FILES
    texts = {name: (cli.folder / name).read_text(encoding="utf-8") for name in FILES}
    assert not [name for name, text in texts.items() if "{{" in text]
    ast.parse(texts["main.py"])
    manifest = AgentManifest.from_yaml(texts[".ppio-agent.yaml"])
    assert (manifest.metadata.name, manifest.spec.entrypoint) == ("my-agent", "main.py")


@pytest.mark.parametrize(
    ("kind", "answer"),
    [("plain", {"answer": "You said: hi", "messages_so_far": 1}), ("streaming", "You said: hi. That was message 1. ")],
)
@pytest.mark.slow
def test_a_new_agent_runs(cli: CommandLine, kind: str, answer: object) -> None:
    assert cli.run("init", "--name", "my-agent", "--template", kind).code == 0
    with serving("-m", "ppio_agent_runtime", folder=cli.folder) as url:
        response = httpx.post(f"{url}/invocations", json={"prompt": "hi"}, headers={"Accept": "application/json"})
    assert response.json()["result"] == answer


def test_the_entrypoint_may_be_in_a_folder(cli: CommandLine) -> None:
    assert cli.run("init", "sub", "--name", "a", "--entrypoint", "src/agent.py").code == 0
    with serving("-m", "ppio_agent_runtime", folder=cli.folder / "sub") as url:
        assert httpx.get(f"{url}/ping").json()["status"] == "Healthy"


@pytest.mark.parametrize("name", ["My-Agent", "-a", "a-", "a_b", "ä", "a" * 64, "a b"])
def test_a_name_that_cannot_be_one_is_refused_with_the_rule(cli: CommandLine, name: str) -> None:
    ended = cli.run("init", f"--name={name}")
    assert ended.code == 2
    assert "1 to 63 lower-case letters, digits and hyphens" in ended.err
    assert not list(cli.folder.iterdir())


@pytest.mark.parametrize("entrypoint", ["../main.py", "/main.py", "main", "main.txt", "a\\main.py"])
def test_an_entrypoint_outside_the_folder_is_refused(cli: CommandLine, entrypoint: str) -> None:
    ended = cli.run("init", "--name", "a", "--entrypoint", entrypoint)
    assert ended.code == 2
    assert "inside the agent's folder" in ended.err
    assert not list(cli.folder.iterdir())


def test_an_agent_is_never_overwritten_without_force(cli: CommandLine) -> None:
    assert cli.run("init", "--name", "first").code == 0
    before = {path.name: path.read_bytes() for path in cli.folder.iterdir()}
    ended = cli.run("init", "--name", "second")
    assert ended.code == 2
    assert "exists" in ended.err
    assert {path.name: path.read_bytes() for path in cli.folder.iterdir()} == before
    assert cli.run("init", "--name", "second", "--force").code == 0
    assert "name: second" in (cli.folder / ".ppio-agent.yaml").read_text(encoding="utf-8")


def test_a_program_that_is_there_is_kept(cli: CommandLine) -> None:
    (cli.folder / "main.py").write_text("mine = 1\n", encoding="utf-8")
    ended = cli.run("init", "--name", "a", "--json")
    assert ended.document["kept"] == ["main.py"]
    assert (cli.folder / "main.py").read_text(encoding="utf-8") == "mine = 1\n"


def test_without_a_terminal_nothing_is_asked(cli: CommandLine) -> None:
    assert cli.run("init", "My Shop!", "--json").document["name"] == "my-shop"


def test_a_terminal_is_asked_for_what_is_missing(cli: CommandLine) -> None:
    with cli.terminal("init") as terminal:
        terminal.wait_for(r"Name of the agent \[work\]: ")
        terminal.type("Bad Name")
        terminal.wait_for("lower-case")
        terminal.wait_for(r"Name of the agent \[work\]: ")
        terminal.type("shop")
        terminal.wait_for(r"Template \[plain\]: ")
        terminal.type("2")
        assert terminal.end() == 0
    assert "name: shop" in (cli.folder / ".ppio-agent.yaml").read_text(encoding="utf-8")
    assert "AsyncIterator" in (cli.folder / "main.py").read_text(encoding="utf-8")


def test_with_everything_given_a_terminal_is_asked_nothing(cli: CommandLine) -> None:
    with cli.terminal("init", "--name", "shop", "--template", "plain") as terminal:
        assert terminal.end() == 0


def test_ctrl_c_at_a_question_writes_nothing(cli: CommandLine) -> None:
    with cli.terminal("init") as terminal:
        terminal.wait_for("Name of the agent")
        terminal.interrupt()
        assert terminal.end() == 130
    assert not list(cli.folder.iterdir())


def test_a_folder_that_cannot_be_made_is_told_in_one_sentence(cli: CommandLine, tmp_path: Path) -> None:
    (cli.folder / "file").write_text("", encoding="utf-8")
    ended = cli.run("init", "file", "--name", "a", "--json")
    assert ended.code == 1
    assert "cannot be written" in ended.error["message"]
    assert json.loads(ended.err.splitlines()[-1])


def test_who_works_from_a_checkout_hears_how_wheels_are_used(cli: CommandLine) -> None:
    ended = cli.run("init", "--name", "a")
    assert "README.md describes how to use wheels from a folder" in ended.err
    assert "pip wheel --no-deps --wheel-dir wheels" in (cli.folder / "README.md").read_text()


def test_the_image_takes_wheels_of_the_folder_where_there_are_any(cli: CommandLine) -> None:
    assert cli.run("init", "--name", "a").code == 0
    without = cli.run("deploy", "--dry-run", "--json", PPIO_API_KEY="k").document
    (cli.folder / "wheels").mkdir()
    (cli.folder / "wheels" / "x-1-py3-none-any.whl").touch()
    with_wheels = cli.run("deploy", "--dry-run", "--json", PPIO_API_KEY="k").document

    assert [step for step in without["steps"] if "wheels" in step] == [
        "COPY requirements.txt ./wheels/",
        "RUN pip install --no-cache-dir --find-links wheels -r wheels/requirements.txt",
    ]
    assert "COPY wheels/x-1-py3-none-any.whl ./wheels/" in with_wheels["steps"]


def test_the_health_check_follows_the_port_and_waits_for_the_start(cli: CommandLine) -> None:
    assert cli.run("init", "--name", "a").code == 0
    [line] = [one for one in (cli.folder / "Dockerfile").read_text().splitlines() if one.startswith("HEALTHCHECK")]
    assert "--start-period=" in line
    program = json.loads(line.partition("CMD ")[2])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        asks = subprocess.Popen([sys.executable, *program[1:]], env={**os.environ, "PPIO_AGENT_PORT": str(port)})
        connection, _ = server.accept()
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert asks.wait(30) == 0
        connection.close()
