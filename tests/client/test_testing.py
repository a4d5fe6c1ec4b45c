"""The fake agent: what people's own tests can have it do, and that the real client takes it for an agent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ppio_agent_client import (
    AgentError,
    ClientConfig,
    ConfigurationError,
    HandlerError,
    IdleTimeoutError,
    InvocationCancelledError,
    NetworkError,
    SandboxGoneError,
    SandboxPausedError,
    StreamInterruptedError,
    TotalTimeoutError,
)
from ppio_agent_client.testing import Cut, Delay, FakeAgent, Progress, RecordedRequest


async def test_values_come_in_their_order_and_the_last_one_stays(fake_agent: FakeAgent) -> None:
    fake_agent.will_return(1, {"two": 2})
    async with fake_agent.client() as client:
        session = client.attach(fake_agent.url)
        assert [(await session.invoke(str(number))).result for number in range(3)] == [1, {"two": 2}, {"two": 2}]
    assert [request.payload for request in fake_agent.requests] == [{"prompt": str(number)} for number in range(3)]
    assert len({request.session_id for request in fake_agent.requests}) == 1


async def test_chunks_progress_and_the_end_come_as_from_an_agent(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream("Hel", Progress(50), Delay(0.01), "lo", {"n": 1})
    async with fake_agent.client() as client:
        events = [event async for event in client.attach(fake_agent.url).stream("x").events()]
    assert [event.data for event in events[:-1]] == ["Hel", 50, "lo", {"n": 1}]
    assert len(events) == 5
    assert fake_agent.requests[0].wants_stream


def test_the_blocking_client_has_the_same_agent(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream("Hel", Cut(), "lo")
    with fake_agent.sync_client() as client:
        session = client.attach(fake_agent.url)
        assert list(session.stream("x")) == ["Hel", "lo"]
        assert session.invoke("x").result == "Hello"
    assert [request.wants_stream for request in fake_agent.requests] == [True, False]


async def test_a_stream_that_is_cut_is_read_on_and_asked_for_once(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream("a", Cut(), "b", Cut(), "c")
    async with fake_agent.client() as client:
        session = client.attach(fake_agent.url)
        assert [chunk async for chunk in session.stream("x")] == ["a", "b", "c"]
        fake_agent.will_stream(Cut(), "d")
        assert (await session.invoke("x")).result == "abc"  # a script's last answer stays
    assert len(fake_agent.requests) == 2


async def test_without_retries_a_cut_is_an_error(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream("a", Cut(), "b")
    async with fake_agent.client(ClientConfig(api_key="x", max_retries=0)) as client:
        with pytest.raises(StreamInterruptedError) as caught:
            [chunk async for chunk in client.attach(fake_agent.url).stream("x")]
        assert caught.value.received == 1
        fake_agent.will_stream(Cut(), "b")
        fake_agent.will_stream(Cut(), "b")
        with pytest.raises(NetworkError):
            await client.attach(fake_agent.url).invoke("x")


@pytest.mark.parametrize("wants_stream", [False, True])
async def test_failures_are_those_of_an_agent(fake_agent: FakeAgent, wants_stream: bool) -> None:
    fake_agent.will_raise(AgentError("No such order.", status_code=404))
    fake_agent.will_raise(ValueError("a secret"))

    async def ask(client: Any) -> None:
        session = client.attach(fake_agent.url)
        if wants_stream:
            [chunk async for chunk in session.stream("x")]
        else:
            await session.invoke("x")

    async with fake_agent.client() as client:
        with pytest.raises(AgentError, match="No such order") as caught:
            await ask(client)
        assert caught.value.status_code == 404
        with pytest.raises(HandlerError) as hidden:
            await ask(client)
    assert "secret" not in str(hidden.value)


async def test_a_failure_after_chunks_ends_the_stream(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream("a", AgentError("no more", status_code=402))
    async with fake_agent.client() as client, client.attach(fake_agent.url).stream("x") as stream:
        assert await anext(stream) == "a"
        with pytest.raises(AgentError) as caught:
            await anext(stream)
    assert caught.value.status_code == 402


async def test_time_limits_of_the_client_hold(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream("a", Delay(60), "b")
    async with fake_agent.client(ClientConfig(api_key="x", idle_timeout=0.05, max_retries=0)) as client:
        session = client.attach(fake_agent.url)
        with pytest.raises(IdleTimeoutError):
            [chunk async for chunk in session.stream("x")]
        with pytest.raises(TotalTimeoutError):
            await session.with_options(timeout=0.05).invoke("x")


def test_time_limits_of_the_blocking_client_hold(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream("a", Delay(60), "b")
    with fake_agent.sync_client(ClientConfig(api_key="x", idle_timeout=0.05, max_retries=0)) as client:
        with pytest.raises(IdleTimeoutError):
            list(client.attach(fake_agent.url).stream("x"))
        with pytest.raises(TotalTimeoutError):
            client.attach(fake_agent.url).with_options(timeout=0.05).invoke("x")


async def test_sessions_are_made_found_paused_and_ended(fake_agent: FakeAgent) -> None:
    fake_agent.will_return("hi")
    async with fake_agent.client() as client:
        async with await client.create_session("any-template", session_id="s-1", metadata={"tenant": "a"}) as session:
            assert (await session.invoke("x")).result == "hi"
            found = await client.get_session("s-1")
            assert found is not None
            assert found.sandbox_id == session.sandbox_id
            assert [each.session_id for each in await client.list_sessions()] == ["s-1"]
            await session.pause()
            with pytest.raises(SandboxPausedError):
                await session.invoke("x")
            await session.resume()
            assert (await session.invoke("x")).result == "hi"
        assert await client.get_session("s-1") is None
        with pytest.raises(SandboxGoneError):
            await session.invoke("x")
        assert (await client.invoke_agent("any-template", "x")).result == "hi"
        assert await client.list_sessions() == []
    assert {request.session_id for request in fake_agent.requests[:2]} == {"s-1"}


def test_blocking_sessions_are_made_and_ended(fake_agent: FakeAgent) -> None:
    fake_agent.will_return("hi")
    with fake_agent.sync_client() as client:
        with client.create_session("t", session_id="s-1") as session:
            assert session.invoke("x").result == "hi"
        assert client.get_session("s-1") is None


async def test_background_work_and_keys_are_as_with_an_agent(fake_agent: FakeAgent) -> None:
    fake_agent.will_return(42)
    async with fake_agent.client() as client:
        session = client.attach(fake_agent.url)
        first = await session.submit("x", idempotency_key="order-1")
        second = await session.submit("x", idempotency_key="order-1")
        assert first.invocation_id == second.invocation_id
        assert (first.replayed, second.replayed) == (False, True)
        assert (await first.result()).result == 42
        assert [chunk async for chunk in first.events()] == [42]
        assert (await session.invoke("x", idempotency_key="order-1")).replayed
    assert len(fake_agent.requests) == 1
    assert fake_agent.requests[0].is_background


async def test_a_function_can_answer_instead_of_a_script() -> None:
    def answer(request: RecordedRequest) -> object:
        if request.payload["prompt"] == "bad":
            raise AgentError("bad", status_code=400)
        return ["a", "b"] if request.wants_stream else request.payload["prompt"].upper()

    agent = FakeAgent(answer)
    async with agent.client() as client:
        session = client.attach(agent.url)
        assert (await session.invoke("hi")).result == "HI"
        assert [chunk async for chunk in session.stream("hi")] == ["a", "b"]
        with pytest.raises(AgentError):
            await session.invoke("bad")


async def test_an_agent_without_a_script_says_what_to_do(fake_agent: FakeAgent) -> None:
    async with fake_agent.client() as client:
        with pytest.raises(Exception, match="call will_return, will_stream or will_raise first"):
            await client.attach(fake_agent.url).invoke("x")


async def test_many_calls_at_once_each_get_an_answer(fake_agent: FakeAgent) -> None:
    fake_agent.will_return(*range(50))
    async with fake_agent.client() as client:
        session = client.attach(fake_agent.url)
        answers = await asyncio.gather(*(session.invoke("x") for _ in range(50)))
    assert sorted(answer.result for answer in answers) == list(range(50))


@pytest.mark.slow
def test_the_plugin_imports_nothing_until_a_test_asks(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n\n\ndef test_nothing_is_there():\n"
        "    assert not {'httpx', 'pydantic', 'ppio_agent_client._config'} & sys.modules.keys()\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    # Only our plugin: others may import what they like.
    command += ["--disable-plugin-autoload", "-p", "ppio_agent_client._pytest_plugin"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


async def test_background_work_runs_until_its_delays_are_over(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream("Two ", Delay(1.5), "lemons.")
    async with fake_agent.client() as client:
        job = await client.attach(fake_agent.url).submit("lemons")
        info = await job.info()
        assert (info.state, info.response, info.finished_at) == ("running", None, None)
        with pytest.raises(TotalTimeoutError, match="it continues"):
            await job.result(timeout=0.01)
        assert (await job.result()).result == "Two lemons."
        assert await job.status() == "succeeded"
        assert await job.cancel() is False
        assert await job.status() == "succeeded"


async def test_a_cancel_ends_background_work_for_all_who_wait_for_it(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream("Two ", Delay(60), "lemons.")
    async with fake_agent.client() as client:
        job = await client.attach(fake_agent.url).submit("lemons")
        async with job.events() as stream:
            assert await anext(stream) == "Two "
            assert await job.cancel() is True
            with pytest.raises(InvocationCancelledError):
                await anext(stream)
        with pytest.raises(InvocationCancelledError):
            await job.result()
        assert await job.status() == "cancelled"


def test_a_cancel_ends_background_work_for_the_blocking_client_too(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream(Delay(60))
    with fake_agent.sync_client() as client:
        job = client.attach(fake_agent.url).submit("lemons")
        threading.Timer(0.1, job.cancel).start()
        with pytest.raises(InvocationCancelledError):
            job.result()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (lambda agent: agent.will_raise(AgentError), "takes an exception such as .* not <class"),
        (lambda agent: agent.will_raise("no"), "not 'no'"),
        (lambda agent: agent.will_return(object()), r"what a fake agent returns cannot become JSON: builtins\.object"),
        (lambda agent: agent.will_return({"a": [object()]}), r"what a fake agent returns\.a\[0\] cannot"),
        (lambda agent: agent.will_stream("a", Cut, "b"), "it is the class Cut and no object of it"),
        (lambda agent: agent.will_stream(Delay(-1)), "0 or more, and not -1"),
    ],
)
def test_a_script_that_cannot_be_played_is_refused_where_it_is_written(
    script: Callable[[Any], None], told: str, fake_agent: FakeAgent
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        script(fake_agent)


def test_a_function_can_yield_and_its_own_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def answer(request: RecordedRequest) -> Iterator[object]:
        yield "a"
        if request.payload["prompt"] == "bad":
            raise KeyError("typo")
        yield "b"

    agent = FakeAgent(answer)
    with agent.sync_client() as client:
        session = client.attach(agent.url)
        assert list(session.stream("good")) == ["a", "b"]
        with pytest.raises(HandlerError):
            session.invoke("bad")
    assert "KeyError: 'typo'" in caplog.text


def test_a_coroutine_function_is_refused() -> None:
    async def answer(request: RecordedRequest) -> str:
        return "a"

    with pytest.raises(ConfigurationError, match="use def, not async def"):
        FakeAgent(answer)


def test_routes_that_no_agent_has_are_not_found(fake_agent: FakeAgent) -> None:
    with httpx.Client(transport=fake_agent.transport(), base_url=fake_agent.url) as http_client:
        assert [http_client.get(path).status_code for path in ("/", "/own", "/invocations", "/ping")] == [404] * 3 + [
            200
        ]
