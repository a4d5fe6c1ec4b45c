"""Every kind of function can be an entrypoint, with its parameters wherever they are."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, Optional

import pytest

import ppio_agent_runtime
from ppio_agent_runtime import PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running
from tests.support.raw_http import EVENT_STREAM, Answer, invoke

if TYPE_CHECKING:
    from collections import OrderedDict

pytestmark = pytest.mark.contract

HandlerFunction = Callable[..., Any]
Decorator = Callable[[HandlerFunction], HandlerFunction]


class Choosing:
    """An ASGI middleware: the agent that the request names answers, and not the one inside."""

    def __init__(self, app: Any, agents: dict[bytes, PPIOAgentRuntimeApp]) -> None:
        self._app = app
        self._agents = agents

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        agent = dict(scope.get("headers", ())).get(b"x-agent")
        await (self._app if agent is None else self._agents[agent])(scope, receive, send)


class Host:
    """One server for the agents of all tests."""

    def __init__(self) -> None:
        self.app = PPIOAgentRuntimeApp()
        self.app.entrypoint(no_parameters)
        self._agents: dict[bytes, PPIOAgentRuntimeApp] = {}
        self.app.add_middleware(Choosing, agents=self._agents)
        self.url = ""

    def ask(self, function: HandlerFunction, payload: object = None, headers: dict[str, str] | None = None) -> Answer:
        agent = PPIOAgentRuntimeApp()
        agent.entrypoint(function)
        name = str(len(self._agents))
        self._agents[name.encode()] = agent
        return invoke(self.url, {"n": 2} if payload is None else payload, {"X-Agent": name, **(headers or {})})

    def result_of(self, function: HandlerFunction, payload: object = None) -> Any:
        return self.ask(function, payload).result

    def chunks_of(self, function: HandlerFunction) -> list[Any]:
        answer = self.ask(function)
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [event.data for event in answer.events]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    host = Host()
    with running(host.app) as host.url:
        yield host


def plain(payload: dict[str, int]) -> int:
    return payload["n"]


async def coroutine(payload: dict[str, int]) -> int:
    return payload["n"]


def generator(payload: dict[str, int]) -> Iterator[int]:
    yield from range(payload["n"])


async def async_generator(payload: dict[str, int]) -> AsyncIterator[int]:
    for number in range(payload["n"]):
        yield number


def returns_a_coroutine(payload: dict[str, int]) -> Coroutine[Any, Any, int]:
    return coroutine(payload)


def returns_an_async_generator(payload: dict[str, int]) -> AsyncIterator[int]:
    return async_generator(payload)


class Agent:
    def __call__(self, payload: dict[str, int]) -> int:
        return payload["n"]

    def method(self, payload: dict[str, int]) -> int:
        return payload["n"]

    async def async_method(self, payload: dict[str, int]) -> int:
        return payload["n"]

    def streaming_method(self, payload: dict[str, int]) -> Iterator[int]:
        yield from range(payload["n"])

    @classmethod
    def class_method(cls, payload: dict[str, int]) -> int:
        return payload["n"]

    @staticmethod
    def static_method(payload: dict[str, int]) -> int:
        return payload["n"]


class AsyncAgent:
    async def __call__(self, payload: dict[str, int]) -> int:
        return payload["n"]


class StreamingAgent:
    def __call__(self, payload: dict[str, int]) -> Iterator[int]:
        yield from range(payload["n"])


class AsyncStreamingAgent:
    async def __call__(self, payload: dict[str, int]) -> AsyncIterator[int]:
        for number in range(payload["n"]):
            yield number


def wrapped(function: HandlerFunction) -> HandlerFunction:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def wrapped_async(function: Callable[..., Coroutine[Any, Any, Any]]) -> HandlerFunction:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


def bound_first(model: str, payload: dict[str, int]) -> int:
    assert model == "small"
    return payload["n"]


async def with_model(payload: dict[str, int], *, model: str) -> int:
    assert model == "small"
    return payload["n"]


VALUES = {
    "def": plain,
    "async def": coroutine,
    "callable object": Agent(),
    "async callable object": AsyncAgent(),
    "method": Agent().method,
    "async method": Agent().async_method,
    "class method": Agent.class_method,
    "static method": Agent.static_method,
    "partial": functools.partial(bound_first, "small"),
    "partial by keyword": functools.partial(bound_first, model="small"),
    "async partial by keyword": functools.partial(with_model, model="small"),
    "partial of a partial": functools.partial(functools.partial(with_model), model="small"),
    "partial of a callable object": functools.partial(Agent()),
    "wraps def": wrapped(plain),
    "wraps async def": wrapped(coroutine),
    "async wraps async def": wrapped_async(coroutine),
    "returns a coroutine": returns_a_coroutine,
}

STREAMS = {
    "generator": generator,
    "async generator": async_generator,
    "streaming method": Agent().streaming_method,
    "streaming callable object": StreamingAgent(),
    "async streaming callable object": AsyncStreamingAgent(),
    "partial of a generator": functools.partial(generator),
    "partial of an async generator": functools.partial(async_generator),
    "wraps a generator": wrapped(generator),
    "wraps an async generator": wrapped(async_generator),
    "returns a generator": lambda payload: (number for number in range(payload["n"])),
    "returns an async generator": returns_an_async_generator,
}


@pytest.mark.parametrize("function", VALUES.values(), ids=VALUES.keys())
def test_kind_of_handler_answers_a_value(host: Host, function: HandlerFunction) -> None:
    assert host.result_of(function) == 2


@pytest.mark.parametrize("function", STREAMS.values(), ids=STREAMS.keys())
def test_kind_of_handler_streams(host: Host, function: HandlerFunction) -> None:
    assert host.chunks_of(function) == [0, 1]


def test_coroutine_that_returns_a_generator_streams(host: Host) -> None:
    async def handler(payload: dict[str, int]) -> AsyncIterator[int]:
        return async_generator(payload)

    assert host.chunks_of(handler) == [0, 1]


def test_iterables_that_are_no_iterators_are_values(host: Host) -> None:
    assert host.result_of(lambda: {"a"}) == ["a"]
    assert host.result_of(lambda: deque([1, 2])) == [1, 2]


def test_plain_function_runs_away_from_the_event_loop(host: Host) -> None:
    assert host.result_of(lambda: threading.current_thread().name).startswith("agent-worker")


def test_outermost_function_decides_where_a_wrapper_of_a_coroutine_function_runs(host: Host) -> None:
    ran_in: list[str] = []

    def noting(function: Any) -> Any:
        @functools.wraps(function)
        def run(*args: Any) -> Any:
            ran_in.append(threading.current_thread().name)
            return function(*args)

        return run

    @noting
    async def handler() -> str:
        return threading.current_thread().name

    assert host.result_of(handler) == "agent-server"
    assert ran_in[0].startswith("agent-worker")


def no_parameters() -> str:
    return "nothing"


def payload_then_context(payload: dict[str, int], context: RequestContext) -> str:
    return f"{payload['n']} {type(context).__name__}"


def context_then_payload(context: RequestContext, payload: dict[str, int]) -> str:
    return f"{payload['n']} {type(context).__name__}"


def keyword_only(*, payload: dict[str, int], context: RequestContext) -> str:
    return f"{payload['n']} {type(context).__name__}"


def keyword_only_reversed(*, ctx: Any, request: dict[str, int]) -> str:
    return f"{request['n']} {type(ctx).__name__}"


def keyword_only_context(payload: dict[str, int], *, ctx: Any) -> str:
    return f"{payload['n']} {type(ctx).__name__}"


def context_and_keyword_only_payload(context: RequestContext, /, *, payload: dict[str, int]) -> str:
    return f"{payload['n']} {type(context).__name__}"


def context_by_annotation(payload: dict[str, int], call: RequestContext) -> str:
    return f"{payload['n']} {type(call).__name__}"


def context_by_dotted_annotation(payload: dict[str, int], call: ppio_agent_runtime.RequestContext) -> str:
    return f"{payload['n']} {type(call).__name__}"


def optional_context(payload: dict[str, int], call: RequestContext | None = None) -> str:
    return f"{payload['n']} {type(call).__name__}"


def old_style_optional_context(payload: dict[str, int], call: Optional[RequestContext] = None) -> str:  # noqa: UP045
    return f"{payload['n']} {type(call).__name__}"


def context_last(payload: dict[str, int], limit: int = 5, context: Any = None) -> str:
    return f"{payload['n']} {type(context).__name__}"


def context_after_varargs(payload: dict[str, int], *rest: Any, context: RequestContext) -> str:
    assert not rest
    return f"{payload['n']} {type(context).__name__}"


def positional_only(payload: dict[str, int], context: RequestContext, /) -> str:
    return f"{payload['n']} {type(context).__name__}"


def positional_only_last(payload: dict[str, int], limit: int = 5, context: Any = None, /) -> str:
    assert limit == 5
    return f"{payload['n']} {type(context).__name__}"


def keyword_rest(payload: dict[str, int], context: RequestContext, **options: Any) -> str:
    assert not options
    return f"{payload['n']} {type(context).__name__}"


def other_annotations_need_not_exist(payload: dict[str, int], ctx: Any) -> OrderedDict[str, int] | str:
    return f"{payload['n']} {type(ctx).__name__}"


@pytest.mark.parametrize(
    "function",
    [
        payload_then_context,
        context_then_payload,
        keyword_only,
        keyword_only_reversed,
        keyword_only_context,
        context_and_keyword_only_payload,
        context_by_annotation,
        context_by_dotted_annotation,
        optional_context,
        old_style_optional_context,
        context_last,
        context_after_varargs,
        positional_only,
        positional_only_last,
        keyword_rest,
        other_annotations_need_not_exist,
    ],
)
def test_payload_and_context_reach_their_parameters(host: Host, function: HandlerFunction) -> None:
    assert host.result_of(function) == "2 RequestContext"


def test_handler_without_parameters_is_called(host: Host) -> None:
    assert host.result_of(no_parameters) == "nothing"


def test_handler_without_parameters_takes_any_json(host: Host) -> None:
    assert host.result_of(no_parameters, [1, "two"]) == "nothing"


def test_handler_may_take_the_context_alone(host: Host) -> None:
    def handler(context: RequestContext) -> str:
        return type(context).__name__

    assert host.result_of(handler) == "RequestContext"


def test_keyword_only_context_may_be_alone(host: Host) -> None:
    def handler(*, ctx: Any) -> str:
        return type(ctx).__name__

    assert host.result_of(handler) == "RequestContext"


def test_parameters_with_defaults_keep_them(host: Host) -> None:
    def handler(payload: dict[str, int], temperature: float = 0.5) -> float:
        return payload["n"] * temperature

    assert host.result_of(handler) == 1.0


def test_varargs_take_the_payload(host: Host) -> None:
    def handler(*everything: Any, **options: Any) -> list[Any]:
        return [everything, options]

    assert host.result_of(handler) == [[{"n": 2}], {}]


def test_generator_can_be_asked_for_a_stream_and_take_the_context(host: Host) -> None:
    def handler(context: RequestContext, payload: dict[str, int]) -> Generator[str, None, None]:
        yield type(context).__name__

    assert [event.data for event in host.ask(handler, {}, EVENT_STREAM).events] == ["RequestContext"]
