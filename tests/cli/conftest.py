"""A command line in an empty folder, with a home for local sandboxes that is empty before and after each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ppio_agent_client import SyncLocalSandboxProvider
from tests.support.command_line import CommandLine
from tests.support.forked import Forge
from tests.support.platform import Platform, Server, serving

from .agents import write_agent


@pytest.fixture(scope="session")
def forge() -> Iterator[Forge]:
    with Forge() as forge:
        yield forge


@pytest.fixture
def cli(tmp_path: Path, forge: Forge) -> Iterator[CommandLine]:
    folder, home = tmp_path / "work", tmp_path / "home"
    folder.mkdir()
    yield CommandLine(folder, home, forge=forge)
    provider = SyncLocalSandboxProvider(home)
    for sandbox in provider.list_sandboxes():
        provider.kill(sandbox.sandbox_id)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Server]:
    with serving(Platform(tmp_path / "platform")) as server:
        yield server


@pytest.fixture
def parrot(cli: CommandLine) -> Path:
    """The folder of an agent that does what it is told."""
    return write_agent(cli.folder / "parrot")
