"""`validate`: every finding with its file and line, and nothing that says a secret aloud."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from ppio_agent_client.cli.checks.manifest import check_secrets
from ppio_agent_client.cli.commands.init import Kind
from tests.support.command_line import CommandLine, Finished

MANIFEST = ".ppio-agent.yaml"


@pytest.fixture
def agent(cli: CommandLine) -> CommandLine:
    assert cli.run("init", "--name", "my-agent", "--author", "me@example.com").code == 0
    return cli


def change(cli: CommandLine, file: str, old: str, new: str) -> None:
    path = cli.folder / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def only_finding(ended: Finished) -> dict[str, Any]:
    [finding] = ended.document["findings"]
    assert isinstance(finding, dict)
    return finding


@pytest.mark.parametrize("kind", [Kind.PLAIN, Kind.STREAMING])
@pytest.mark.slow
def test_a_new_agent_is_fine(cli: CommandLine, kind: Kind) -> None:
    assert cli.run("init", "--name", "a", "--author", "me@example.com", "--template", kind).code == 0
    ended = cli.run("validate", "--json")
    assert (ended.code, ended.document) == (0, {"ok": True, "findings": []})


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in (Kind.PLAIN, Kind.STREAMING)])
@pytest.mark.slow
def test_a_new_agent_of_a_framework_needs_nothing_but_the_framework(cli: CommandLine, kind: Kind) -> None:
    assert cli.run("init", "--name", "a", "--author", "me@example.com", "--template", kind).code == 0
    assert cli.run("validate", "--no-import", "--json").document["findings"] == []
    finding = only_finding(cli.run("validate", "--json"))
    assert "ModuleNotFoundError: No module named" in finding["message"]


@pytest.mark.parametrize(
    ("old", "new", "line", "check", "words"),
    [
        ("  name: my-agent", "  name: My_Agent", 5, "schema", "metadata.name is wrong"),
        ("  entrypoint: main.py\n", "", 10, "schema", "spec.entrypoint is missing"),
        ("    timeout: 300", "    timeout: 4000", 16, "schema", "spec.runtime.timeout is wrong"),
        ("    timeout: 300", "    timeuot: 300", 16, "unknown-key", "did you mean 'timeout'?"),
        ("  entrypoint: main.py", "  entrypoint: missing.py", 11, "entrypoint", "no file 'missing.py'"),
        ('    cpu_limit: "1"', "    cpu_limit: 500m", 18, "size", "whole CPUs"),
        ('    cpu_limit: "1"', "    cpu_limit: 64", 18, "size", "1 to 8"),
        ("    memory_limit: 1Gi", "    memory_limit: 64Gi", 17, "size", "8192Mi"),
        ("  envVars: {}", "  envVars: &here {}", 14, "yaml", "uses the anchor 'here'"),
        ("  envVars: {}", "  envVars:\n    DB_PASSWORD: hunter2", 15, "secret", "DB_PASSWORD looks like a secret"),
        ("  envVars: {}", "  envVars:\n    X: sk-abcdefghijklmnop0123", 15, "secret", "X is a key of a model service"),
        ("  envVars: {}", '  envVars:\n    "A B": x', 15, "schema", "is not a valid name of a variable"),
        ("  author: me@example.com", "  author: me", 7, "schema", "author is not an e-mail address"),
        ("  author: me@example.com", "  # nobody", 4, "schema", "author is not set"),
    ],
)
@pytest.mark.slow
def test_a_finding_in_the_manifest_has_its_line(
    agent: CommandLine, old: str, new: str, line: int, check: str, words: str
) -> None:
    change(agent, MANIFEST, old, new)
    ended = agent.run("validate", "--json")
    finding = only_finding(ended)
    assert (finding["file"], finding["line"], finding["check"]) == (MANIFEST, line, check)
    assert words in finding["message"]
    assert ended.code == (1 if finding["severity"] == "error" else 0)
    assert "hunter2" not in ended.out + ended.err
    assert "abcdefghijklmnop0123" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("program", "line", "words"),
    [
        ("import os\n1 / 0\n", 2, "ZeroDivisionError"),
        ("x = 1\n\ndef f(:\n", 3, "SyntaxError"),
        ("import no_such_library\n", 1, "No module named 'no_such_library'"),
        ("x = 1\n", 1, "defines no PPIOAgentRuntimeApp"),
        ("import sys\nsys.exit(3)\n", 1, "ends the process"),
        ("import os\nos._exit(3)\n", 1, "exit code 3"),
        (
            "\nfrom ppio_agent_runtime import PPIOAgentRuntimeApp\napp = PPIOAgentRuntimeApp()\n",
            3,
            "no @app.entrypoint",
        ),
        ("from ppio_agent_runtime import *\napp = PPIOAgentRuntimeApp(AgentConfig(port=-1))\n", 1, "port"),
    ],
)
@pytest.mark.slow
def test_a_finding_in_the_program_has_its_line(agent: CommandLine, program: str, line: int, words: str) -> None:
    (agent.folder / "main.py").write_text(program, encoding="utf-8")
    ended = agent.run("validate", "--json")
    finding = only_finding(ended)
    assert (finding["file"], finding["line"], finding["severity"]) == ("main.py", line, "error")
    assert words in finding["message"]
    assert ended.code == 1


@pytest.mark.slow
def test_an_error_in_another_file_of_the_agent_is_told_there(agent: CommandLine) -> None:
    (agent.folder / "helper.py").write_text("import json\njson.loads('{')\n", encoding="utf-8")
    change(agent, "main.py", "app = ", "import helper\napp = ")
    finding = only_finding(agent.run("validate", "--json"))
    assert (finding["file"], finding["line"]) == ("helper.py", 2)


def test_what_the_agent_prints_is_no_data(agent: CommandLine) -> None:
    change(agent, "main.py", "app = ", "print('hello')\napp = ")
    assert agent.run("validate", "--json").document["ok"]


def test_an_agent_that_runs_when_imported_is_fine(agent: CommandLine) -> None:
    change(agent, "main.py", 'if __name__ == "__main__":\n    app.run()', "app.run()")
    assert agent.run("validate", "--json").document["ok"]


def test_an_import_that_does_not_end_is_told(agent: CommandLine) -> None:
    change(agent, "main.py", "app = ", "import threading\nthreading.Event().wait()\napp = ")
    change(agent, MANIFEST, "timeout: 300", "timeout: 1")
    assert "did not end within 1 s" in only_finding(agent.run("validate", "--json"))["message"]


def test_a_dockerfile_that_the_platform_cannot_build_is_told(agent: CommandLine) -> None:
    change(agent, "Dockerfile", "FROM python:3.12-slim", "FROM python:3.12-alpine")
    finding = only_finding(agent.run("validate", "--json"))
    assert (finding["file"], finding["line"]) == ("Dockerfile", 2)
    assert "glibc" in finding["message"]


@pytest.mark.slow
def test_a_warning_fails_it_with_strict_only(agent: CommandLine) -> None:
    (agent.folder / "Dockerfile").unlink()
    assert agent.run("validate").code == 0
    assert agent.run("validate", "--strict").code == 1


@pytest.mark.slow
def test_people_read_file_and_line(agent: CommandLine) -> None:
    change(agent, MANIFEST, "timeout: 300", "timeuot: 300")
    ended = agent.run("validate")
    words = "unknown field 'spec.runtime.timeuot', ignored; did you mean 'timeout'?"
    assert ended.out.startswith(f"{MANIFEST}:16: warning: {words}")
    assert "0 errors, 1 warning." in ended.err


def test_a_deployment_warns_about_unknown_fields_too(agent: CommandLine) -> None:
    change(agent, MANIFEST, "timeout: 300", "timeuot: 300")
    ended = agent.run("deploy", "--local", "--dry-run")
    assert ended.code == 0
    assert f"Warning: {MANIFEST}:16: unknown field 'spec.runtime.timeuot', ignored; did you mean" in ended.err


@pytest.mark.parametrize(
    "line",
    [
        "MAX_TOKENS: 100",
        "PUBLIC_KEY: abc",
        "KEY_FILE: x.pem",
        "TOKEN: ${TOKEN}",
        "API_KEY: <yours>",
        "api_key:",
        "name: key",
    ],
)
def test_what_only_sounds_like_a_secret_is_none(line: str) -> None:
    assert list(check_secrets("m", f"spec:\n  {line}\n")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for an interpreter")
@pytest.mark.slow
def test_a_python_without_the_runtime_is_a_warning(agent: CommandLine) -> None:
    python = agent.folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    finding = only_finding(agent.run("validate", "--json"))
    assert finding["severity"] == "warning"
    assert "pip install ppio-agent-runtime" in finding["message"]
