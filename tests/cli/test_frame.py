"""What every command has in common: help, version, exit codes, where errors go."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ppio_agent_client.cli.commands import COMMANDS
from tests.support.command_line import CommandLine


def test_help_lists_every_command(cli: CommandLine) -> None:
    ended = cli.run("--help")
    assert ended.code == 0
    assert all(f" {name} " in ended.out for name in COMMANDS)


def test_nothing_typed_shows_the_help(cli: CommandLine) -> None:
    ended = cli.run()
    assert (ended.code, ended.err) == (0, "")
    assert "Usage: ppio-agent" in ended.out


def test_help_imports_neither_the_client_nor_a_command_nor_pydantic() -> None:
    program = "import sys; from ppio_agent_client.cli.__main__ import main; main(['--help']); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    modules = set(ended.stdout.split())
    heavy = {"httpx", "pydantic", "yaml", "watchfiles", "ppio_sandbox", "asyncio"}
    assert not modules & heavy
    assert not modules & {f"ppio_agent_client.cli.commands.{name}" for name in COMMANDS}


def test_the_version_is_told_to_people_and_programs(cli: CommandLine) -> None:
    assert cli.run("--version").out.startswith("ppio-agent ")
    assert set(cli.run("--version", "--json").document) == {"version"}


def test_an_unknown_command_is_a_usage_error_that_names_a_likely_one(cli: CommandLine) -> None:
    ended = cli.run("inot")
    assert (ended.code, ended.out) == (2, "")
    assert "Did you mean 'init'" in ended.err
    assert "Traceback" not in ended.err


def test_an_error_is_a_document_with_json(cli: CommandLine) -> None:
    ended = cli.run("nothing", "--json")
    assert ended.error["exit_code"] == ended.code == 2
    assert "No such command" in ended.error["message"]


def test_without_the_extra_one_line_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['typer'] = None\n"
        "import importlib.util as util; find = util.find_spec\n"
        "util.find_spec = lambda name, *a: None if name == 'typer' else find(name, *a)\n"
        "from ppio_agent_client.cli.__main__ import main; sys.exit(main(['init']))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr == "ppio-agent: Not installed: typer. Run: pip install 'ppio-agent-client[cli]'\n"


@pytest.mark.parametrize("name", list(COMMANDS))
@pytest.mark.slow
def test_the_help_of_a_command_begins_with_its_summary(cli: CommandLine, name: str) -> None:
    ended = cli.run(name, "--help", COLUMNS="120")
    assert ended.code == 0
    assert COMMANDS[name].text in ended.out
    assert all(option in ended.out for option in ("--json", "--quiet", "--verbose", "--debug"))
    assert "<bool>" not in ended.out
