"""`config`: what holds, where it comes from, and no secret."""

from __future__ import annotations

import pytest

from tests.support.command_line import CommandLine

SECRETS = {
    "PPIO_API_KEY": "sk-very-secret-key",
    "PPIO_API_SECRET": "very-secret-secret",
    "PPIO_AGENT_API_KEYS": "very-secret-token",
}


@pytest.mark.slow
def test_every_value_says_where_it_comes_from(cli: CommandLine) -> None:
    client = cli.run("config", "--json", PPIO_API_URL="http://user:pass@127.0.0.1:1").document["client"]
    assert client["base_url"] == {
        "value": "http://***@127.0.0.1:1",
        "origin": "environment",
        "variable": "PPIO_API_URL",
    }
    assert client["max_retries"] == {"value": 3, "origin": "default", "variable": None}
    assert client["home"]["value"] == str(cli.home)
    assert cli.run("config", "--local", "--json").document["client"]["provider"]["origin"] == "argument"


@pytest.mark.slow
def test_the_agents_settings_are_those_it_would_have(cli: CommandLine) -> None:
    assert cli.run("config", "--json").document["agent"] == {}
    cli.run("init", "--name", "a")
    agent = cli.run("config", "--json", PPIO_AGENT_PORT="9000").document["agent"]
    assert agent["port"] == {"value": 9000, "origin": "environment", "variable": "PPIO_AGENT_PORT"}
    assert agent["host"]["origin"] == "default"


@pytest.mark.slow
def test_no_secret_is_shown(cli: CommandLine) -> None:
    cli.run("init", "--name", "a")
    for form in ([], ["--json"], ["--debug", "--verbose"]):
        ended = cli.run("config", *form, **SECRETS)
        assert ended.code == 0
        assert "***" in ended.out
        assert "very-secret" not in ended.out + ended.err


@pytest.mark.slow
def test_an_agent_that_cannot_be_imported_is_a_warning(cli: CommandLine) -> None:
    cli.run("init", "--name", "a")
    (cli.folder / "main.py").write_text("1 / 0\n", encoding="utf-8")
    ended = cli.run("config")
    assert ended.code == 0
    assert "division by zero" in ended.err
    assert "api_key" in ended.out


@pytest.mark.slow
def test_it_fits_a_terminal_of_80_columns(cli: CommandLine) -> None:
    cli.run("init", "--name", "a")
    with cli.terminal("config") as terminal:
        assert terminal.end() == 0
        rows = [line for line in terminal.screen.splitlines() if " " in line]
    assert "…" not in terminal.screen
    assert max(map(len, rows)) <= 80
