"""`python -m ppio_agent_runtime --show-config`, as an operator runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig

pytestmark = pytest.mark.contract

AGENT = """
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
print("the agent prints")
app = PPIOAgentRuntimeApp(AgentConfig(timeout=7, host="127.0.0.1"))

@app.entrypoint
def agent(request):
    return request
"""


def show(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PPIO_")}
    return subprocess.run(
        [sys.executable, "-m", "ppio_agent_runtime", "--show-config", *arguments],
        cwd=folder,
        env=clean | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def shown(folder: Path, *arguments: str, **variables: str) -> dict[str, Any]:
    ran = show(folder, "--json", *arguments, **variables)
    assert ran.returncode == 0, ran.stderr
    settings: dict[str, Any] = json.loads(ran.stdout)
    return settings


def test_every_setting_is_shown_with_its_origin(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(AGENT, encoding="utf-8")
    settings = shown(tmp_path, "main.py", "--port", "9001", PPIO_AGENT_DEBUG="yes", PPIO_AGENT_TIMEOUT="9")
    assert list(settings) == list(AgentConfig().explain())
    assert settings["timeout"] == {"value": 7, "origin": "argument"}
    assert settings["port"] == {"value": 9001, "origin": "argument"}
    assert settings["debug"] == {"value": True, "origin": "environment", "variable": "PPIO_AGENT_DEBUG"}
    assert settings["heartbeat_seconds"] == {"value": 15.0, "origin": "default"}


def test_without_an_agent_it_is_the_environment_and_the_defaults(tmp_path: Path) -> None:
    settings = shown(tmp_path, PPIO_AGENT_PORT="9002")
    assert settings["port"] == {"value": 9002, "origin": "environment", "variable": "PPIO_AGENT_PORT"}


def test_the_manifest_names_the_agent(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(AGENT, encoding="utf-8")
    (tmp_path / ".ppio-agent.yaml").write_text(
        "apiVersion: v1\nkind: Agent\nmetadata:\n  name: shown\nspec:\n  entrypoint: main.py\n", encoding="utf-8"
    )
    assert shown(tmp_path)["timeout"]["value"] == 7


def test_a_module_that_runs_its_app_is_shown_and_not_served(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(f"{AGENT}\napp.run(port=9003)\n", encoding="utf-8")
    settings = shown(tmp_path, "main.py")
    assert settings["port"] == {"value": 9003, "origin": "argument"}
    assert settings["host"] == {"value": "127.0.0.1", "origin": "argument"}


def test_the_table_has_aligned_columns(tmp_path: Path) -> None:
    ran = show(tmp_path, PPIO_AGENT_PORT="9004")
    lines = ran.stdout.splitlines()
    origin = lines[0].index("origin")
    assert len(lines) == 1 + len(AgentConfig().explain())
    assert {line[origin - 1] for line in lines} == {" "}
    assert all(line[origin:].startswith(("origin", "default", "argument", "environment")) for line in lines)
    assert next(line for line in lines if line.startswith("port ")).endswith("environment PPIO_AGENT_PORT")


def test_passwords_in_addresses_are_masked(tmp_path: Path) -> None:
    limit = json.dumps({"storage_uri": "redis://user:PASSWORD@cache:6379/0?password=PASSWORD"})
    for arguments in ((), ("--json",)):
        ran = show(tmp_path, *arguments, PPIO_AGENT_RATE_LIMIT=limit)
        assert "redis://***@cache:6379/0?***" in ran.stdout
        assert "PASSWORD" not in ran.stdout + ran.stderr


def test_secrets_are_masked_and_only_counted(tmp_path: Path) -> None:
    secrets = {"PPIO_AGENT_API_KEYS": "SECRET1,SECRET2", "PPIO_AGENT_HMAC_KEYS": '{"caller": "SECRET3"}'}
    settings = shown(tmp_path, **secrets)
    assert settings["api_keys"]["value"] == ["***", "***"]
    assert settings["hmac_keys"]["value"] == {"caller": "***"}
    assert "SECRET" not in show(tmp_path, **secrets).stdout


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    ran = show(tmp_path, PPIO_AGENT_PORT="many")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "PPIO_AGENT_PORT" in ran.stderr


def test_json_alone_is_refused(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "ppio_agent_runtime", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "--show-config" in ran.stderr
