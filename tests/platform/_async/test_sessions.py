"""Sessions with real agents in sandboxes of the platform, as the emulator has it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    ConfigurationError,
    PlatformSandboxProvider,
    SandboxConfig,
    SandboxCreationError,
    SandboxGoneError,
    SandboxPausedError,
    SandboxProvider,
    SessionNotFoundError,
    SessionStatus,
)
from tests.support.platform import Platform, serving
from tests.support.platform_agent import LEGACY, PROGRAM, agent_folder, settings


def test_the_platform_provider_is_a_provider(url: str) -> None:
    assert isinstance(PlatformSandboxProvider(settings(url)), SandboxProvider)


async def test_any_client_with_the_key_joins_a_session_and_its_life_is_as_it_was(
    platform: Platform, url: str, tmp_path: Path
) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"), name="my-agent")
    name = "客户 7/_%2B\n"
    async with AgentRuntimeClient(config=settings(url)) as first, AgentRuntimeClient(config=settings(url)) as second:
        await (await first.create_session("my-agent", 600, session_id=name)).invoke("x")
        (made,) = platform.sandboxes
        ends_at = made.end_at
        found = await second.get_session(name)
        joined = await second.create_session("t-1", 10, session_id=name)
        assert found is joined
        assert joined.session_id == name
        assert (await joined.invoke("y")).result["turns"] == 2
        assert made.end_at == ends_at
        assert [session.session_id for session in await second.list_sessions()] == [name]
        assert await second.get_session("客户 7") is None
        with pytest.raises(SandboxCreationError, match="'t-1', not 'another'"):
            await second.create_session("another", session_id=name)
        assert await second.close_session(name) is True
        assert await second.close_session(name) is False
    assert len(list(platform.sandboxes)) == 0


@pytest.mark.slow
async def test_a_dead_session_gets_a_new_sandbox(client: AgentRuntimeClient, url: str) -> None:
    first = await client.create_session("t-1", session_id="s")
    async with AgentRuntimeClient(config=settings(url)) as other:
        await other.close_session("s")
    with pytest.raises(SandboxGoneError):
        await first.invoke("x")
    async with await client.create_session("t-1", session_id="s") as second:
        assert second.sandbox_id != first.sandbox_id


async def test_pause_resume_and_refresh_are_real(client: AgentRuntimeClient, platform: Platform) -> None:
    async with await client.create_session("t-1", 100, session_id="s") as session:
        await session.invoke("x")
        await session.pause()
        await session.pause()
        (made,) = platform.sandboxes
        assert made.state == "paused"
        assert await session.get_status() is SessionStatus.PAUSED
        assert await client.get_session("s") is session
        assert made.state == "paused"
        with pytest.raises(SandboxPausedError):
            await session.invoke("x")
        with pytest.raises(SandboxPausedError):
            await session.refresh()
        await session.resume()
        assert (await session.invoke("x")).result["turns"] == 2
        assert timedelta(seconds=90) < made.end_at - made.started_at < timedelta(seconds=200)
        await session.refresh(1000)
        assert made.end_at - made.started_at > timedelta(seconds=990)
    with pytest.raises(SandboxGoneError):
        await session.refresh()


async def test_the_older_dialect_is_spoken_where_the_domain_wants_it(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "platform", legacy=True)
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    with serving(platform) as server:
        async with AgentRuntimeClient(config=settings(server.url, domain=LEGACY)) as client:
            async with await client.create_session("t-1", session_id="s") as session:
                assert (await session.invoke("x")).result["turns"] == 1
                await session.pause()
                await session.resume()
                await session.refresh()
                assert [each.sandbox_id for each in await client.list_sessions()] == [session.sandbox_id]
            with pytest.raises(ConfigurationError, match="private_traffic"):
                await client.create_session("t-1", config=SandboxConfig(private_traffic=True))
        assert len(list(platform.sandboxes)) == 0


async def test_sandboxes_of_others_are_not_ours(client: AgentRuntimeClient, platform: Platform, url: str) -> None:
    session = await client.create_session("t-1", session_id="ours")
    provider = PlatformSandboxProvider(settings(url))
    (made,) = platform.sandboxes
    made.options.metadata.clear()
    assert await client.list_sessions() == []
    assert await provider.get(made.sandbox_id) is None
    assert await client.get_session("ours") is None
    await provider.close()
    assert await session.close() is True


async def test_the_log_of_an_agent_is_read_and_read_on(platform: Platform, url: str, tmp_path: Path) -> None:
    program = PROGRAM.replace(
        'turns.append(request.get("prompt"))', 'turns.append(print(request["prompt"], flush=True))'
    )
    platform.add_template("t-1", agent_folder(tmp_path / "agent", program=program))
    async with AgentRuntimeClient(config=settings(url)) as client:
        session = await client.create_session("t-1", session_id="s")
        await session.invoke("first words")
        text, cursor = "", None
        while "first words" not in text:
            page = await client.get_logs("s", cursor)
            text, cursor = text + page.text, page.cursor
        await session.invoke("last words")
        while "last words" not in text:
            page = await client.get_logs("s", cursor)
            text, cursor = text + page.text, page.cursor
        assert text.count("first words") == 1
        await session.close()
        with pytest.raises(SessionNotFoundError):
            await client.get_logs("s")


@pytest.mark.slow
async def test_a_request_wakes_a_sandbox_that_was_made_so(
    client: AgentRuntimeClient, platform: Platform, url: str
) -> None:
    session = await client.create_session("t-1", 600, SandboxConfig(auto_resume=True), session_id="s")
    await session.pause()
    (made,) = platform.sandboxes
    assert made.state == "paused"
    async with AgentRuntimeClient(config=settings(url)) as other:
        found = await other.get_session("s")
        assert found is not None
        assert made.state == "paused"
        assert (await found.invoke("x")).result["turns"] == 1
        assert await found.get_status() is SessionStatus.ACTIVE
    await session.close()
