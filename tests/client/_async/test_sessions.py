"""Sessions and the sandboxes behind them, with a provider that somebody else wrote."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ppio_agent_client import (
    AgentClientError,
    AgentRuntimeClient,
    AuthenticationError,
    ClientConfig,
    ConfigurationError,
    InvocationRequest,
    NetworkError,
    SandboxConfig,
    SandboxCreationError,
    SandboxGoneError,
    SandboxPausedError,
    SandboxProvider,
    SandboxStartTimeoutError,
    SessionNotFoundError,
    SessionStatus,
    TemplateNotFoundError,
)
from tests.client._async.shelf import BORN, Shelf
from tests.support.raw_server import Caller, RawServer, answer, answering, closed_port, raw_server

HEALTHY = answer(b'{"status":"Healthy"}')
SICK = answer(b'{"status":"Unhealthy","message":"no database"}', "503 x")
OK = answer(b'{"result":42,"status":"success","duration":0.5}')
QUICK = ClientConfig(retry_delay=0)


def agent(caller: Caller) -> None:
    """A healthy agent that always says 42."""
    while True:
        caller.send(HEALTHY if caller.read_request().line.startswith("GET /ping") else OK)


def invoked(server: RawServer) -> int:
    return sum(request.line.startswith("POST") for request in server.requests)


async def test_a_provider_of_somebody_else_is_a_provider() -> None:
    assert isinstance(Shelf(), SandboxProvider)


async def test_a_session_is_made_and_invoked() -> None:
    with raw_server(agent) as server:
        shelf = Shelf(server.url)
        async with AgentRuntimeClient(provider=shelf) as client:
            session = await client.create_session("t-1")
            assert (await session.invoke("x")).result == 42
            assert (session.sandbox_id, session.template_id, session.host_url) == ("b-1", "t-1", server.url)
            assert session.expires_at == BORN + timedelta(seconds=600)
    sent = server.requests[-1].headers
    assert (sent["x-ppio-session-id"], sent["x-traffic"]) == (session.session_id, "ticket")


async def test_what_was_asked_for_reaches_the_provider() -> None:
    with raw_server(agent) as server:
        shelf = Shelf(server.url)
        async with AgentRuntimeClient(provider=shelf) as client:
            config = SandboxConfig(
                env_vars={"A": "b"}, metadata={"x": "1", "y": "1"}, memory_limit="1Gi", cpu_limit="2"
            )
            await client.create_session("t-1", 600, config, session_id="sitzung 1", metadata={"y": "2"})
    (spec,) = shelf.specs
    assert (spec.session_id, spec.template_id, spec.timeout_seconds) == ("sitzung 1", "t-1", 600)
    assert (spec.env_vars, spec.metadata) == ({"A": "b"}, {"x": "1", "y": "2"})
    assert (spec.memory_limit, spec.cpu_limit) == ("1Gi", "2")


async def test_any_text_is_a_session_id_on_the_wire() -> None:
    with raw_server(agent) as server:
        async with AgentRuntimeClient(provider=Shelf(server.url)) as client:
            await client.create_session("t-1", session_id="Ünï/ 1%")
    assert server.requests[-1].headers["x-ppio-session-id"] == "%C3%9Cn%C3%AF%2F%201%25"


async def test_a_sick_agent_is_waited_for() -> None:
    with raw_server(answering(SICK, SICK, HEALTHY)) as server:
        async with AgentRuntimeClient(provider=Shelf(server.url)) as client:
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
    with raw_server(answering(SICK)) as server:
        shelf = Shelf(server.url, start_timeout_seconds=0.2)
        async with AgentRuntimeClient(provider=shelf) as client:
            with pytest.raises(SandboxStartTimeoutError, match=r"within 0\.2 s; its last ping said .*no database"):
                await client.create_session("t-1")
    assert shelf.sandboxes["b-1"].state == "ended"


async def test_a_joined_sandbox_is_never_ended_by_a_failure() -> None:
    with raw_server(answering(SICK)) as server:
        shelf = Shelf(server.url, start_timeout_seconds=0.2)
        shelf.put("theirs")
        async with AgentRuntimeClient(provider=shelf) as client:
            with pytest.raises(SandboxStartTimeoutError):
                await client.create_session("t-1", session_id="theirs")
    assert shelf.sandboxes["b-1"].state == "running"


async def test_a_living_session_is_joined() -> None:
    with raw_server(agent) as server:
        shelf = Shelf(server.url)
        theirs = shelf.put("one")
        async with AgentRuntimeClient(provider=shelf) as client:
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
    with raw_server(agent) as server:
        async with AgentRuntimeClient(provider=Shelf(server.url)) as client:
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


async def test_close_session_says_whether_one_lived() -> None:
    shelf = Shelf()
    shelf.put("one")
    async with AgentRuntimeClient(provider=shelf) as client:
        assert await client.close_session("one")
        assert not await client.close_session("one")
        assert not await client.close_session("never")


async def test_closing_by_id_closes_the_handle_that_somebody_holds() -> None:
    shelf = Shelf()
    shelf.put("one")
    async with AgentRuntimeClient(provider=shelf) as client:
        session = await client.get_session("one")
        assert session is not None
        await client.close_session("one")
        assert session.is_closed


async def test_close_all_ends_what_this_client_made_and_nothing_else() -> None:
    with raw_server(agent) as server:
        shelf = Shelf(server.url)
        shelf.put("theirs")
        async with AgentRuntimeClient(provider=shelf) as client:
            for _ in range(3):
                await client.create_session("t-1")
            await client.close_all_sessions()
            assert [session.session_id for session in await client.list_sessions()] == ["theirs"]


async def test_a_sandbox_that_could_not_be_ended_is_tried_again() -> None:
    with raw_server(agent) as server:
        shelf = Shelf(server.url)
        async with AgentRuntimeClient(provider=shelf) as client:
            session = await client.create_session("t-1")
            shelf.refuses_to_kill = True
            with pytest.raises(AgentClientError, match=r"1 of 1 sandboxes .* the shelf is locked"):
                await client.close_all_sessions()
            assert not session.is_closed
            shelf.refuses_to_kill = False
            await client.close_all_sessions()
            assert session.is_closed
    assert shelf.sandboxes["b-1"].state == "ended"


async def test_an_answer_is_not_lost_when_its_sandbox_cannot_be_ended(caplog: pytest.LogCaptureFixture) -> None:
    with raw_server(agent) as server:
        shelf = Shelf(server.url)
        shelf.refuses_to_kill = True
        async with AgentRuntimeClient(provider=shelf) as client:
            assert (await client.invoke_agent("t-1", "x")).result == 42
    assert "b-1 could not be ended" in caplog.text


async def test_leaving_the_client_ends_no_sandbox_and_no_provider_that_was_given() -> None:
    with raw_server(agent) as server:
        shelf = Shelf(server.url)
        async with AgentRuntimeClient(provider=shelf) as client:
            await client.create_session("t-1")
    assert shelf.sandboxes["b-1"].state == "running"
    assert not shelf.closed


async def test_leaving_a_session_ends_its_sandbox() -> None:
    with raw_server(agent) as server:
        shelf = Shelf(server.url)
        async with AgentRuntimeClient(provider=shelf) as client, await client.create_session("t-1"):
            pass
    assert shelf.sandboxes["b-1"].state == "ended"


async def test_a_refresh_lasts_as_long_as_the_sandbox_was_made_for() -> None:
    with raw_server(agent) as server:
        shelf = Shelf(server.url)
        async with AgentRuntimeClient(provider=shelf) as client:
            session = await client.create_session("t-1", 450, session_id="one")
            await session.refresh()
            assert session.expires_at == BORN + timedelta(seconds=450)
            await session.refresh(77)
            assert session.expires_at == BORN + timedelta(seconds=77)
    assert [call for call in shelf.calls if call.startswith("extend")] == ["extend 450", "extend 77"]


async def test_a_refresh_by_somebody_else_does_not_shorten_a_life() -> None:
    shelf = Shelf()
    shelf.put("one")
    async with AgentRuntimeClient(provider=shelf) as client:
        session = await client.get_session("one")
        assert session is not None
        await session.refresh()
    assert "extend 600" in shelf.calls


async def test_a_paused_session_says_so_without_being_called() -> None:
    with raw_server(agent) as server:
        async with AgentRuntimeClient(provider=Shelf(server.url)) as client:
            session = await client.create_session("t-1")
            await session.pause()
            assert not session.is_active
            with pytest.raises(SandboxPausedError, match=r"resume\(\)"):
                await session.invoke("x")
            with pytest.raises(SandboxPausedError):
                await session.invoke("x", stream=True)
            assert invoked(server) == 0
            await session.resume()
            assert (await session.invoke("x")).result == 42


async def test_a_session_that_somebody_else_woke_is_invoked() -> None:
    with raw_server(agent) as server:
        shelf = Shelf(server.url)
        async with AgentRuntimeClient(provider=shelf) as client:
            session = await client.create_session("t-1")
            await session.pause()
            shelf.change("b-1", state="running")
            assert (await session.invoke("x")).result == 42


async def test_a_sandbox_that_ended_is_told_instead_of_what_the_network_saw() -> None:
    with closed_port() as url:
        shelf = Shelf(url)
        shelf.put("one")
        async with AgentRuntimeClient(provider=shelf, config=QUICK) as client:
            session = await client.get_session("one")
            assert session is not None
            shelf.change("b-1", state="ended", exit_code=1, output="out of memory")
            with pytest.raises(SandboxGoneError, match="out of memory") as caught:
                await session.invoke("x")
            assert isinstance(caught.value.__cause__, NetworkError)
            with pytest.raises(SandboxGoneError):
                await session.invoke("x", stream=True)


async def test_a_sandbox_that_was_paused_meanwhile_is_told_so() -> None:
    with closed_port() as url:
        shelf = Shelf(url)
        shelf.put("one")
        async with AgentRuntimeClient(provider=shelf, config=QUICK) as client:
            session = await client.get_session("one")
            assert session is not None
            shelf.change("b-1", state="paused")
            with pytest.raises(SandboxPausedError):
                await session.invoke("x")


async def test_a_network_error_with_a_living_sandbox_stays_one() -> None:
    with closed_port() as url:
        shelf = Shelf(url)
        shelf.put("one")
        async with AgentRuntimeClient(provider=shelf, config=ClientConfig(max_retries=0)) as client:
            session = await client.get_session("one")
            assert session is not None
            with pytest.raises(NetworkError):
                await session.invoke("x")


async def test_a_call_without_a_session_opens_one_and_ends_it() -> None:
    with raw_server(agent) as server:
        shelf = Shelf(server.url)
        async with AgentRuntimeClient(provider=shelf) as client:
            assert (await client.invoke_agent("t-1", InvocationRequest(prompt="x"))).result == 42
    assert shelf.sandboxes["b-1"].state == "ended"


async def test_a_failed_call_ends_its_sandbox_too() -> None:
    with raw_server(answering(HEALTHY, answer(b"{}", "500 x"))) as server:
        shelf = Shelf(server.url)
        async with AgentRuntimeClient(provider=shelf) as client:
            with pytest.raises(Exception, match="500"):
                await client.invoke_agent("t-1", "x")
    assert shelf.sandboxes["b-1"].state == "ended"


async def test_a_call_with_a_session_leaves_it_open() -> None:
    with raw_server(agent) as server:
        shelf = Shelf(server.url)
        async with AgentRuntimeClient(provider=shelf) as client:
            for _ in range(2):
                await client.invoke_agent("t-1", "x", session_id="one")
    assert [sandbox.state for sandbox in shelf.sandboxes.values()] == ["running"]


@pytest.mark.parametrize("session_id", [None, "unknown"])
async def test_a_call_that_may_not_make_a_session_needs_one(session_id: str | None) -> None:
    shelf = Shelf()
    async with AgentRuntimeClient(provider=shelf) as client:
        with pytest.raises(SessionNotFoundError):
            await client.invoke_agent("t-1", "x", create_session=False, session_id=session_id)
    assert shelf.sandboxes == {}


async def test_a_call_never_goes_to_another_template() -> None:
    with raw_server(agent) as server:
        shelf = Shelf(server.url)
        shelf.templates.append("t-2")
        shelf.put("one", "t-2")
        async with AgentRuntimeClient(provider=shelf) as client:
            with pytest.raises(SandboxCreationError, match=r"'t-2', not 't-1'"):
                await client.invoke_agent("t-1", "x", create_session=False, session_id="one")
            assert (await client.invoke_agent("t-2", "x", create_session=False, session_id="one")).result == 42
    assert invoked(server) == 1


async def test_a_stream_of_an_agent_ends_its_sandbox() -> None:
    with raw_server(agent) as server:
        shelf = Shelf(server.url)
        async with AgentRuntimeClient(provider=shelf) as client:
            assert [chunk async for chunk in client.stream_agent("t-1", "x")] == [42]
            async with client.stream_agent("t-1", "x"):
                pass
    assert [sandbox.state for sandbox in shelf.sandboxes.values()] == ["ended", "ended"]


async def test_a_stream_of_a_session_leaves_it_open() -> None:
    with raw_server(agent) as server:
        shelf = Shelf(server.url)
        async with AgentRuntimeClient(provider=shelf) as client:
            assert [chunk async for chunk in client.stream_agent("t-1", "x", session_id="one")] == [42]
    assert shelf.sandboxes["b-1"].state == "running"


async def test_a_stream_that_never_starts_leaves_no_sandbox() -> None:
    with raw_server(answering(HEALTHY, answer(b"{}", "500 x"))) as server:
        shelf = Shelf(server.url)
        async with AgentRuntimeClient(provider=shelf) as client:
            with pytest.raises(Exception, match="500"):
                [chunk async for chunk in client.stream_agent("t-1", "x")]
    assert shelf.sandboxes["b-1"].state == "ended"


async def test_templates_are_asked_for_once() -> None:
    shelf = Shelf()
    async with AgentRuntimeClient(provider=shelf) as client:
        for _ in range(3):
            assert [template.template_id for template in await client.list_templates()] == ["t-1"]
        assert (await client.get_template("t-1")).name == "t-1"
    assert shelf.calls == ["list_templates"]


async def test_templates_are_asked_for_anew_on_demand() -> None:
    shelf = Shelf()
    async with AgentRuntimeClient(provider=shelf) as client:
        await client.list_templates()
        await client.list_templates(refresh=True)
    assert shelf.calls == ["list_templates"] * 2


async def test_without_a_cache_templates_are_asked_for_every_time() -> None:
    shelf = Shelf()
    async with AgentRuntimeClient(provider=shelf, config=ClientConfig(enable_cache=False)) as client:
        await client.template_manager.list_templates()
        await client.template_manager.list_templates()
    assert shelf.calls == ["list_templates"] * 2


async def test_a_template_that_is_new_is_found() -> None:
    shelf = Shelf()
    async with AgentRuntimeClient(provider=shelf) as client:
        await client.list_templates()
        shelf.templates.append("t-2")
        assert (await client.get_template("t-2")).template_id == "t-2"
    assert shelf.calls == ["list_templates"] * 2


async def test_a_template_that_is_not_there_is_an_error() -> None:
    async with AgentRuntimeClient(provider=Shelf()) as client:
        with pytest.raises(TemplateNotFoundError, match="'nope'"):
            await client.get_template("nope")


async def test_a_bad_session_id_is_refused_before_anything_is_made() -> None:
    shelf = Shelf()
    async with AgentRuntimeClient(provider=shelf) as client:
        with pytest.raises(ConfigurationError, match="256"):
            await client.create_session("t-1", session_id="")
    assert shelf.calls == []


async def test_without_a_key_and_a_provider_the_error_names_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PPIO_API_KEY", raising=False)
    monkeypatch.delenv("PPIO_AGENT_PROVIDER", raising=False)
    async with AgentRuntimeClient() as client:
        with pytest.raises(AuthenticationError, match=r"PPIO_API_KEY.*LocalSandboxProvider"):
            await client.create_session("t-1")


async def test_a_key_alone_leads_to_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PPIO_AGENT_PROVIDER", raising=False)
    async with AgentRuntimeClient(api_key="sk_secret", config=ClientConfig(domain="not/a/domain")) as client:
        with pytest.raises(ConfigurationError, match="not/a/domain") as caught:
            await client.list_templates()
    assert "sk_secret" not in str(caught.value)


async def test_an_unknown_provider_is_told_with_the_known_ones() -> None:
    async with AgentRuntimeClient(provider="elsewhere") as client:
        with pytest.raises(ConfigurationError, match=r"'elsewhere'; known are 'local', 'platform'"):
            await client.list_sessions()


async def test_the_environment_names_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPIO_AGENT_PROVIDER", "elsewhere")
    async with AgentRuntimeClient(api_key="sk") as client:
        with pytest.raises(ConfigurationError, match="'elsewhere'"):
            await client.list_sessions()


async def test_no_secret_is_in_the_repr_of_a_client() -> None:
    async with AgentRuntimeClient("sk_one", "sk_two", provider="local") as client:
        shown = repr(client) + repr(client.config) + repr(client.attach("http://127.0.0.1:1", "sk_three"))
    assert "sk_" not in shown
