"""Sessions with real agents in sandboxes of this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ppio_agent_client import (
    AgentError,
    AgentRuntimeClient,
    AuthenticationError,
    ClientConfig,
    HandlerError,
    InvocationRequest,
    InvocationTimeoutError,
    LocalSandboxProvider,
    SandboxConfig,
    SandboxCreationError,
    SandboxGoneError,
    SandboxPausedError,
    SandboxProvider,
    SandboxSession,
    SandboxStartTimeoutError,
    SessionStatus,
    StreamInterruptedError,
    TemplateNotFoundError,
)
from ppio_agent_client._io import _async as io
from tests.support.agents import write_agent, write_code


async def deployed(home: Path, kind: str) -> LocalSandboxProvider:
    """Return a provider with one agent deployed under its kind."""
    provider = LocalSandboxProvider(home)
    await provider.deploy(write_agent(home.parent / "agents" / kind, kind))
    return provider


@asynccontextmanager
async def session_with(home: Path, kind: str) -> AsyncIterator[SandboxSession]:
    async with AgentRuntimeClient(provider=await deployed(home, kind)) as client:
        yield await client.create_session(kind)


@pytest.mark.contract
async def test_the_local_provider_is_a_provider(home: Path) -> None:
    assert isinstance(LocalSandboxProvider(home), SandboxProvider)


@pytest.mark.contract
async def test_an_agent_remembers_a_conversation(home: Path) -> None:
    async with AgentRuntimeClient(provider=await deployed(home, "worker")) as client:
        async with await client.create_session("worker") as session:
            assert [(await session.invoke(f"turn {turn}")).result for turn in range(3)] == [1, 2, 3]
            assert await session.get_status() is SessionStatus.ACTIVE
            info = await session.info()
            assert (info.session_id, info.template_id) == (session.session_id, "worker")
        assert await session.get_status() is SessionStatus.CLOSED
        assert await client.list_sessions() == []


@pytest.mark.contract
async def test_an_agent_answers_its_session_alone(home: Path) -> None:
    async with AgentRuntimeClient(provider=await deployed(home, "worker")) as client:
        session = await client.create_session("worker")
        stranger = client.attach(session.host_url)
        assert (await stranger.ping()).status == "Healthy"
        with pytest.raises(AuthenticationError):
            await stranger.invoke("x")
        assert (await session.invoke("x")).result == 1


@pytest.mark.contract
async def test_another_client_finds_the_session_and_goes_on(home: Path) -> None:
    provider = await deployed(home, "worker")
    async with AgentRuntimeClient(provider=provider) as client:
        first = await client.create_session("worker", session_id="Ünï/ one")
        await first.invoke("x")
    async with AgentRuntimeClient(provider=LocalSandboxProvider(home)) as client:
        second = await client.get_session("Ünï/ one")
        assert second is not None
        assert (await second.invoke("x")).result == 2
        assert [session.session_id for session in await client.list_sessions()] == ["Ünï/ one"]
        assert (await client.create_session("worker", session_id="Ünï/ one")).sandbox_id == first.sandbox_id
        assert await client.close_session("Ünï/ one")
        assert not await client.close_session("Ünï/ one")


@pytest.mark.contract
async def test_the_agent_sees_the_session_id_as_it_is(home: Path) -> None:
    async with AgentRuntimeClient(provider=await deployed(home, "worker")) as client:
        session = await client.create_session("worker", session_id="Ünï/ 1%")
        assert (await session.invoke({"do": "session"})).result == "Ünï/ 1%"


@pytest.mark.contract
async def test_a_session_id_is_bound_to_its_template(home: Path) -> None:
    provider = await deployed(home, "worker")
    await provider.deploy(write_agent(home.parent / "agents" / "answerer", "answerer"))
    async with AgentRuntimeClient(provider=provider) as client:
        await client.create_session("worker", session_id="one")
        with pytest.raises(SandboxCreationError, match=r"'worker'.*'answerer'"):
            await client.create_session("answerer", session_id="one")


@pytest.mark.contract
async def test_environment_variables_reach_the_agent_and_the_callers_own_do_not(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPIO_API_KEY", "sk_secret")
    async with AgentRuntimeClient(provider=await deployed(home, "worker")) as client:
        session = await client.create_session("worker", config=SandboxConfig(env_vars={"COLOUR": "blue"}))
        environment = (await session.invoke({"do": "environment"})).result
    assert environment["COLOUR"] == "blue"
    assert "sk_secret" not in environment.values()


@pytest.mark.contract
async def test_a_folder_is_a_template_without_being_deployed(home: Path) -> None:
    folder = write_agent(home.parent / "agents" / "answerer", "answerer")
    async with AgentRuntimeClient(provider=LocalSandboxProvider(home)) as client:
        response = await client.invoke_agent(str(folder), InvocationRequest.model_validate({"query": "why"}))
        assert response.result == "answer to why"
        assert (await client.get_template(str(folder))).name == "answerer"


@pytest.mark.contract
async def test_templates_come_and_go(home: Path) -> None:
    provider = await deployed(home, "worker")
    async with AgentRuntimeClient(provider=provider) as client:
        assert [template.template_id for template in await client.list_templates()] == ["worker"]
        assert await provider.delete_template("worker")
        assert not await provider.delete_template("worker")
        assert await client.list_templates(refresh=True) == []
        with pytest.raises(TemplateNotFoundError, match="worker"):
            await client.create_session("worker")


@pytest.mark.contract
async def test_a_crash_on_import_fails_at_once_with_the_last_output(home: Path) -> None:
    provider = LocalSandboxProvider(home)
    await provider.deploy(
        write_code(home.parent / "broken", "print('here I come')\nimport no_such_thing\n", timeout=3600)
    )
    async with AgentRuntimeClient(provider=provider) as client:
        with pytest.raises(SandboxCreationError, match=r"(?s)exit code 1.*No module named 'no_such_thing'") as caught:
            await client.create_session("broken")
        assert "here I come" in caught.value.output
        assert await client.list_sessions() == []


@pytest.mark.contract
async def test_an_agent_that_never_answers_is_given_up_and_ended(home: Path) -> None:
    provider = LocalSandboxProvider(home)
    await provider.deploy(write_code(home.parent / "mute", "import time\ntime.sleep(3600)\n", timeout=1))
    async with AgentRuntimeClient(provider=provider) as client:
        with pytest.raises(SandboxStartTimeoutError, match="within 1 s"):
            await client.create_session("mute")
        assert await client.list_sessions() == []


@pytest.mark.contract
async def test_a_sandbox_that_dies_in_the_middle_is_gone(home: Path) -> None:
    async with session_with(home, "worker") as session:
        assert (await session.invoke("x")).result == 1
        with pytest.raises(SandboxGoneError, match=r"exit code 7") as caught:
            await session.invoke({"do": "die"})
        assert "farewell" in caught.value.output
        with pytest.raises(SandboxGoneError):
            await session.invoke("x")
        assert await session.get_status() is SessionStatus.ERROR


@pytest.mark.contract
async def test_a_stream_whose_agent_dies_is_gone(home: Path) -> None:
    async with session_with(home, "streamer") as session:
        async with session.stream({"die_at": 3}) as stream:
            with pytest.raises(SandboxGoneError, match="exit code 7") as caught:
                [chunk async for chunk in stream]
        assert isinstance(caught.value.__cause__, StreamInterruptedError)


@pytest.mark.contract
async def test_a_session_that_somebody_closed_is_gone(home: Path) -> None:
    provider = await deployed(home, "worker")
    async with AgentRuntimeClient(provider=provider) as client, AgentRuntimeClient(provider=provider) as other:
        session = await client.create_session("worker")
        await other.close_session(session.session_id)
        with pytest.raises(SandboxGoneError, match="closed or expired"):
            await session.invoke("x")


@pytest.mark.contract
async def test_a_paused_session_sleeps_until_it_is_woken(home: Path) -> None:
    async with AgentRuntimeClient(provider=await deployed(home, "worker")) as client:
        session = await client.create_session("worker")
        await session.invoke("x")
        await session.pause()
        assert await session.get_status() is SessionStatus.PAUSED
        assert session.expires_at is None
        with pytest.raises(SandboxPausedError):
            await session.invoke("x")
        found = await client.get_session(session.session_id)
        assert found is not None
        assert await found.get_status() is SessionStatus.PAUSED
        await session.resume()
        assert (await session.invoke("x")).result == 2


@pytest.mark.contract
async def test_a_sandbox_that_somebody_paused_is_told_after_the_time_limit(home: Path) -> None:
    provider = await deployed(home, "worker")
    config = ClientConfig(timeout=1)
    async with (
        AgentRuntimeClient(provider=provider, config=config) as client,
        AgentRuntimeClient(provider=provider) as other,
    ):
        session = await client.create_session("worker")
        theirs = await other.get_session(session.session_id)
        assert theirs is not None
        await theirs.pause()
        with pytest.raises(SandboxPausedError):
            await session.invoke("x")


@pytest.mark.contract
async def test_a_refresh_lets_the_sandbox_live_on(home: Path) -> None:
    async with AgentRuntimeClient(provider=await deployed(home, "worker")) as client:
        session = await client.create_session("worker", timeout_seconds=60)
        before = session.expires_at
        assert before is not None
        await session.refresh(600)
        assert session.expires_at is not None
        assert (session.expires_at - before).total_seconds() > 500


async def test_a_sandbox_ends_at_its_time(home: Path) -> None:
    async with AgentRuntimeClient(provider=await deployed(home, "worker")) as client:
        session = await client.create_session("worker", timeout_seconds=2)
        while await session.get_status() is SessionStatus.ACTIVE:
            await io.sleep(0.05)
        assert await session.get_status() is SessionStatus.CLOSED
        with pytest.raises(SandboxGoneError):
            await session.invoke("x")
        assert (await client.create_session("worker", session_id=session.session_id)).sandbox_id != session.sandbox_id


@pytest.mark.contract
async def test_an_agents_own_error_keeps_its_words(home: Path) -> None:
    async with session_with(home, "worker") as session:
        with pytest.raises(AgentError, match="no such order") as caught:
            await session.invoke({"do": "refuse"})
        assert (caught.value.status_code, caught.value.error_type) == (409, "OrderNotFound")
        assert caught.value.request_id


@pytest.mark.contract
async def test_a_failing_handler_keeps_its_secrets(home: Path) -> None:
    async with session_with(home, "worker") as session:
        with pytest.raises(HandlerError) as caught:
            await session.invoke({"do": "fail"})
        assert "secret" not in str(caught.value)
        assert caught.value.request_id


@pytest.mark.contract
async def test_the_timeout_of_a_request_stops_the_handler(home: Path) -> None:
    async with session_with(home, "worker") as session:
        with pytest.raises(InvocationTimeoutError):
            await session.invoke({"do": "sleep", "timeout": 0.2})


@pytest.mark.contract
async def test_a_stream_is_read_to_its_end(home: Path) -> None:
    async with session_with(home, "streamer") as session, session.stream({"count": 100}) as stream:
        assert [chunk["number"] async for chunk in stream] == list(range(1, 101))
        assert stream.last_event_id == 100
        assert stream.done is not None
        assert stream.request_id


@pytest.mark.contract
async def test_an_error_in_a_stream_comes_behind_its_chunks(home: Path) -> None:
    async with session_with(home, "streamer") as session:
        async with session.stream({"fail_at": 2}) as stream:
            assert await anext(stream) == {"number": 1}
            assert await anext(stream) == {"number": 2}
            with pytest.raises(AgentError, match="no more") as caught:
                await anext(stream)
        assert caught.value.error_type == "OutOfPaper"


async def test_leaving_a_stream_early_stops_the_agents_generator(home: Path) -> None:
    note = home.parent / "note"
    async with session_with(home, "streamer") as session:
        async with session.stream({"note": str(note)}) as stream:
            assert await anext(stream) == {"number": 1}
        while not note.exists():
            await io.sleep(0.02)
        assert await session.get_status() is SessionStatus.ACTIVE


@pytest.mark.contract
async def test_a_stream_of_an_agent_leaves_no_sandbox(home: Path) -> None:
    async with AgentRuntimeClient(provider=await deployed(home, "streamer")) as client:
        assert [chunk["number"] async for chunk in client.stream_agent("streamer", {"count": 3})] == [1, 2, 3]
        async with client.stream_agent("streamer", {}) as stream:
            assert await anext(stream) == {"number": 1}
        assert await client.list_sessions() == []


@pytest.mark.contract
async def test_the_provider_is_found_by_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPIO_AGENT_HOME", str(home))
    await deployed(home, "answerer")
    async with AgentRuntimeClient(provider="local") as client:
        assert (await client.invoke_agent("answerer", {"query": "why"})).result == "answer to why"
    monkeypatch.setenv("PPIO_AGENT_PROVIDER", "local")
    async with AgentRuntimeClient("your-api-key", "your-api-secret") as client:
        assert (await client.invoke_agent("answerer", {"query": "why"})).result == "answer to why"
