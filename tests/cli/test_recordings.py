"""What docs/cli.md and docs/zh/cli.md show is what commands show in a terminal of 80 columns, also on the emulator."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.command_line import CommandLine, Terminal
from tests.support.platform import FAILS, Server
from tests.support.ports import free_port
from tests.support.recordings import check

from .agents import variables_of

DOCS = Path(__file__).parents[2] / "docs"
PLAIN = {"NO_COLOR": "1", "TERM": "dumb"}
SESSION, TEMPLATE = "0f4f1b5c6d7e4c1d9a3b2c1d0e9f8a7b", "5a63266aeddb5ba4c34d"


class Page(NamedTuple):
    """A page with recordings, and what makes the command line speak its language."""

    path: Path
    language: dict[str, str]

    def check(self, name: str, text: str) -> None:
        check(self.path, name, text)


@pytest.fixture(
    params=[Page(DOCS / "cli.md", {}), Page(DOCS / "zh" / "cli.md", {"LC_ALL": "zh_CN.UTF-8"})], ids=["en", "zh"]
)
def page(request: pytest.FixtureRequest) -> Page:
    found: Page = request.param
    return found


def shown(command: str, cli: CommandLine, text: str) -> str:
    """Return a screen as a page shows it: the command on top, and somebody's own folders and interpreter."""
    places = {
        str(cli.folder): "/home/ada",
        str(cli.home): "/home/ada/.ppio-agent",
        sys.executable: "/home/ada/.venv/bin/python",
    }
    for place, stand_in in places.items():
        text = text.replace(place, stand_in)
    text = re.sub(r"127\.0\.0\.1:\d+(/? +│)?", _with_the_usual_port, text)
    return f"$ {command}\n{text}"


def _with_the_usual_port(found: re.Match[str]) -> str:
    """Return the address with port 8080, as wide as it was where the border of a box follows."""
    border = found[1] or ""
    address = f"127.0.0.1:8080{'/' if border.startswith('/') else ''}"
    return f"{address}{'│'.rjust(len(found[0]) - len(address))}" if border else address


def screen(terminal: Terminal) -> str:
    return terminal.screen.replace("\r", "")


def test_init(page: Page, cli: CommandLine) -> None:
    with cli.terminal("init", "my-agent", NO_COLOR="1", **page.language) as terminal:
        terminal.wait_for(r"\]: ")
        terminal.type("")
        terminal.wait_for(r"\[plain\]: ")
        terminal.type("2")
        assert terminal.end() == 0
    page.check("init", shown("ppio-agent init my-agent", cli, screen(terminal)))


@pytest.mark.slow
def test_dev(page: Page, cli: CommandLine) -> None:
    cli.run("init", "my-agent", "--name", "my-agent", "--template", "streaming")
    program = cli.folder / "my-agent" / "main.py"
    right = program.read_text(encoding="utf-8")
    port = free_port()
    with cli.terminal("dev", "my-agent", "--port", str(port), NO_COLOR="1", **page.language) as terminal:
        terminal.wait_for("curl -N.*\n")
        cli.run("invoke", "--url", f"http://127.0.0.1:{port}", "-i", "Hello", "--stream", "-s", "oslo-trip")
        terminal.wait_for("(chunks|数据块)\r\n")
        program.write_text(right.replace("AsyncIterator[str]:", "AsyncIterator[str]"), encoding="utf-8")
        terminal.wait_for("Waiting for the next save|等待下一次保存")
        program.write_text(right, encoding="utf-8")
        terminal.wait_for("(Running again at|已重新运行：).*\n")
        terminal.interrupt()
        assert terminal.end() == 130
    page.check("dev", shown("ppio-agent dev my-agent", cli, screen(terminal)))


@pytest.mark.slow
def test_validate(page: Page, cli: CommandLine) -> None:
    cli.run("init", "--name", "my-agent", "--author", "ada@example.com")
    manifest = cli.folder / ".ppio-agent.yaml"
    text = (
        manifest.read_text(encoding="utf-8")
        .replace("timeout:", "timeuot:")
        .replace('cpu_limit: "1"', "cpu_limit: 500m")
    )
    manifest.write_text(text.replace("envVars: {}", "envVars:\n    DB_PASSWORD: hunter2"), encoding="utf-8")
    with cli.terminal("validate", NO_COLOR="1", TERM="dumb", **page.language) as terminal:
        assert terminal.end() == 1
    page.check("validate", shown("ppio-agent validate", cli, screen(terminal)))


@pytest.mark.slow
def test_doctor(page: Page, cli: CommandLine, platform: Server) -> None:
    cli.run("init", "--name", "my-agent")
    ended = cli.run("doctor", **variables_of(platform), **page.language)
    assert ended.code == 0
    text = ended.out.replace(platform.url, "https://api.cn-beijing-1.sandbox.ppio.com")
    *lines, last = re.split(r"(?m)^(?=    \S.* +\d+ ms$)", text)  # the packages that are imported are not shown
    assert len(lines) == 5
    assert last.count("\n") == 1
    page.check("doctor", shown("ppio-agent doctor", cli, lines[0].rstrip()))


@pytest.fixture
def project(cli: CommandLine) -> CommandLine:
    cli.run("init", "--name", "my-agent", "--template", "streaming", "--author", "ada@example.com")
    return cli


def record(
    page: Page, cli: CommandLine, name: str, *arguments: str, code: int = 0, variables: Mapping[str, str] = PLAIN
) -> None:
    with cli.terminal(*arguments, **{**PLAIN, **page.language, **variables}) as terminal:
        assert terminal.end() == code
    text = re.sub(r"\b[0-9a-f]{32}\b", SESSION, terminal.screen)
    text = re.sub(r"\b[0-9a-f]{20}\b", TEMPLATE, text)
    typed = " ".join(f'"{each}"' if " " in each else each for each in arguments)
    page.check(name, shown(f"ppio-agent {typed}", cli, text))


@pytest.mark.slow
def test_deploy_and_invoke_on_this_machine(page: Page, project: CommandLine) -> None:
    record(page, project, "deploy-local", "deploy", "--local")
    question = ("invoke", "--local", "--template-id", "my-agent", "--input")
    record(page, project, "invoke", *question, "Hello", "--stream")
    record(page, project, "invoke-keep", *question, "My name is Ada", "--keep")


@pytest.mark.slow
def test_deploy_to_the_platform(page: Page, project: CommandLine, platform: Server) -> None:
    record(page, project, "deploy", "deploy", variables=variables_of(platform))
    dockerfile = project.folder / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("RUN pip install", f"RUN {FAILS} pip install"))
    record(page, project, "deploy-fails", "deploy", "--quiet", code=1, variables=variables_of(platform))
