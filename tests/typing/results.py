"""What a type checker sees of typed results, chunks and events, and of errors. Checked, never run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from pydantic import BaseModel

from ppio_agent_client import (
    AgentEventStream,
    AgentRuntimeClient,
    InvocationHandle,
    InvocationResponse,
    InvocationStream,
    SandboxSession,
    SyncAgentEventStream,
    SyncAgentRuntimeClient,
    SyncInvocationStream,
    SyncSandboxSession,
)
from ppio_agent_models import (
    AgentEvent,
    InvocationRequest,
    InvocationResource,
    PPIOAgentRuntimeError,
    RateLimitedError,
    ResultValidationError,
    RunFinishedEvent,
    SandboxGoneError,
    StreamEvent,
    StreamInterruptedError,
    TextMessageContentEvent,
)


class Answer(BaseModel):
    text: str


@dataclass
class Question:
    text: str


async def results(session: SandboxSession, client: AgentRuntimeClient) -> None:
    answer = await session.invoke("x", result_type=Answer)
    assert_type(answer, InvocationResponse[Answer])
    assert_type(answer.result, Answer)
    assert_type(answer.result.text, str)
    assert_type((await session.invoke("x", result_type=list[int])).result, list[int])
    assert_type((await session.invoke("x", result_type=Question)).result, Question)
    assert_type((await session.invoke("x")).result, Any)
    assert_type(await client.invoke_agent("a", "x", result_type=Answer), InvocationResponse[Answer])
    handle = await session.submit("x", idempotency_key="k")
    assert_type(await handle.result(result_type=Answer), InvocationResponse[Answer])
    assert_type(await handle.info(), InvocationResource)


async def chunks(session: SandboxSession, client: AgentRuntimeClient, handle: InvocationHandle) -> None:
    async with session.stream("x", chunk_type=Answer) as stream:
        assert_type(stream, InvocationStream[Answer])
        async for chunk in stream:
            assert_type(chunk, Answer)
        assert_type(stream.done, InvocationResponse | None)
    async for anything in session.stream("x"):
        assert_type(anything, Any)
    async for event in session.stream("x").events():
        assert_type(event, StreamEvent)
    async for part in session.stream("x").sse():
        assert_type(part, bytes)
    assert_type(client.stream_agent("a", "x", chunk_type=Answer), InvocationStream[Answer])
    assert_type(handle.events(chunk_type=Answer), InvocationStream[Answer])


async def events(session: SandboxSession, handle: InvocationHandle) -> None:
    assert_type(session.events("x"), AgentEventStream)
    assert_type(handle.events(typed=True), AgentEventStream)
    async for event in session.events("x"):
        assert_type(event, AgentEvent)
        if isinstance(event, TextMessageContentEvent):
            assert_type(event.delta, str)
        elif isinstance(event, RunFinishedEvent):
            assert_type([one.id for one in event.interrupts], list[str])


def blocking(session: SyncSandboxSession, client: SyncAgentRuntimeClient) -> None:
    assert_type(session.invoke("x", result_type=Answer), InvocationResponse[Answer])
    assert_type(client.invoke_agent("a", "x", result_type=Answer).result, Answer)
    with session.stream("x", chunk_type=Answer) as stream:
        assert_type(stream, SyncInvocationStream[Answer])
        for chunk in stream:
            assert_type(chunk, Answer)
    assert_type(session.events("x"), SyncAgentEventStream)
    for event in session.events("x"):
        assert_type(event, AgentEvent)
    assert_type(session.submit("x").result(result_type=Answer), InvocationResponse[Answer])


async def requests(session: SandboxSession) -> None:
    """Whatever pydantic can serialize is a request."""
    await session.invoke(InvocationRequest(query="x", top_k=3))
    await session.invoke(InvocationRequest(prompt="x", timeout=3, metadata={"tenant": "a"}))
    await session.invoke(Answer(text="x"))
    await session.invoke(Question("x"), headers={"X-Tenant": "a"}, user_id="u")
    assert_type(InvocationRequest(query="x").prompt, str | None)
    assert_type(InvocationRequest(query="x").to_wire(), dict[str, Any])


async def attached(client: AgentRuntimeClient) -> None:
    session = client.attach("http://a", "token", session_id="s", user_id="u", headers={"X-Tenant": "a"})
    assert_type(session, SandboxSession)
    assert_type(session.session_id, str)


async def errors(session: SandboxSession) -> None:
    try:
        await session.invoke("x")
    except RateLimitedError as error:
        assert_type(error.retry_after, float | None)
    except StreamInterruptedError as error:
        assert_type((error.last_event_id, error.received), tuple[int, int])
    except ResultValidationError as error:
        assert_type(error.result, Any)
    except SandboxGoneError as error:
        assert_type(error.output, str)
    except PPIOAgentRuntimeError as error:
        assert_type(error.message, str)
        assert_type(error.status_code, int | None)
        assert_type(error.error_type, str)
        assert_type(error.request_id, str | None)
        assert_type(error.retryable, bool)
