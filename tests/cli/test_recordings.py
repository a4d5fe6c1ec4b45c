"""What docs/cli.md shows is what the commands show, in a terminal of 80 columns."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path

from tests.support.command_line import CommandLine, Terminal
from tests.support.platform import API_KEY, Platform, serving
from tests.support.recordings import check

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


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
        terminal.wait_for("curl --json.*\n")
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


def test_doctor(cli: CommandLine, tmp_path: Path) -> None:
    cli.run("init", "--name", "my-agent")
    with serving(Platform(tmp_path / "platform")) as server:
        variables = {
            "PPIO_API_URL": server.url,
            "PPIO_API_KEY": API_KEY,
            "PPIO_DOMAIN": "cn-beijing-1.sandbox.ppio.com",
        }
        ended = cli.run("doctor", **variables)
    assert ended.code == 0
    text = ended.out.replace(server.url, "https://api.cn-beijing-1.sandbox.ppio.com")
    head, start, packages = text.partition("its import takes")
    lines = packages.splitlines()
    assert all(re.fullmatch(r"    \S.* +\d+ ms", line) for line in lines[1:])
    check(PAGE, "doctor", shown("ppio-agent doctor", cli, f"{head}{start}{lines[0]}"))
