"""`deploy` to the platform: the real builder of the official SDK, against the emulator."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ppio_agent_models import AgentManifest
from tests.support.command_line import CommandLine, Finished
from tests.support.platform import FAILS, Platform, Server, Template, serving

from .agents import variables_of, write_agent

DOCKERFILE = "FROM python:3.12-slim\nWORKDIR /app\nCOPY . .\n{more}\nCMD python main.py\n"
DEPLOY = ("deploy", "--config", ".ppio-agent.yaml")


@dataclass
class Account:
    """A folder with an agent, and a platform to deploy it to."""

    cli: CommandLine
    platform: Platform
    server: Server

    def variables(self, **more: str) -> dict[str, str]:
        return variables_of(self.server) | more

    def run(self, *arguments: str, **more: str) -> Finished:
        return self.cli.run(*arguments, **self.variables(**more))

    def dockerfile(self, more: str = "") -> None:
        (self.cli.folder / "Dockerfile").write_text(DOCKERFILE.format(more=more))

    @property
    def status(self) -> dict[str, Any]:
        text = (self.cli.folder / ".ppio-agent.yaml").read_text()
        assert text.startswith("# mine\n")
        return AgentManifest.from_yaml(text).status or {}

    @property
    def template(self) -> Template:
        [template] = self.platform.templates
        return template


@pytest.fixture
def account(cli: CommandLine, tmp_path: Path) -> Iterator[Account]:
    write_agent(cli.folder)
    platform = Platform(tmp_path / "platform", run_steps=True)
    with serving(platform) as server:
        account = Account(cli, platform, server)
        account.dockerfile()
        yield account


@pytest.mark.slow
def test_what_is_built_is_what_was_shown_and_nothing_starts_by_itself(account: Account) -> None:
    folder = account.cli.folder
    (folder / ".env").write_text("SECRET=1\n")
    (folder / ".venv").mkdir()
    (folder / ".venv" / "big").touch()
    dry = account.run(*DEPLOY, "--dry-run", "--json")
    assert account.platform.log == []

    deployed = account.run(*DEPLOY, "--json", "--tag", "v1")
    template = account.template

    assert template.root is not None
    there = {path.relative_to(template.root / "app").as_posix() for path in (template.root / "app").rglob("*")}
    assert there == {file["path"] for file in dry.document["files"]}
    assert there == {".ppio-agent.yaml", "Dockerfile", "main.py", "requirements.txt"}
    sizes = {file["path"]: file["size"] for file in dry.document["files"]}
    assert (template.root / "app/.ppio-agent.yaml").stat().st_size == sizes[".ppio-agent.yaml"]
    assert (template.start_cmd, template.ready_cmd) == ("", "")
    assert (template.cpu_count, template.memory_mb, list(template.tags)) == (2, 1024, ["v1"])
    assert deployed.document["template_id"] == template.template_id
    assert (deployed.document["tags"], deployed.document["resumed"]) == (["v1"], False)


@pytest.mark.slow
def test_the_status_is_written_and_changes_nothing_that_is_sent(account: Account) -> None:
    first = account.run(*DEPLOY)
    status = account.status
    uploads = len(account.platform.log.of("upload"))
    second = account.run(*DEPLOY, "--json")

    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert (status["phase"], status["template_id"]) == ("deployed", account.template.template_id)
    assert status["agent_id"] == f"parrot-{account.template.template_id}"
    assert status["build_id"] == account.template.builds[0].build_id
    assert status["last_deployed"].endswith("Z")
    assert second.document["template_id"] == status["template_id"]
    assert len(account.platform.log.of("upload")) == uploads


@pytest.mark.slow
def test_a_step_that_fails_is_named_with_its_line_and_its_log(account: Account) -> None:
    account.dockerfile(f"RUN {FAILS}")
    failed = account.run(*DEPLOY, "--json")

    assert (failed.code, failed.out) == (1, "")
    assert f"in line 4 of the Dockerfile (RUN {FAILS})" in failed.error["message"]
    assert failed.error["log"] == [f"failed to run command '{FAILS}': exit status 1"]
    assert account.status["phase"] == "failed"
    account.dockerfile()
    assert account.run(*DEPLOY).code == 0
    assert account.status["phase"] == "deployed"


@pytest.mark.slow
def test_a_build_that_was_left_is_waited_for_again(account: Account, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    account.dockerfile(f"RUN while [ ! -e {gate} ]; do sleep 0.02; done")
    with account.cli.terminal(*DEPLOY, **account.variables()) as terminal:
        terminal.wait_for("RUN while")
        terminal.interrupt()
        assert terminal.end() == 130
    assert "The platform continues the build" in terminal.screen
    assert account.status["phase"] == "building"

    gate.touch()
    again = account.run(*DEPLOY, "--json")

    assert (again.code, again.document["resumed"]) == (0, True), again.err
    assert len(account.template.builds) == 1
    assert account.status["phase"] == "deployed"


@pytest.mark.slow
def test_a_build_that_was_left_is_begun_anew_when_something_has_changed(account: Account, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    account.dockerfile(f"RUN while [ ! -e {gate} ]; do sleep 0.02; done")
    late = account.run(*DEPLOY, "--timeout", "1", "--json")
    assert (late.code, late.error["type"]) == (5, "TotalTimeoutError")
    assert account.status["phase"] == "building"

    gate.touch()
    (account.cli.folder / "main.py").write_text("print()\n")
    again = account.run(*DEPLOY, "--json")

    assert (again.document["resumed"], len(account.template.builds)) == (False, 2)
    assert "starting a new one" in again.err


@pytest.mark.slow
def test_a_template_of_somebody_else_is_only_replaced_on_request(account: Account) -> None:
    account.platform.add_template("theirs", account.cli.folder).names.append("parrot")
    refused = account.run(*DEPLOY)
    assert (refused.code, "--update" in refused.err, account.status) == (1, True, {})
    assert account.run(*DEPLOY, "--update", "--json").document["template_id"] == "theirs"


@pytest.mark.slow
def test_prestart_bakes_a_command_and_says_what_it_costs(account: Account) -> None:
    ended = account.run(*DEPLOY, "--prestart")
    assert "--env nor the" in " ".join(ended.err.split())
    assert "ppio_agent_runtime" in account.template.start_cmd
    assert "/ping" in account.template.ready_cmd


@pytest.mark.parametrize(
    ("variables", "code", "says"),
    [
        ({"PPIO_DOMAIN": ""}, 2, "PPIO_DOMAIN=cn-beijing-1.sandbox.ppio.com"),
        ({"PPIO_API_KEY": ""}, 4, "PPIO_API_KEY is not set"),
        ({"PPIO_API_KEY": "wrong-key"}, 4, "refused the API key"),
        ({"PPIO_API_URL": "http://127.0.0.1:1"}, 1, "cannot be reached"),
    ],
)
@pytest.mark.slow
def test_what_is_in_the_way_is_said_before_anything_is_built(
    account: Account, variables: dict[str, str], code: int, says: str
) -> None:
    ended = account.run(*DEPLOY, **variables)
    assert (ended.code, says in ended.err, "Traceback" in ended.err) == (code, True, False), ended.err
    assert "wrong-key" not in ended.err
    assert list(account.platform.templates) == []
    assert account.status == {}


@pytest.mark.slow
def test_what_the_platform_refuses_is_said_in_its_words(account: Account) -> None:
    account.platform.faults.add("build", "500", message="the builders are asleep")
    ended = account.run(*DEPLOY)
    assert (ended.code, ended.err.splitlines()[-1]) == (
        1,
        "Error: the platform returned an error: the builders are asleep",
    )


@pytest.mark.slow
def test_a_silent_platform_is_not_waited_for_without_end(account: Account) -> None:
    account.platform.faults.add("build", "hang")
    ended = account.run(*DEPLOY, "--timeout", "1", "--json")
    assert (ended.code, ended.error["type"]) == (5, "TotalTimeoutError")


@pytest.mark.slow
def test_an_answer_that_is_lost_does_not_end_the_wait(account: Account) -> None:
    account.platform.faults.add("build_status", "reset")
    account.platform.faults.add("build_status", "503")
    ended = account.run(*DEPLOY)
    assert (ended.code, account.status["phase"]) == (0, "deployed"), ended.err


def test_a_secret_that_would_travel_is_warned_of(account: Account) -> None:
    (account.cli.folder / ".env").write_text("SECRET=1\n")
    (account.cli.folder / ".dockerignore").write_text("Dockerfile\n")
    ended = account.run(*DEPLOY, "--dry-run", "--json")
    assert ".env" in json.dumps(ended.document["warnings"])


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.slow
def test_progress_is_drawn_on_a_terminal(account: Account, tmp_path: Path, columns: int) -> None:
    gate = tmp_path / "gate"
    account.dockerfile(f"RUN while [ ! -e {gate} ]; do sleep 0.02; done")
    with account.cli.terminal(*DEPLOY, **account.variables(), COLUMNS=str(columns)) as terminal:
        terminal.wait_for("Uploading .*0:00:00")
        terminal.wait_for(r"RUN while .*…[^\r\n]* .*\d/\d[^\r\n]*\d:\d\d:\d\d")
        gate.touch()
        assert terminal.end() == 0
    assert "to send," in terminal.screen
    assert re.search(r"Took [\d.]+ s\.", terminal.screen)
    assert f"Deployed parrot as the template {account.template.template_id}." in terminal.screen
    drawn = [line for line in re.split(r"[\r\n]+", terminal.screen) if re.search(r"\d:\d\d:\d\d", line)]
    assert max(map(len, drawn)) <= columns


@pytest.mark.slow
def test_progress_is_plain_lines_without_a_terminal(account: Account) -> None:
    ended = account.run(*DEPLOY)
    assert "\x1b" not in ended.err
    assert "\r" not in ended.err
    assert re.search(r"^\[4\] .*$", ended.err, re.MULTILINE)
    assert re.search(r"^Took [\d.]+ s\.$", ended.err, re.MULTILINE)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.slow
def test_a_file_whose_name_is_not_utf8_is_told_and_the_rest_is_sent(account: Account) -> None:
    (account.cli.folder / os.fsdecode(b"caf\xe9.txt")).touch()
    said = r"not sent, because the name is not UTF-8: 'caf\udce9.txt'"
    assert said in account.run(*DEPLOY, "--dry-run").err
    deployed = account.run(*DEPLOY)
    assert (deployed.code, said in deployed.err) == (0, True), deployed.err


def test_credentials_are_named_before_they_are_sent(account: Account) -> None:
    (account.cli.folder / ".dockerignore").write_text("*.log\n")
    (account.cli.folder / ".aws").mkdir()
    (account.cli.folder / ".aws" / "credentials").touch()
    (account.cli.folder / ".netrc").touch()
    ended = account.run(*DEPLOY, "--dry-run", "--json")
    [warning] = [one for one in ended.document["warnings"] if "part of the template" in one]
    assert warning.startswith(".aws/credentials, .netrc would become")
