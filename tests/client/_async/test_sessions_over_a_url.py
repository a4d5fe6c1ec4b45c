"""What attached sessions, requests and single calls say of themselves: session, user, headers of the caller's own."""

from __future__ import annotations

import pytest

from ppio_agent_client import AgentRuntimeClient, ClientConfig, ConfigurationError, InvocationRequest
from tests.client._async.clients import attached, shelved
from tests.client._async.shelf import invoked
from tests.support.raw_server import LAST_PIECE, OK, answer, answering, hang_up, piece, raw_server, sending, stream_head

pytestmark = pytest.mark.contract

HEAD = stream_head(headers={"X-PPIO-Invocation-Id": "i-1"})
DONE = piece(b'id: 2\nevent: done\ndata: {"status":"success"}\n\n') + LAST_PIECE
RUNNING = b'{"invocation_id":"i-1","state":"running","created_at":"2026-01-01T00:00:00Z"}'
PROTOCOL = {"PPIO-Agent-Protocol": "1"}


async def test_an_attached_session_has_the_id_the_user_and_the_headers_that_it_was_given() -> None:
    with raw_server(answering(OK)) as server:
        async with AgentRuntimeClient(config=ClientConfig(headers={"X-Tenant": "all", "X-All": "1"})) as client:
            session = client.attach(server.url, session_id="kunde 7", user_id="ada", headers={"x-tenant": "one"})
            await session.invoke("x")
            await session.ping()
    assert session.session_id == "kunde 7"
    for request in server.requests:
        sent = [request.headers[name] for name in ("x-ppio-session-id", "x-ppio-user-id", "x-tenant", "x-all")]
        assert sent == ["kunde%207", "ada", "one", "1"]


async def test_an_attached_session_without_an_id_keeps_the_one_that_is_made_for_it() -> None:
    async with attached(answering(OK)) as (server, session):
        await session.invoke("x")
        await session.invoke("y")
    assert {request.headers["x-ppio-session-id"] for request in server.requests} == {session.session_id}


async def test_what_the_request_says_of_itself_counts() -> None:
    async with attached(answering(OK)) as (server, session):
        await session.invoke(InvocationRequest(session_id="theirs", user_id="ada", metadata={"a": 1}))
        await session.invoke({"session_id": "theirs", "user_id": "ada"}, user_id="bob")
        await session.invoke({"session_id": 7, "user_id": None})
    said = [(each.headers["x-ppio-session-id"], each.headers.get("x-ppio-user-id")) for each in server.requests]
    assert said == [("theirs", "ada"), ("theirs", "bob"), (session.session_id, None)]
    assert b'"metadata":{"a":1}' in server.requests[0].body


async def test_headers_of_a_call_go_with_everything_about_it() -> None:
    async with attached(sending(HEAD + piece(b"id: 1\ndata: 1\n\n"), then=hang_up), answering(HEAD + DONE)) as (
        server,
        session,
    ):
        headers = {"X-Tenant": "a"}
        assert [chunk async for chunk in session.stream("x", headers=headers, user_id="ada")] == [1]
    assert [request.line.split()[0] for request in server.requests] == ["POST", "GET"]
    assert [(each.headers["x-tenant"], each.headers["x-ppio-user-id"]) for each in server.requests] == [
        ("a", "ada")
    ] * 2


async def test_headers_of_submitted_work_go_with_its_handle() -> None:
    async with attached(answering(answer(RUNNING, "202 Accepted", PROTOCOL), answer(RUNNING, headers=PROTOCOL))) as (
        server,
        session,
    ):
        job = await session.submit({"session_id": "theirs"}, headers={"X-Tenant": "a"})
        await job.status()
        await session.invocation("i-1").status()
    assert job.session_id == "theirs"
    assert [request.headers.get("x-tenant") for request in server.requests] == ["a", "a", None]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("Authorization", "Bearer secret", r"token= or auth="),
        ("x-ppio-session-id", "secret", r"session_id="),
        ("X-PPIO-User-Id", "secret", r"user_id="),
        ("Idempotency-Key", "secret", r"idempotency_key="),
        ("Content-Length", "7", r"Content-Length"),
        ("PPIO-Agent-Protocol", "2", r"PPIO-Agent-Protocol"),
        ("X-Note", "secr\net", r"X-Note.* character 5"),
        ("X-Note", "secrét", r"X-Note.* character 5"),
        ("X Note", "secret", r"'X Note'"),
    ],
)
async def test_a_header_of_ours_or_that_cannot_be_written_is_refused_by_name(name: str, value: str, told: str) -> None:
    async with attached(answering(OK)) as (server, session):
        with pytest.raises(ConfigurationError, match=told) as caught:
            await session.invoke("x", headers={name: value})
        with pytest.raises(ConfigurationError, match=told):
            ClientConfig(headers={name: value})
    assert "secr" not in str(caught.value)
    assert server.requests == []


async def test_an_attached_agent_may_want_an_authorization_of_another_kind() -> None:
    with raw_server(answering(OK)) as server:
        async with AgentRuntimeClient() as client:
            await client.attach(server.url, headers={"Authorization": "Basic eDp5"}).invoke("x")
            with pytest.raises(ConfigurationError, match="Authorization"):
                client.attach(server.url, "token", headers={"Authorization": "Basic eDp5"})
    assert server.requests[0].headers["authorization"] == "Basic eDp5"


@pytest.mark.parametrize("user_id", ["", " ", "ü", "a\nb"])
async def test_a_user_id_that_cannot_travel_is_refused(user_id: str) -> None:
    async with attached(answering(OK)) as (_, session):
        with pytest.raises(ConfigurationError, match="user id"):
            await session.invoke("x", user_id=user_id)


async def test_the_session_of_a_request_counts_like_the_argument() -> None:
    async with shelved() as (server, shelf, client):
        shelf.put("living")
        request = InvocationRequest(prompt="x", session_id="living")
        assert (await client.invoke_agent("t-1", request)).result == 42
        assert [chunk async for chunk in client.stream_agent("t-1", {"session_id": "living"})] == [42]
        assert (await client.invoke_agent("t-1", request, create_session=False)).result == 42
        with pytest.raises(ConfigurationError, match=r"'other'.*'living'"):
            await client.invoke_agent("t-1", request, session_id="other")
    assert invoked(server) == 3
    assert [sandbox.state for sandbox in shelf.sandboxes.values()] == ["running"]
