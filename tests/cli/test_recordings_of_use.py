"""The recordings of deploy and invoke in docs/cli.md, from real runs on this machine and against the emulator."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import CommandLine
from tests.support.platform import API_KEY, FAILS, Platform, serving
from tests.support.recordings import check

from .test_recordings import PAGE, shown

PLAIN = {"NO_COLOR": "1", "TERM": "dumb"}
SESSION, TEMPLATE = "0f4f1b5c6d7e4c1d9a3b2c1d0e9f8a7b", "5a63266aeddb5ba4c34d"


@pytest.fixture
def project(cli: CommandLine) -> CommandLine:
    cli.run("init", "--name", "my-agent", "--template", "streaming", "--author", "ada@example.com")
    return cli


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[dict[str, str]]:
    with serving(Platform(tmp_path / "platform")) as server:
        domain = "cn-beijing-1.sandbox.ppio.com"
        yield {"PPIO_API_URL": server.url, "PPIO_API_KEY": API_KEY, "PPIO_DOMAIN": domain}


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


def test_deploy_to_the_platform(project: CommandLine, platform: dict[str, str]) -> None:
    record(project, "deploy", "deploy", variables=platform)
    dockerfile = project.folder / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("RUN pip install", f"RUN {FAILS} pip install"))
    record(project, "deploy-fails", "deploy", "--quiet", code=1, variables=platform)
