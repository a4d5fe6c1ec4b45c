"""Who may do what: keys, signatures, traffic of one's own, quota."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    AuthenticationError,
    QuotaExceededError,
    RateLimitedError,
    SandboxConfig,
)
from tests.support.platform import API_KEY, Platform
from tests.support.platform_agent import agent_folder, settings


async def test_the_key_of_the_platform_stays_with_the_platform(platform: Platform, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    async with AgentRuntimeClient(config=settings(url)) as client:
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


async def test_a_wrong_key_is_told_and_not_shown(url: str) -> None:
    async with AgentRuntimeClient(config=settings(url, api_key="sk_wrong_one")) as client:
        with pytest.raises(AuthenticationError, match="PPIO_API_KEY") as caught:
            await client.create_session("t-1")
    assert "sk_wrong_one" not in str(caught.value)
    assert caught.value.status_code == 401


async def test_requests_are_signed_where_there_is_a_secret(platform: Platform, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    async with AgentRuntimeClient(config=settings(url, api_key="ak-1", api_secret="a secret")) as client:
        session = await client.create_session("t-1", session_id="s")
        assert (await session.invoke("x")).result["turns"] == 1
    assert all("signature" in call.headers for call in platform.log.of(target="control"))
    assert not any("x-api-key" in call.headers for call in platform.log)


async def test_quota_is_told_apart_from_rate(platform: Platform, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    async with AgentRuntimeClient(config=settings(url, max_retries=1)) as client:
        platform.faults.add("create", "quota")
        with pytest.raises(QuotaExceededError, match="maximum number of concurrent") as refused:
            await client.create_session("t-1")
        assert (refused.value.status_code, refused.value.request_id) == (429, "req-of-a-fault")
        assert len(platform.log.of("create")) == 1
        platform.faults.add("create", "429", times=2, retry_after="0")
        with pytest.raises(RateLimitedError) as limited:
            await client.create_session("t-1")
        assert (limited.value.retryable, limited.value.retry_after) == (True, 0)
        platform.faults.add("create", "429", retry_after="0")
        async with await client.create_session("t-1") as session:
            assert (await session.invoke("x")).result["turns"] == 1
