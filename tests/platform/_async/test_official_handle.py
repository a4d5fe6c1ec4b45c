"""`session.sandbox`: the official SDK on the sandbox of a session, with our addresses and credentials."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ppio_sandbox.core import AsyncSandbox, AuthenticationException

from ppio_agent_client import (
    AgentRuntimeClient,
    ClientConfig,
    ConfigurationError,
    LocalSandboxProvider,
    SandboxConfig,
    SandboxGoneError,
)
from tests.platform.conftest import Account
from tests.support.agents import write_agent
from tests.support.platform import API_KEY, light_agent
from tests.support.platform_agent import settings

pytestmark = pytest.mark.usefixtures("official_async_pool")  # async-only


@pytest.fixture
def config(account: Account) -> ClientConfig:
    account.platform.add_template("t-1", agent=light_agent)
    return settings(account.server.url, domain=account.options["domain"])


async def test_it_has_the_files_and_the_commands_of_the_session(account: Account, config: ClientConfig) -> None:
    async with AgentRuntimeClient(config=config) as client:
        session = await client.create_session("t-1", config=SandboxConfig(env_vars={"COLOUR": "blue"}))
        before = len(account.platform.log)
        handle = session.sandbox
        assert len(account.platform.log) == before

        assert isinstance(handle, AsyncSandbox)
        assert handle.sandbox_id == session.sandbox_id
        await handle.files.write("notes.txt", "from outside")
        done = await handle.commands.run("cat /home/user/notes.txt; echo $COLOUR")
        assert done.stdout == "from outsideblue\n"
        assert (await handle.get_info()).template_id == "t-1"
        assert await handle.kill()
        with pytest.raises(SandboxGoneError):
            await session.refresh()


async def test_a_session_that_somebody_else_made_has_it_too(account: Account, config: ClientConfig) -> None:
    async with AgentRuntimeClient(config=config) as maker, AgentRuntimeClient(config=config) as other:
        made = await maker.create_session("t-1", session_id="s-1")
        await made.sandbox.files.write("notes.txt", "from the maker")

        found = await other.get_session("s-1")
        assert found is not None
        assert await found.sandbox.files.read("notes.txt") == "from the maker"


async def test_a_listed_session_has_it_once_the_platform_was_asked_about_it(config: ClientConfig) -> None:
    async with AgentRuntimeClient(config=config) as maker, AgentRuntimeClient(config=config) as other:
        await maker.create_session("t-1")
        (listed,) = await other.list_sessions()

        with pytest.raises(ConfigurationError, match="get_status"):
            _ = listed.sandbox
        await listed.get_status()

        assert (await listed.sandbox.commands.run("echo here")).stdout == "here\n"


async def test_envd_never_sees_the_key(account: Account, config: ClientConfig) -> None:
    async with AgentRuntimeClient(config=config) as client:
        session = await client.create_session("t-1")
        await session.sandbox.commands.run("true")
        await session.sandbox.files.write("x", "y")
        await session.sandbox.set_timeout(100)

    assert not [call for call in account.platform.log.of(target="envd") if call.mentions(API_KEY)]
    assert account.platform.log.of("timeout")[-1].mentions(API_KEY)


async def test_signed_credentials_open_what_is_inside_and_never_show_the_secret(
    modern: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PPIO_API_KEY", raising=False)
    modern.platform.add_template("t-1", agent=light_agent)
    config = settings(modern.server.url, api_key="ak-1", api_secret="a secret", domain=modern.options["domain"])
    async with AgentRuntimeClient(config=config) as client:
        session = await client.create_session("t-1")

        assert (await session.sandbox.commands.run("echo inside")).stdout == "inside\n"
        with pytest.raises(AuthenticationException):
            await session.sandbox.set_timeout(100)

    assert not [call for call in modern.platform.log if call.mentions("a secret")]


async def test_without_the_extra_the_line_to_install_it_is_told(
    config: ClientConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AgentRuntimeClient(config=config) as client:
        session = await client.create_session("t-1")
        monkeypatch.setitem(sys.modules, "ppio_sandbox.core", None)

        with pytest.raises(ConfigurationError, match=r"pip install 'ppio-agent-client\[sandbox\]'"):
            _ = session.sandbox


async def test_a_local_sandbox_and_an_attached_agent_have_none(tmp_path: Path) -> None:
    provider = LocalSandboxProvider(tmp_path / "home")
    agent = write_agent(tmp_path / "agent", "worker")
    async with AgentRuntimeClient(provider=provider) as client:
        async with await client.create_session(str(agent)) as session:
            with pytest.raises(ConfigurationError, match="comes from a LocalSandboxProvider"):
                _ = session.sandbox
        with pytest.raises(ConfigurationError, match="was attached by address and has no sandbox"):
            _ = client.attach("http://127.0.0.1:1").sandbox
