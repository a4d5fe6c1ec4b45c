"""The five commands of the design document, letter by letter, from an empty folder, in both spellings."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ppio_agent_models import AgentManifest
from tests.support.command_line import CommandLine
from tests.support.platform import Server

from .agents import variables_of

SCRIPTS = Path(sys.executable).parent
SPELLINGS = {
    "ppio-agent": (str(SCRIPTS / "ppio-agent"),),
    "ppio-sandbox-cli agent": (str(SCRIPTS / "ppio-sandbox-cli"), "agent"),
}


@pytest.fixture(params=SPELLINGS)
def spelled(request: pytest.FixtureRequest, cli: CommandLine) -> CommandLine:
    """The command line as it is installed."""
    return CommandLine(cli.folder, cli.home, SPELLINGS[request.param])


def walk_through(cli: CommandLine, variables: Mapping[str, str]) -> str:
    """Type the five commands, as the design document has them; return the template's id."""
    assert list(cli.folder.iterdir()) == []
    initialized = cli.run("init", "--name", "my-agent", "--entrypoint", "main.py", **variables)
    assert initialized.code == 0, initialized.err
    deployed = cli.run("deploy", "--config", ".ppio-agent.yaml", **variables)
    assert deployed.code == 0, deployed.err
    manifest = AgentManifest.from_yaml((cli.folder / ".ppio-agent.yaml").read_text())
    template_id = str((manifest.status or {}).get("template_id", manifest.metadata.name))
    invoked = cli.run("invoke", "--template-id", template_id, "--input", "test query", **variables)
    assert invoked.code == 0, invoked.err
    assert "test query" in invoked.out
    listed = cli.run("list", **variables)
    assert template_id in listed.out, listed.err
    shown = cli.run("info", "--template-id", template_id, **variables)
    assert (shown.code, "my-agent" in shown.out) == (0, True), shown.err
    return template_id


@pytest.mark.slow
def test_they_work_on_this_machine(spelled: CommandLine) -> None:
    assert walk_through(spelled, {"PPIO_AGENT_PROVIDER": "local"}) == "my-agent"


@pytest.mark.slow
def test_they_work_on_the_platform(spelled: CommandLine, platform: Server) -> None:
    walk_through(spelled, variables_of(platform))


@pytest.mark.slow
def test_a_session_on_the_platform_is_looked_after(cli: CommandLine, platform: Server) -> None:
    variables = variables_of(platform)
    cli.run("init", "--name", "my-agent", "--template", "streaming")
    (cli.folder / "main.py").write_text("print('up and away')\n" + (cli.folder / "main.py").read_text())
    template_id = cli.run("deploy", "--json", **variables).document["template_id"]
    kept = cli.run("invoke", "--keep", "--env", "A=1", "--input", "x", "--json", **variables).document
    session = kept["session_id"]

    assert (kept["template_id"], "".join(kept["result"])[:11]) == (template_id, "You said: x")
    assert "up and away\n" in cli.run("logs", "--session-id", session, **variables).out
    assert cli.run("sessions", "pause", session, **variables).code == 0
    [listed] = cli.run("sessions", "--json", **variables).document
    assert (listed["session_id"], listed["status"]) == (session, "paused")
    assert cli.run("delete", "--session-id", session, "--yes", **variables).code == 0
    assert cli.run("logs", "--session-id", session, **variables).code == 3
    assert cli.run("delete", "--template-id", template_id, "--yes", **variables).code == 0
    assert cli.run("invoke", "--template-id", template_id, "--input", "x", **variables).code == 3
