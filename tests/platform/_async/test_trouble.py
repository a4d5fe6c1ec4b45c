"""The platform in trouble: what is raised, and that nothing stays behind, there or here."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    FirstByteTimeoutError,
    NetworkError,
    PlatformError,
    QuotaExceededError,
    RateLimitedError,
    SandboxCreationError,
    SandboxGoneError,
    TotalTimeoutError,
)
from tests.support.platform import Platform, Server
from tests.support.platform_agent import agent_folder, settings


async def test_a_question_is_asked_again_and_in_time(platform: Platform, url: str) -> None:
    async with AgentRuntimeClient(config=settings(url)) as client:
        for kind in ("reset", "cut", "500", "502", "503"):
            platform.faults.add("list", kind)
            assert await client.list_sessions() == []
        platform.faults.add("list", "429", retry_after="0")
        assert await client.list_sessions() == []
        platform.faults.add("list", "400")
        with pytest.raises(PlatformError, match="bad request") as refused:
            await client.list_sessions()
    assert (refused.value.status_code, refused.value.request_id) == (400, "req-of-a-fault")
    assert refused.value.retryable is False


async def test_a_silent_platform_is_not_waited_for_forever(platform: Platform, url: str) -> None:
    async with AgentRuntimeClient(config=settings(url, platform_timeout=0.6, max_retries=1)) as client:
        platform.faults.add("list", "hang", times=10)
        with pytest.raises((FirstByteTimeoutError, TotalTimeoutError)):
            await client.list_sessions()
    assert len(platform.log.of("list")) == 2


async def test_a_platform_that_is_not_there_is_a_network_error(unused_url: str) -> None:
    async with AgentRuntimeClient(config=settings(unused_url, max_retries=1)) as client:
        with pytest.raises(NetworkError) as failed:
            await client.create_session("t-1", session_id="s")
    assert failed.value.retryable is True


@pytest.mark.parametrize("kind", ["502", "reset", "cut"])
@pytest.mark.slow
async def test_a_start_that_is_disturbed_happens_once(
    client: AgentRuntimeClient, platform: Platform, kind: str
) -> None:
    platform.faults.add("start", kind)
    async with await client.create_session("t-1") as session:
        assert (await session.invoke("x")).result["turns"] == 1
        (made,) = platform.sandboxes
        assert len(made.processes) == 1


async def test_a_sandbox_that_ends_while_it_starts_is_told(platform: Platform, url: str, tmp_path: Path) -> None:
    program = "import time\ntime.sleep(1000)\n"
    platform.add_template("t-1", agent_folder(tmp_path / "agent", program=program))
    async with AgentRuntimeClient(config=settings(url)) as client:
        with pytest.raises(SandboxCreationError, match="ended while it started"):
            await client.create_session("t-1", 1)
    assert len(list(platform.sandboxes)) == 0


async def test_a_sandbox_that_expired_is_gone(client: AgentRuntimeClient, platform: Platform) -> None:
    session = await client.create_session("t-1", 600)
    await session.invoke("x")
    await session.refresh(0.5)
    while list(platform.sandboxes):
        await client.list_sessions()
    with pytest.raises(SandboxGoneError):
        await session.invoke("x")
    with pytest.raises(SandboxGoneError):
        async for _ in session.stream("x"):
            pass
    with pytest.raises(SandboxGoneError):
        await session.resume()
    assert await session.close() is False


async def test_an_end_whose_answer_was_lost_is_an_end(client: AgentRuntimeClient, platform: Platform) -> None:
    session = await client.create_session("t-1")
    platform.faults.add("kill", "reset", after_effect=True)
    assert await session.close() is True


async def test_a_list_of_templates_that_fails_stops_no_session(
    platform: Platform, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    platform.faults.add("templates", "500", times=100)
    async with AgentRuntimeClient(config=settings(url, max_retries=0)) as client:
        for _ in range(2):
            async with await client.create_session("t-1") as session:
                assert (await session.invoke("x")).result["turns"] == 1
    assert len(platform.log.of("templates")) == 1
    assert [record.message for record in caplog.records if "did not list its templates" in record.message] != []


async def test_nothing_is_left_in_this_process(platform: Platform, server: Server, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    platform.add_template("t-2", agent_folder(tmp_path / "bad", program="import no_such_module\n"))
    threads = set(threading.enumerate())
    async with AgentRuntimeClient(config=settings(url, keep_alive=True)) as client:
        async with await client.create_session("t-1") as session:
            await session.invoke("x")
        with pytest.raises(SandboxCreationError):
            await client.create_session("t-2")
    left = set(threading.enumerate()) - threads
    assert {thread.name for thread in left if not thread.name.startswith("platform")} == set()
    while server.connections:
        pass


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
