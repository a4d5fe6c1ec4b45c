"""What docs/cli.md shows is what the commands show, in a terminal of 80 columns; of real runs, and of the emulator."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.support.command_line import CommandLine, Terminal
from tests.support.platform import FAILS, Server
from tests.support.recordings import check

from .agents import free_port, variables_of

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
PLAIN = {"NO_COLOR": "1", "TERM": "dumb"}
SESSION, TEMPLATE = "0f4f1b5c6d7e4c1d9a3b2c1d0e9f8a7b", "5a63266aeddb5ba4c34d"


def shown(command: str, cli: CommandLine, text: str) -> str:
    """Return a screen as a page shows it: the command on top, and somebody's own folders and interpreter."""
    places = {
        str(cli.folder): "/home/ada",
        str(cli.home): "/home/ada/.ppio-agent",
        sys.executable: "/home/ada/.venv/bin/python",
    }
    for place, stand_in in places.items():
        text = text.replace(place, stand_in)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8080", text)
    return f"$ {command}\n{text}"


def screen(terminal: Terminal) -> str:
    return terminal.screen.replace("\r", "")


def test_init(cli: CommandLine) -> None:
    with cli.terminal("init", "my-agent", NO_COLOR="1") as terminal:
        terminal.wait_for(r"\]: ")
        terminal.type("")
        terminal.wait_for(r"Template \[plain\]: ")
        terminal.type("2")
        assert terminal.end() == 0
    check(PAGE, "init", shown("ppio-agent init my-agent", cli, screen(terminal)))


def test_dev(cli: CommandLine) -> None:
    cli.run("init", "my-agent", "--name", "my-agent", "--template", "streaming")
    program = cli.folder / "my-agent" / "main.py"
    right = program.read_text(encoding="utf-8")
    port = free_port()
    with cli.terminal("dev", "my-agent", "--port", str(port), NO_COLOR="1") as terminal:
        terminal.wait_for("curl -N.*\n")
        program.write_text(right.replace("AsyncIterator[str]:", "AsyncIterator[str]"), encoding="utf-8")
        terminal.wait_for("Waiting for the next save")
        program.write_text(right, encoding="utf-8")
        terminal.wait_for("Running again at .*\n")
        terminal.interrupt()
        assert terminal.end() == 130
    check(PAGE, "dev", shown("ppio-agent dev my-agent", cli, screen(terminal)))


def test_validate(cli: CommandLine) -> None:
    cli.run("init", "--name", "my-agent", "--author", "ada@example.com")
    manifest = cli.folder / ".ppio-agent.yaml"
    text = (
        manifest.read_text(encoding="utf-8")
        .replace("timeout:", "timeuot:")
        .replace('cpu_limit: "1"', "cpu_limit: 500m")
    )
    manifest.write_text(text.replace("envVars: {}", "envVars:\n    DB_PASSWORD: hunter2"), encoding="utf-8")
    with cli.terminal("validate", NO_COLOR="1", TERM="dumb") as terminal:
        assert terminal.end() == 1
    check(PAGE, "validate", shown("ppio-agent validate", cli, screen(terminal)))


def test_doctor(cli: CommandLine, platform: Server) -> None:
    cli.run("init", "--name", "my-agent")
    ended = cli.run("doctor", **variables_of(platform))
    assert ended.code == 0
    text = ended.out.replace(platform.url, "https://api.cn-beijing-1.sandbox.ppio.com")
    head, start, packages = text.partition("its import takes")
    lines = packages.splitlines()
    assert all(re.fullmatch(r"    \S.* +\d+ ms", line) for line in lines[1:])
    check(PAGE, "doctor", shown("ppio-agent doctor", cli, f"{head}{start}{lines[0]}"))


@pytest.fixture
def project(cli: CommandLine) -> CommandLine:
    cli.run("init", "--name", "my-agent", "--template", "streaming", "--author", "ada@example.com")
    return cli


def record(cli: CommandLine, name: str, *arguments: str, code: int = 0, variables: dict[str, str] = PLAIN) -> None:
    with cli.terminal(*arguments, **{**PLAIN, **variables}) as terminal:
        assert terminal.end() == code
    text = re.sub(r"\b[0-9a-f]{32}\b", SESSION, terminal.screen)
    text = re.sub(r"\b[0-9a-f]{20}\b", TEMPLATE, text)
    typed = " ".join(f'"{each}"' if " " in each else each for each in arguments)
    check(PAGE, name, shown(f"ppio-agent {typed}", cli, text))


def test_deploy_and_invoke_on_this_machine(project: CommandLine) -> None:
    record(project, "deploy-local", "deploy", "--local")
    question = ("invoke", "--local", "--template-id", "my-agent", "--input")
    record(project, "invoke", *question, "Hello", "--stream")
    record(project, "invoke-keep", *question, "My name is Ada", "--keep")


def test_deploy_to_the_platform(project: CommandLine, platform: Server) -> None:
    record(project, "deploy", "deploy", variables=variables_of(platform))
    dockerfile = project.folder / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("RUN pip install", f"RUN {FAILS} pip install"))
    record(project, "deploy-fails", "deploy", "--quiet", code=1, variables=variables_of(platform))
