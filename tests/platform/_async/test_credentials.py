"""Credentials of every kind, shown to the platform as the emulator has it, and to nobody else."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    AuthenticationError,
    AuthManager,
    ConfigurationError,
    SandboxConfig,
    TemplateManager,
)
from ppio_agent_client._io import _async as io
from tests.support.platform import API_KEY, Platform
from tests.support.platform_agent import agent_folder, settings

SECRET = "a secret"


async def test_the_templates_can_be_had_with_credentials_alone(
    platform: Platform, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.add_template("t-1", name="one")
    monkeypatch.setenv("PPIO_API_URL", url)
    monkeypatch.delenv("PPIO_AGENT_PROVIDER", raising=False)
    async with TemplateManager(AuthManager(API_KEY)) as manager:
        assert [template.template_id for template in await manager.list_templates()] == ["t-1"]
        assert (await manager.get_template("t-1")).name == "one"
    assert len(platform.log) == 1


async def test_the_templates_of_nobody_cannot_be_had(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PPIO_AGENT_PROVIDER", raising=False)
    async with TemplateManager(AuthManager(), settings(url, api_key=None)) as manager:
        with pytest.raises(AuthenticationError, match="PPIO_API_KEY"):
            await manager.list_templates()


async def test_with_a_secret_neither_it_nor_a_key_travels(platform: Platform, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    config = settings(url, api_key="ak-1", api_secret=SECRET)
    async with AgentRuntimeClient(config=config) as client, AgentRuntimeClient(config=config) as other:
        session = await client.create_session("t-1", session_id="客户 7?&=%")
        await session.invoke("x")
        found = await other.get_session("客户 7?&=%")
        assert found is not None
        assert (await found.invoke("y")).result["turns"] == 2
        await found.refresh(600)
        assert len(await other.list_sessions()) == 1
        assert len(await other.list_templates()) == 1
        assert await found.close() is True
    assert [call.endpoint for call in platform.log if call.mentions(SECRET)] == []
    shown = [call for call in platform.log if call.target == "control"]
    assert all("signature" in call.headers and "x-api-key" not in call.headers for call in shown)
    assert [call.endpoint for call in platform.log if call.target != "control" and call.mentions('"ak-1"')] == []


async def test_a_key_that_the_platform_has_revoked_is_fetched_anew_and_once(
    platform: Platform, url: str, tmp_path: Path
) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    issued: list[str] = []

    def fetch() -> str:
        issued.append(f"key-{len(issued) + 1}")
        platform.keys.api_keys = {issued[-1]}
        return issued[-1]

    config = settings(url, api_key=fetch, session_secret="ours")
    async with AgentRuntimeClient(config=config) as client:
        session = await client.create_session("t-1")
        platform.keys.api_keys = {"another"}
        looks = await io.gather([partial(client.get_session, session.session_id) for _ in range(20)])
        assert [look for look in looks if isinstance(look, BaseException)] == []
        assert issued == ["key-1", "key-2"]
        assert (await session.invoke("x")).result["turns"] == 1
        await session.close()
    assert [call.endpoint for call in platform.log if call.target != "control" and call.mentions("key-")] == []


async def test_clients_with_one_session_secret_share_sessions_whatever_keys_they_have(
    platform: Platform, url: str, tmp_path: Path
) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    platform.keys.api_keys |= {"key-1", "key-2"}
    first = settings(url, api_key=lambda: "key-1", session_secret="ours")
    second = settings(url, api_key="key-2", session_secret="ours")
    async with AgentRuntimeClient(config=first) as client, AgentRuntimeClient(config=second) as other:
        session = await client.create_session("t-1")
        found = await other.get_session(session.session_id)
        assert found is not None
        assert (await found.invoke("x")).result["turns"] == 1
        await found.close()


async def test_without_a_secret_that_stays_nothing_is_made(platform: Platform, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    async with AgentRuntimeClient(config=settings(url, api_key=lambda: API_KEY)) as client:
        with pytest.raises(ConfigurationError, match="PPIO_AGENT_SESSION_SECRET"):
            await client.create_session("t-1")
    assert platform.log == []


async def test_an_issuer_that_fails_is_told_and_the_platform_is_not_asked(platform: Platform, url: str) -> None:
    def fetch() -> str:
        raise OSError("the vault says: hidden")

    async with AgentRuntimeClient(config=settings(url, api_key=fetch)) as client:
        with pytest.raises(AuthenticationError, match="OSError") as caught:
            await client.list_templates()
    assert "hidden" not in str(caught.value)
    assert platform.log == []


async def test_no_error_of_the_platform_shows_a_secret(platform: Platform, url: str) -> None:
    for config in (
        settings(url, api_key="wrong-key-1"),
        settings(url, api_key="ak-1", api_secret="wrong-secret-1"),
        settings(url, api_key=lambda: "wrong-token-1"),
    ):
        async with AgentRuntimeClient(config=config) as client:
            with pytest.raises(AuthenticationError, match="PPIO_API_KEY") as caught:
                await client.list_templates()
        assert caught.value.status_code == 401
        assert "wrong-" not in f"{caught.value!r} {vars(caught.value)} {caught.value.__reduce__()}"


async def test_the_key_of_the_platform_stays_with_the_platform(client: AgentRuntimeClient, platform: Platform) -> None:
    session = await client.create_session("t-1", session_id="secretive")
    result = (await session.invoke("x")).result
    await session.get_status()
    await session.close()
    assert result["key"] is None
    assert [call.endpoint for call in platform.log if call.target != "control" and call.mentions(API_KEY)] == []
    (start,) = platform.log.of("start")
    assert start.connect_timeout_ms is None
    token = client.auth_manager.session_token("secretive")
    assert f'"PPIO_AGENT_API_KEYS":"{token}"'.encode() in start.body
    (invocation,) = platform.log.of("agent/invocations")
    assert invocation.headers["authorization"] == f"Bearer {token}"


async def test_a_stranger_is_not_let_in(platform: Platform, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    stranger = settings(url, session_secret="another")
    async with AgentRuntimeClient(config=settings(url)) as client, AgentRuntimeClient(config=stranger) as other:
        session = await client.create_session("t-1")
        found = await other.get_session(session.session_id)
        assert found is not None
        with pytest.raises(AuthenticationError):
            await found.invoke("x")
        await session.close()


async def test_private_traffic_is_open_to_the_session_from_any_client(
    platform: Platform, url: str, tmp_path: Path
) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    async with AgentRuntimeClient(config=settings(url)) as first, AgentRuntimeClient(config=settings(url)) as second:
        session = await first.create_session("t-1", 600, SandboxConfig(private_traffic=True), session_id="s")
        await session.invoke("x")
        (made,) = platform.sandboxes
        ends_at = made.end_at
        (listed,) = await second.list_sessions()
        assert (await listed.invoke("x")).result["turns"] == 2
        assert made.end_at == ends_at
        await session.pause()
        async with AgentRuntimeClient(config=settings(url)) as third:
            asleep = await third.get_session("s")
            assert asleep is not None
            assert made.state == "paused"
            await asleep.resume()
            assert (await asleep.invoke("x")).result["turns"] == 3
            await asleep.close()
