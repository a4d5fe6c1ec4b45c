"""How an agent is started in a sandbox of the platform, and what is told when that fails."""

from __future__ import annotations

import json
import logging
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    ConfigurationError,
    SandboxConfig,
    SandboxCreationError,
    SandboxStartTimeoutError,
    SessionStatus,
    TemplateNotFoundError,
)
from ppio_agent_client._async.providers.platform import startup
from ppio_agent_client._io import _async as io
from tests.support.platform import Platform
from tests.support.platform_agent import agent_folder, settings


async def test_an_agent_is_started_with_its_environment_and_remembers(
    client: AgentRuntimeClient, platform: Platform
) -> None:
    config = SandboxConfig(env_vars={"GREETING": "hi there, 'you'"}, metadata={"customer": "7"})
    async with await client.create_session("my-agent", 600, config) as session:
        answers = [(await session.invoke("x")).result for _ in range(2)]
        info = await session.info()
    assert [answer["turns"] for answer in answers] == [1, 2]
    assert answers[0]["greeting"] == "hi there, 'you'"
    assert (info.template_id, info.status, info.metadata) == ("t-1", SessionStatus.ACTIVE, {"customer": "7"})
    assert info.expires_at is not None
    assert info.created_at is not None
    assert info.expires_at - info.created_at > timedelta(seconds=590)
    assert len(list(platform.sandboxes)) == 0


async def test_a_crash_on_import_fails_at_once_with_its_last_words(
    platform: Platform, url: str, tmp_path: Path
) -> None:
    program = "print('about to fail')\nimport no_such_module\n"
    platform.add_template("t-1", agent_folder(tmp_path / "agent", program=program))
    async with AgentRuntimeClient(config=settings(url)) as client:
        with pytest.raises(SandboxCreationError, match=r"exit code 1(.|\n)*no_such_module") as caught:
            await client.create_session("t-1")
    assert "no_such_module" in caught.value.output
    assert len(list(platform.sandboxes)) == 0


async def test_an_agent_that_never_is_ready_fails_at_the_time_of_its_manifest(
    platform: Platform, url: str, tmp_path: Path
) -> None:
    program = "import time\nprint('loading', flush=True)\ntime.sleep(1000)\n"
    manifest = {"spec": {"entrypoint": "main.py", "runtime": {"timeout": 1}}}
    source = agent_folder(tmp_path / "agent", program=program)
    platform.add_template("t-1", source, metadata={"agent_runtime": json.dumps(manifest)})
    async with AgentRuntimeClient(config=settings(url)) as client:
        with pytest.raises(SandboxStartTimeoutError, match=r"within 1 s(.|\n)*loading"):
            await client.create_session("t-1")
    assert len(list(platform.sandboxes)) == 0


@pytest.mark.parametrize("entrypoint", ["main.py", "my agent's $(file).py", "-c.py"])
async def test_a_template_of_the_vendor_is_started_by_its_metadata(
    platform: Platform, url: str, tmp_path: Path, entrypoint: str
) -> None:
    manifest = {"metadata": {"name": "my-agent"}, "spec": {"entrypoint": entrypoint, "envVars": {"GREETING": "hi"}}}
    source = agent_folder(tmp_path / "agent", manifest=None, file=entrypoint)
    platform.add_template("tpl7", source, name="my-agent", metadata={"agent_runtime": json.dumps(manifest)})
    async with AgentRuntimeClient(config=settings(url)) as client:
        session = await client.create_session("my_agent-tpl7")
        assert (await session.invoke("x")).result["greeting"] == "hi"
        assert session.template_id == "tpl7"


async def test_an_agent_that_runs_already_is_not_started_and_an_open_one_is_told_of_once(
    platform: Platform, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = agent_folder(tmp_path / "agent")
    platform.add_template("t-1", source, start_cmd="cd /app && exec python main.py")
    with caplog.at_level(logging.WARNING, "ppio_agent_client"):
        async with AgentRuntimeClient(config=settings(url)) as client:
            for _ in range(2):
                async with await client.create_session("t-1") as session:
                    assert (await session.invoke("x")).result["turns"] == 1
    assert platform.log.of("start") == []
    assert [record.message for record in caplog.records if "are started with the sandbox" in record.message] != []
    assert len([record for record in caplog.records if "are started with the sandbox" in record.message]) == 1


async def test_limits_belong_to_the_template(client: AgentRuntimeClient, platform: Platform) -> None:
    with pytest.raises(SandboxCreationError, match=r"1024 MiB of memory, less than 4Gi.*template"):
        await client.create_session("t-1", config=SandboxConfig(memory_limit="4Gi"))
    with pytest.raises(ConfigurationError, match="cpu_limit"):
        await client.create_session("t-1", config=SandboxConfig(cpu_limit="64"))
    async with await client.create_session("t-1", config=SandboxConfig(memory_limit="512Mi", cpu_limit="2000m")):
        assert len(platform.log.of("create")) == 1


async def test_an_unknown_template_is_told(url: str) -> None:
    async with AgentRuntimeClient(config=settings(url)) as client:
        with pytest.raises(TemplateNotFoundError, match="nobody"):
            await client.create_session("nobody")


@pytest.mark.slow
async def test_an_agent_that_has_ended_is_started_again_by_who_joins(
    client: AgentRuntimeClient, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "_JOIN_SECONDS", 1.0)
    session = await client.create_session("t-1", 600, SandboxConfig(env_vars={"GREETING": "hi"}), session_id="s")
    assert (await session.invoke("x")).result["turns"] == 1
    (made,) = platform.sandboxes
    for process in list(made.processes.values()):
        process.signal(signal.SIGKILL)
    while await session.get_status() is not SessionStatus.INACTIVE:
        await io.sleep(0.01)
    again = await client.create_session("t-1", session_id="s")
    assert again.sandbox_id == session.sandbox_id
    result = (await again.invoke("x")).result
    assert (result["turns"], result["greeting"]) == (1, "hi")
    await again.close()
