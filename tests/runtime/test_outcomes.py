"""What handlers return and raise, beyond the built-in kinds: foreign iterators and awaitables, groups of errors."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import HTTPException
from pydantic import BaseModel, RootModel
from pydantic.dataclasses import dataclass as pydantic_dataclass

from ppio_agent_runtime import AgentError, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.calls import refusal
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Answer, Connection, invoke


class Kept:
    """An async iterator that is no generator, as a tracer hands it back."""

    def __init__(self, iterator: Any) -> None:
        self._iterator = iterator

    def __aiter__(self) -> Kept:
        return self

    async def __anext__(self) -> Any:
        return await self._iterator.__anext__()


class OnlyNext:
    """What can be pulled, and nothing else."""

    def __init__(self) -> None:
        self._left = 2

    def __next__(self) -> str:
        if not self._left:
            raise StopIteration
        self._left -= 1
        return threading.current_thread().name


class OnlyAnext:
    """The same, awaited."""

    def __init__(self) -> None:
        self._left = 2

    @staticmethod
    def made() -> OnlyAnext:
        return OnlyAnext()

    async def __anext__(self) -> str:
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        return "a"


class Later:
    """An awaitable that is no coroutine."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, Any, Any]:
        yield from asyncio.sleep(0).__await__()
        return self._value


def answer_of(handler: Any, headers: dict[str, str] | None = None) -> Answer:
    app = PPIOAgentRuntimeApp()
    app.entrypoint(handler)
    with running(app) as url:
        return invoke(url, headers=headers)


def chunks_of(handler: Any) -> list[Any]:
    return [event.data for event in answer_of(handler, EVENT_STREAM).events if event.kind == "chunk"]


async def letters() -> AsyncIterator[str]:
    for letter in "ab":
        yield letter


def test_object_with_anext_streams() -> None:
    def from_a_thread() -> Any:
        return Kept(letters())

    async def from_the_loop() -> Any:
        return Kept(letters())

    assert chunks_of(from_a_thread) == chunks_of(from_the_loop) == ["a", "b"]
    assert chunks_of(OnlyAnext.made) == ["a", "a"]


def test_object_with_next_streams_from_the_thread_that_made_it() -> None:
    def handler() -> Any:
        return OnlyNext()

    first, second = chunks_of(handler)
    assert first == second
    assert first.startswith("agent-worker")
    assert chunks_of(lambda: map(str.lower, "AB")) == ["a", "b"]


def test_awaitables_of_any_kind_are_awaited() -> None:
    async def made_in_a_task() -> str:
        return "late"

    def plainly() -> Any:
        return made_in_a_task()

    async def handler() -> str:
        return "from the loop"

    assert answer_of(lambda: Later("awaited")).result == "awaited"
    assert answer_of(plainly).result == "late"
    assert answer_of(handler).result == "from the loop"


def test_generator_inside_of_a_value_runs_in_the_thread_of_its_function() -> None:
    def handler() -> dict[str, Any]:
        return {"names": (threading.current_thread().name for _ in range(2))}

    first, second = answer_of(handler).result["names"]
    assert first == second
    assert first.startswith("agent-worker")


def test_plain_generator_has_one_thread_from_its_first_value_to_its_close() -> None:
    seen: set[int] = set()
    closed = threading.Event()

    def handler() -> Iterator[str]:
        try:
            for _ in range(2000):
                seen.add(threading.get_ident())
                yield "x" * 500
        finally:
            seen.add(threading.get_ident())
            closed.set()

    app = PPIOAgentRuntimeApp()
    app.entrypoint(handler)
    with running(app) as url:
        assert len(invoke(url, headers=EVENT_STREAM).events) == 2000
        assert len(seen) == 1
        seen.clear()
        closed.clear()
        with Connection(url, receive_buffer_bytes=4096) as connection:
            connection.post(headers=EVENT_STREAM)
            connection.read_head()
        assert closed.wait(10)
        assert len(seen) == 1


@pytest.mark.parametrize("headers", [{}, EVENT_STREAM, PROTOCOL_1], ids=["value", "stream", "protocol 1"])
def test_error_for_callers_that_is_alone_in_its_groups_counts_as_itself(headers: dict[str, str]) -> None:
    async def agents_own() -> None:
        async with asyncio.TaskGroup(), asyncio.TaskGroup():
            raise AgentError("quota used up", status_code=429)

    async def http() -> None:
        async with asyncio.TaskGroup():
            raise HTTPException(404, "no such document")

    async def two() -> None:
        raise ExceptionGroup("both", [AgentError("a", status_code=429), AgentError("b", status_code=429)])

    assert refusal(answer_of(agents_own, headers), 429, "AgentError") == "quota used up"
    assert answer_of(http, headers).status == 404
    assert answer_of(two, headers).status == 500


@pytest.mark.parametrize("headers", [EVENT_STREAM, PROTOCOL_1 | EVENT_STREAM], ids=["plain", "protocol 1"])
def test_events_have_no_line_separators_of_any_kind(headers: dict[str, str]) -> None:
    async def handler() -> AsyncIterator[Any]:
        yield "a\u2028b"
        yield {"k\u2029": "c\x85d"}

    answer = answer_of(handler, headers)
    assert not {"\u2028", "\u2029", "\x85"} & set(answer.body.decode())
    assert [event.data for event in answer.events if event.kind == "chunk"] == ["a\u2028b", {"k\u2029": "c\x85d"}]


@dataclass
class State:
    output: str
    _messages: list[str] = field(default_factory=lambda: ["system prompt"])


def test_private_fields_of_dataclasses_are_not_told_and_keys_of_dicts_are() -> None:
    async def handler() -> Any:
        return {"_id": 1, "runs": [State("a"), (State("b"),)]}

    assert answer_of(handler).result == {"_id": 1, "runs": [{"output": "a"}, [{"output": "b"}]]}


A = {"output": "a"}


@pydantic_dataclass
class Turn:
    state: State
    _cost: int = 1


class Report(BaseModel):
    anything: Any
    state: State = State("typed")


@dataclass(frozen=True)
class Mark:
    name: str
    _owner: str = "somebody"


HIDING: dict[str, tuple[Callable[[], Any], Any]] = {
    "in a model": (
        lambda: Report(anything=[{"k": State("a")}]),
        {"anything": [{"k": A}], "state": {"output": "typed"}},
    ),
    "in a list of models": (lambda: [Report(anything=None)], [{"anything": None, "state": {"output": "typed"}}]),
    "in pydantic's dataclass": (lambda: {"turn": Turn(State("a"))}, {"turn": {"state": A}}),
    "in a root model": (lambda: RootModel[list[State]]([State("a")]), [A]),
    "in a deque": (lambda: deque([State("a")]), [A]),
    "made by a generator": (lambda: {"made": (State("a") for _ in range(2))}, {"made": [A, A]}),
    "beside a generator": (lambda: {"state": State("a"), "made": map(abs, [-1, 2])}, {"state": A, "made": [1, 2]}),
    "keys of dicts beside a generator": (
        lambda: {"_id": 1, "made": iter([{"_id": 2}])},
        {"_id": 1, "made": [{"_id": 2}]},
    ),
    "beside half a character": (
        lambda: [Report(anything="\ud800", state=State("a"))],
        [{"anything": "\ud800", "state": A}],
    ),
}


@pytest.mark.parametrize(("make", "told"), HIDING.values(), ids=HIDING)
def test_private_fields_are_not_told_wherever_they_stand(make: Callable[[], Any], told: Any) -> None:
    async def on_the_loop() -> Any:
        return make()

    assert answer_of(on_the_loop).result == told
    assert answer_of(make).result == told


def test_private_fields_that_cannot_be_left_out_are_refused_and_not_told() -> None:
    async def in_a_set() -> Any:
        return {"marks": {Mark("a")}}

    async def in_an_iterator_of_a_chunk() -> AsyncIterator[Any]:
        yield {"made": (State("a") for _ in range(2))}

    assert "result.marks is a set" in refusal(answer_of(in_a_set), 500, "SerializationError")
    assert "result.made is an iterator" in refusal(answer_of(in_an_iterator_of_a_chunk), 500, "SerializationError")
