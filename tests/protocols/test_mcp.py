"""MCP's own client against the agent, in both eras of the protocol: `auto` is 2026-07-28, `legacy` has sessions."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import to_json

from ppio_agent_runtime import RequestContext
from tests.protocols.agent import TEXT, Clock, serving
from tests.protocols.mcp_client import WHOLE, Mode, ask, with_client

from mcp.client import Client  # isort: skip  # behind the importorskip in mcp_client
from mcp.shared.exceptions import MCPError  # isort: skip

pytestmark = [
    pytest.mark.contract,
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]


@pytest.fixture
def url(clock: Clock) -> Iterator[str]:
    with serving(clock, ["mcp"]) as url:
        yield url


def test_the_agent_is_the_one_tool(url: str, mode: Mode) -> None:
    async def use(client: Client) -> Any:
        if mode == "legacy":
            await client.send_ping()
        return client.server_info, client.protocol_version, (await client.list_tools()).tools

    server, version, tools = with_client(url, mode, use)

    assert server.name == "clock"
    assert version == {"auto": "2026-07-28", "legacy": "2025-11-25"}[mode]
    assert [tool.name for tool in tools] == ["clock"]
    assert tools[0].input_schema["properties"].keys() == {"prompt", "session_id", "resume"}


def test_a_call_has_progress_and_a_result_in_two_forms(url: str, mode: Mode, clock: Clock) -> None:
    told: list[tuple[float, str | None]] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        assert total is None
        told.append((progress, message))

    async def use(client: Client) -> Any:
        return await client.call_tool("clock", {"prompt": "time?"}, progress_callback=tell)

    result = with_client(url, mode, use)
    context = clock.contexts[0]

    numbers, messages = zip(*told, strict=True)
    at_tool = messages.index("Uses the tool clock.")
    assert list(numbers) == list(range(1, len(told) + 1))
    assert ["".join(messages[:at_tool]), *messages[at_tool + 1 :]] == ["".join(TEXT[:2]), TEXT[2]]
    assert (result.content[0].text, result.is_error) == (WHOLE, False)
    assert result.structured_content == {"result": WHOLE, "session_id": context.session_id}
    assert result.meta["com.ppio.agent/invocation_id"] == context.invocation_id
    assert (clock.asked[0].prompt, clock.asked[0].messages[0]["role"]) == ("time?", "user")
    assert context.protocol == "mcp"


def test_what_was_said_before_a_failure_has_been_told(url: str, mode: Mode) -> None:
    told: list[str | None] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append(message)

    async def use(client: Client) -> Any:
        return await client.call_tool("clock", {"prompt": "fail later"}, progress_callback=tell)

    assert with_client(url, mode, use).is_error
    assert told == [TEXT[0]]


def test_without_a_session_id_each_call_of_its_own_is_a_new_conversation(url: str, clock: Clock) -> None:
    ask(url, "auto", "time?", "time?")
    ask(url, "legacy", "time?", "time?")
    first, second, *legacy = [context.session_id for context in clock.contexts]

    assert first
    assert second
    assert len({first, second, legacy[0]}) == 3
    assert legacy[0] == legacy[1]  # the one that the protocol has there


def test_a_session_is_named_by_the_argument_before_the_header(url: str, mode: Mode, clock: Clock) -> None:
    ask(url, mode, "time?", headers={"X-PPIO-Session-Id": "header"})
    ask(url, mode, "time?", headers={"X-PPIO-Session-Id": "header"}, session_id="argument")
    wrong = ask(url, mode, "time?", session_id=1)[0]

    assert [context.session_id for context in clock.contexts] == ["header", "argument"]
    assert (wrong.is_error, wrong.content[0].text) == (True, "The argument session_id must be a string.")


@pytest.mark.parametrize(("prompt", "sentence"), [("fail at once", "No clock."), ("fail later", "The clock stopped.")])
def test_a_failure_of_the_agent_is_a_result(url: str, mode: Mode, prompt: str, sentence: str) -> None:
    result = ask(url, mode, prompt)[0]

    assert (result.is_error, result.content[0].text) == (True, sentence)
    assert result.meta["com.ppio.agent/error_type"] == "AgentError"


def test_what_is_no_call_of_the_tool_is_refused(url: str, mode: Mode, clock: Clock) -> None:
    async def use(client: Client) -> Any:
        with pytest.raises(MCPError, match="no tool 'bell'; there is 'clock'"):
            await client.call_tool("bell", {"prompt": "time?"})
        return await client.call_tool("clock", {"prompt": 1})

    assert with_client(url, mode, use).content[0].text.startswith("The argument prompt must be a string")
    assert clock.asked == []


def test_a_call_that_is_cancelled_closes_the_generator(url: str, mode: Mode, clock: Clock) -> None:
    async def use(client: Client) -> None:
        begun = asyncio.Event()

        async def tell(progress: float, total: float | None, message: str | None) -> None:
            begun.set()

        calling = asyncio.create_task(client.call_tool("clock", {"prompt": "wait"}, progress_callback=tell))
        await begun.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        while clock.closed == 0:  # noqa: ASYNC110  # in the server's thread; while the client is still connected
            await asyncio.sleep(0.01)

    with_client(url, mode, use)


def test_the_time_limit_of_the_header_holds(url: str, mode: Mode) -> None:
    result = ask(url, mode, "wait", headers={"X-PPIO-Timeout": "0.2"})[0]

    assert result.is_error
    assert result.meta["com.ppio.agent/error_type"] == "InvocationTimeoutError"


def test_limits_hold_and_are_told_as_results(clock: Clock, mode: Mode) -> None:
    async def use(client: Client) -> Any:
        begun = asyncio.Event()

        async def tell(progress: float, total: float | None, message: str | None) -> None:
            begun.set()

        first = asyncio.create_task(client.call_tool("clock", {"prompt": "wait"}, progress_callback=tell))
        await begun.wait()
        second = await client.call_tool("clock", {"prompt": "time?"})
        first.cancel()
        return second

    with serving(clock, ["mcp"], max_concurrency=1) as url:
        result = with_client(url, mode, use)

    assert result.is_error
    assert len(clock.asked) == 1


def test_a_call_that_runs_at_the_drain_is_told_so(clock: Clock, mode: Mode) -> None:
    results: list[Any] = []

    async def use(client: Client) -> None:
        async def tell(progress: float, total: float | None, message: str | None) -> None:
            begun.set()

        results.append(await client.call_tool("clock", {"prompt": "wait"}, progress_callback=tell))

    begun = threading.Event()
    with serving(clock, ["mcp"], shutdown_grace_seconds=0.1) as url:
        thread = threading.Thread(target=with_client, args=(url, mode, use))
        thread.start()
        assert begun.wait(60)
    thread.join(60)

    assert results[0].is_error
    assert results[0].meta["com.ppio.agent/error_type"] == "DrainingError"


class Trip(BaseModel):
    """Where to."""

    city: str
    days: int = 1


def test_a_typed_payload_is_the_schema_of_the_tool(mode: Mode) -> None:
    def plan(trip: Trip, context: RequestContext) -> dict[str, Any]:
        return {"city": trip.city, "days": trip.days, "session": context.session_id}

    async def use(client: Client) -> Any:
        tool = (await client.list_tools()).tools[0]
        right = await client.call_tool("clock", {"city": "Rome", "session_id": "s"})
        wrong = await client.call_tool("clock", {"days": 1})
        return tool.input_schema, right, wrong

    with serving(plan, ["mcp"]) as url:
        schema, right, wrong = with_client(url, mode, use)

    assert (schema["properties"]["city"]["type"], schema["required"]) == ("string", ["city"])
    assert right.structured_content["result"] == {"city": "Rome", "days": 1, "session": "s"}
    assert json.loads(right.content[0].text) == right.structured_content["result"]
    assert wrong.is_error
    assert "city: Field required" in wrong.content[0].text


def test_a_payload_that_is_no_object_is_an_argument(mode: Mode) -> None:
    def total(trips: list[Trip]) -> int:
        return sum(trip.days for trip in trips)

    async def use(client: Client) -> Any:
        await client.list_tools()
        return await client.call_tool("clock", {"payload": [{"city": "Rome", "days": 2}, {"city": "Oslo"}]})

    with serving(total, ["mcp"]) as url:
        assert with_client(url, mode, use).structured_content["result"] == 3


@pytest.mark.parametrize("value", ["", None, 0, [], {"a": [1, "é"]}, [1, "two"]])
def test_any_value_is_a_result(value: Any) -> None:
    def answer(_: dict[str, Any]) -> Any:
        return value

    with serving(answer, ["mcp"]) as url:
        result = ask(url, "auto", "time?")[0]

    assert result.structured_content["result"] == value
    assert result.content[0].text == (value if isinstance(value, str) else to_json(value).decode())
