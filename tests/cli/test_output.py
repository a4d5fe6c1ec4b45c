"""What is printed where: streams, colours, encodings, pipes, completion."""

from __future__ import annotations

import os
import subprocess

import pytest

from ppio_agent_client.cli.errors import CommandError, UsageError, exit_code
from ppio_agent_models import ERROR_TYPES, AgentError
from tests.support.command_line import PPIO_AGENT, CommandLine

CODES = {
    "ConfigurationError": 2,
    "AuthenticationError": 4,
    "TemplateNotFoundError": 3,
    "SessionNotFoundError": 3,
    "NotFoundError": 3,
}


@pytest.mark.parametrize("name", list(ERROR_TYPES))
def test_every_error_of_ours_has_its_exit_code(name: str) -> None:
    expected = CODES.get(name, 5 if "Timeout" in name else 1)
    assert exit_code(ERROR_TYPES[name]("why")) == expected


def test_what_an_agent_says_of_itself_is_its_failure() -> None:
    assert exit_code(AgentError("no such book", status_code=404)) == 1
    assert exit_code(AgentError("not for you", status_code=403)) == 1


def test_other_errors_have_theirs_too() -> None:
    assert exit_code(CommandError("why", code=3)) == 3
    assert exit_code(UsageError("why")) == 2
    assert exit_code(TimeoutError()) == 5
    assert exit_code(OSError()) == 1


@pytest.mark.slow
def test_a_pipe_gets_no_colours_even_if_they_are_forced(cli: CommandLine) -> None:
    for arguments in (["init", "--name", "A"], ["config"], ["nothing"], ["doctor", "--json"]):
        ended = cli.run(*arguments, FORCE_COLOR="1", TTY_COMPATIBLE="1")
        assert "\x1b" not in ended.out + ended.err


@pytest.mark.slow
def test_a_terminal_gets_colours_unless_they_are_not_wanted(cli: CommandLine) -> None:
    with cli.terminal("nothing") as terminal:
        assert terminal.end() == 2
    assert "\x1b[1;31m" in terminal.raw
    with cli.terminal("nothing", NO_COLOR="1") as terminal:
        assert terminal.end() == 2
    assert "31m" not in terminal.raw
    with cli.terminal("nothing", TERM="dumb") as terminal:
        assert terminal.end() == 2
    assert "\x1b" not in terminal.raw


@pytest.mark.slow
def test_nothing_moves_without_a_terminal(cli: CommandLine) -> None:
    cli.run("init", "--name", "a")
    ended = cli.run("validate", "--no-import")
    assert "\r" not in ended.err
    with cli.terminal("validate", "--no-import", TERM="dumb") as terminal:
        assert terminal.end() == 0
    assert "\x1b" not in terminal.raw


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
    ],
)
@pytest.mark.slow
def test_everything_is_utf_8_whatever_the_locale_says(cli: CommandLine, locale: dict[str, str]) -> None:
    folder = cli.folder / "агент-你好"
    folder.mkdir()
    ended = cli.run("init", "агент-你好", "--name", "a", "--json", **locale)
    assert ended.document["folder"].endswith("агент-你好")
    assert "cd агент-你好" in ended.err
    assert (folder / "main.py").is_file()


@pytest.mark.slow
def test_quiet_is_data_and_errors_alone(cli: CommandLine) -> None:
    ended = cli.run("init", "--name", "a", "--quiet")
    assert (ended.code, ended.err) == (0, "")
    assert "main.py" in ended.out
    assert "exists" in cli.run("init", "--name", "a", "--quiet").err


@pytest.mark.slow
def test_a_traceback_is_shown_with_debug_alone(cli: CommandLine) -> None:
    assert "Traceback" not in cli.run("dev", "--json").err
    ended = cli.run("dev", "--json", "--debug")
    assert "Traceback" in ended.err
    assert ended.error["exit_code"] == 2


def test_options_may_stand_before_the_command(cli: CommandLine) -> None:
    assert cli.run("--json", "--quiet", "init", "--name", "a").document["name"] == "a"


@pytest.mark.slow
def test_a_reader_that_leaves_is_no_failure(cli: CommandLine) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        ended = subprocess.run(
            [*PPIO_AGENT, "config"],
            cwd=cli.folder,
            env=cli.variables({}),
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.slow
def test_a_shell_completes_commands_and_their_options(cli: CommandLine) -> None:
    def completed(words: str, number: int) -> list[str]:
        wanted = {"_PPIO_AGENT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        program = "from ppio_agent_client.cli.__main__ import main; main([])"
        ended = subprocess.run(
            [PPIO_AGENT[0], "-c", program],
            env=cli.variables(wanted),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return ended.stdout.split()

    assert completed("ppio-agent d", 1) == ["dev", "deploy", "delete", "doctor"]
    assert "--template" in completed("ppio-agent init --te", 2)
    assert completed("ppio-agent init --template pl", 3) == ["plain"]


def test_what_is_no_text_is_written_as_it_can_be(cli: CommandLine) -> None:
    program = (
        "from ppio_agent_client.cli.output import screen\n"
        "screen.begin([]); screen.text('a\\udcff b\\ud800 c\\udc80\\n')"
    )
    ended = subprocess.run([PPIO_AGENT[0], "-c", program], capture_output=True, check=True, timeout=60)
    assert ended.stdout == b"a\xff b\\ud800 c\x80\n"
