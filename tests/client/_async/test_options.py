"""Views of a client and of a session with other settings, and what they share."""

from __future__ import annotations

import pytest

from ppio_agent_client import (
    AgentClientError,
    AgentRuntimeClient,
    ClientConfig,
    ConfigurationError,
    SandboxGoneError,
    TotalTimeoutError,
    UnavailableError,
)
from tests.client._async.clients import attached, shelved
from tests.client._async.shelf import Shelf
from tests.support.raw_server import OK, answering, raw_server, refusal, sending

pytestmark = pytest.mark.contract

FULL = refusal()


async def test_a_session_with_a_shorter_limit_gives_up_earlier() -> None:
    async with attached(sending(), answering(OK)) as (_, session):
        with pytest.raises(TotalTimeoutError, match=r"0\.05 s"):
            await session.with_options(timeout=0.05).invoke("x")
        assert (await session.invoke("x")).result == 42


async def test_a_session_with_fewer_retries_asks_less_often() -> None:
    async with attached(answering(FULL, FULL, OK), retry_delay=0) as (server, session):
        with pytest.raises(UnavailableError):
            await session.with_options(max_retries=0).invoke("x")
        assert len(server.requests) == 1
        assert (await session.invoke("x")).result == 42


async def test_what_is_not_named_stays_as_it_is() -> None:
    async with AgentRuntimeClient(timeout=7, config=ClientConfig(max_retries=2, idle_timeout=9)) as client:
        config = client.with_options(max_retries=5).with_options(timeout=None).config
        assert (config.timeout, config.max_retries, config.idle_timeout) == (None, 5, 9)
        assert (client.config.timeout, client.config.max_retries) == (7, 2)


async def test_an_option_out_of_bounds_is_refused_by_name() -> None:
    async with AgentRuntimeClient() as client:
        with pytest.raises(ConfigurationError, match="max_retries"):
            client.with_options(max_retries=-1)
        with pytest.raises(ConfigurationError, match="timeout"):
            client.attach("http://a").with_options(timeout=0)


async def test_views_of_a_session_are_closed_together() -> None:
    async with shelved(answering(OK)) as (_, shelf, client):
        session = await client.create_session("t-1")
        view = session.with_options(timeout=5)
        assert await view.close() is True
        assert session.is_closed
        assert await session.close() is False
        with pytest.raises(SandboxGoneError):
            await session.invoke("x")
    assert shelf.calls.count("kill b-1") == 1


async def test_views_of_a_session_learn_together_where_its_agent_is() -> None:
    with raw_server(answering(OK)) as server, raw_server(answering(OK)) as moved:
        shelf = Shelf(server.url)
        async with AgentRuntimeClient(provider=shelf) as client:
            session = await client.create_session("t-1")
            view = session.with_options(timeout=5)
            shelf.change("b-1", url=moved.url)
            await session.resume()
            assert view.host_url == moved.url
            await view.invoke("x")
            assert view.last_activity == session.last_activity


async def test_a_client_and_its_view_know_the_same_sessions() -> None:
    async with shelved(answering(OK)) as (_, _, client):
        view = client.with_options(timeout=5)
        session = await view.create_session("t-1", session_id="s-1")
        same = await client.create_session("t-1", session_id="s-1")
        await same.close()
        assert session.is_closed
        other = await view.create_session("t-1", session_id="s-2")
        await client.close_all_sessions()
        assert other.is_closed


async def test_only_sessions_of_the_view_have_its_settings() -> None:
    async with shelved(answering(OK, OK, FULL), retry_delay=0) as (server, _, client):
        hasty = await client.with_options(max_retries=0).create_session("t-1", session_id="s-1")
        patient = await client.create_session("t-1", session_id="s-1")
        before = len(server.requests)
        with pytest.raises(UnavailableError):
            await hasty.invoke("x")
        assert len(server.requests) - before == 1
        with pytest.raises(UnavailableError):
            await patient.invoke("x")
        assert len(server.requests) - before == 5


async def test_a_view_is_closed_with_its_client() -> None:
    client = AgentRuntimeClient(provider=Shelf())
    view = client.with_options(timeout=5)
    await client.close()
    with pytest.raises(AgentClientError, match="closed"):
        await view.list_sessions()


async def test_a_call_to_a_template_takes_the_terms_of_a_call() -> None:
    async with shelved(answering(OK)) as (server, _, client):
        await client.invoke_agent("t-1", "x", idempotency_key="k-1", on_disconnect="continue")
        async with client.stream_agent("t-1", "x", idempotency_key="k-2", on_disconnect="cancel") as stream:
            assert [chunk async for chunk in stream] == [42]
    posts = [request for request in server.requests if request.line.startswith("POST")]
    terms = [(each.headers["idempotency-key"], each.headers["x-ppio-on-disconnect"]) for each in posts]
    assert terms == [("k-1", "continue"), ("k-2", "cancel")]
