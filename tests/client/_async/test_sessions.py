"""Sessions and the sandboxes behind them, with a provider that somebody else wrote."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    ConfigurationError,
    SandboxConfig,
    SandboxCreationError,
    SandboxProvider,
    SandboxStartTimeoutError,
    SessionStatus,
)
from tests.client._async.clients import shelved
from tests.client._async.shelf import BORN, HEALTHY, Shelf
from tests.support.raw_server import answer, answering, closed_port

pytestmark = pytest.mark.contract

SICK = answer(b'{"status":"Unhealthy","message":"no database"}', "503 x")


async def test_a_provider_of_somebody_else_is_a_provider() -> None:
    assert isinstance(Shelf(), SandboxProvider)


async def test_a_session_is_made_and_invoked() -> None:
    async with shelved() as (server, _, client):
        session = await client.create_session("t-1")
        assert (await session.invoke("x")).result == 42
        assert (session.sandbox_id, session.template_id, session.host_url) == ("b-1", "t-1", server.url)
        assert session.expires_at == BORN + timedelta(seconds=600)
    sent = server.requests[-1].headers
    assert (sent["x-ppio-session-id"], sent["x-traffic"]) == (session.session_id, "ticket")


async def test_what_was_asked_for_reaches_the_provider() -> None:
    async with shelved() as (_, shelf, client):
        config = SandboxConfig(env_vars={"A": "b"}, metadata={"x": "1", "y": "1"}, memory_limit="1Gi", cpu_limit="2")
        await client.create_session("t-1", 600, config, session_id="sitzung 1", metadata={"y": "2"})
    (spec,) = shelf.specs
    assert (spec.session_id, spec.template_id, spec.timeout_seconds) == ("sitzung 1", "t-1", 600)
    assert (spec.env_vars, spec.metadata) == ({"A": "b"}, {"x": "1", "y": "2"})
    assert (spec.memory_limit, spec.cpu_limit) == ("1Gi", "2")


async def test_any_text_is_a_session_id_on_the_wire() -> None:
    async with shelved() as (server, _, client):
        await client.create_session("t-1", session_id="Ünï/ 1%")
    assert server.requests[-1].headers["x-ppio-session-id"] == "%C3%9Cn%C3%AF%2F%201%25"


async def test_a_sick_agent_is_waited_for() -> None:
    async with shelved(answering(SICK, SICK, HEALTHY)) as (server, _, client):
        await client.create_session("t-1")
    assert len(server.requests) == 3


async def test_an_agent_that_ends_while_it_starts_is_told_at_once() -> None:
    with closed_port() as url:
        shelf = Shelf(url)
        shelf.ends_at_once = (3, "Traceback\nImportError: no module named x")
        async with AgentRuntimeClient(provider=shelf) as client:
            with pytest.raises(SandboxCreationError, match=r"exit code 3") as caught:
                await client.create_session("t-1")
    assert "ImportError: no module named x" in str(caught.value)
    assert caught.value.output.startswith("Traceback")


async def test_an_agent_that_stays_sick_is_given_up_and_ended() -> None:
    async with shelved(answering(SICK), start_timeout_seconds=0.2) as (_, shelf, client):
        with pytest.raises(SandboxStartTimeoutError, match=r"within 0\.2 s; its last ping returned .*no database"):
            await client.create_session("t-1")
    assert shelf.sandboxes["b-1"].state == "ended"


async def test_a_joined_sandbox_is_never_ended_by_a_failure() -> None:
    async with shelved(answering(SICK), start_timeout_seconds=0.2) as (_, shelf, client):
        shelf.put("theirs")
        with pytest.raises(SandboxStartTimeoutError):
            await client.create_session("t-1", session_id="theirs")
    assert shelf.sandboxes["b-1"].state == "running"


async def test_a_living_session_is_joined() -> None:
    async with shelved() as (_, shelf, client):
        theirs = shelf.put("one")
        session = await client.create_session("t-1", session_id="one")
        await client.close_all_sessions()
    assert session.sandbox_id == theirs.sandbox_id
    assert shelf.sandboxes[theirs.sandbox_id].state == "running"


async def test_a_paused_session_is_joined_as_it_is() -> None:
    with closed_port() as url:
        shelf = Shelf(url)
        shelf.change(shelf.put("one").sandbox_id, state="paused")
        async with AgentRuntimeClient(provider=shelf) as client:
            session = await client.create_session("t-1", session_id="one")
            assert await session.get_status() is SessionStatus.PAUSED


async def test_a_dead_session_gets_a_new_sandbox() -> None:
    async with shelved() as (_, _, client):
        first = await client.create_session("t-1", session_id="one")
        assert await client.close_session("one")
        second = await client.create_session("t-1", session_id="one")
        assert (first.sandbox_id, second.sandbox_id) == ("b-1", "b-2")
        assert (first.is_active, second.is_active) == (False, True)


async def test_get_session_finds_what_lives_and_changes_nothing() -> None:
    shelf = Shelf()
    shelf.put("one")
    async with AgentRuntimeClient(provider=shelf) as client:
        session = await client.get_session("one")
        assert session is not None
        assert session.sandbox_id == "b-1"
        assert await client.get_session("other") is None
    assert shelf.calls == ["find", "find"]


async def test_all_living_sessions_are_listed() -> None:
    shelf = Shelf()
    shelf.put("one")
    shelf.change(shelf.put("two").sandbox_id, state="ended")
    shelf.put("three")
    async with AgentRuntimeClient(provider=shelf) as client:
        assert [session.session_id for session in await client.list_sessions()] == ["one", "three"]


async def test_a_bad_session_id_is_refused_before_anything_is_made() -> None:
    shelf = Shelf()
    async with AgentRuntimeClient(provider=shelf) as client:
        with pytest.raises(ConfigurationError, match="256"):
            await client.create_session("t-1", session_id="")
    assert shelf.calls == []
