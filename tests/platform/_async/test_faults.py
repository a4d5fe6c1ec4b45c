"""Every call meets every fault: the exception and its facts are right, and nothing is left, here or on the platform."""

from __future__ import annotations

import asyncio  # async-only
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    AuthenticationError,
    ClientConfig,
    HandlerError,
    InvocationError,
    NetworkError,
    NotFoundError,
    PlatformError,
    PPIOAgentRuntimeError,
    QuotaExceededError,
    RateLimitedError,
    RequestError,
    SandboxCreationError,
    SandboxGoneError,
    SandboxSession,
    TemplateNotFoundError,
    UnavailableError,
)
from tests.support.gates import eventually
from tests.support.platform import API_KEY, Platform, Server, light_agent
from tests.support.platform_agent import settings

NONE = type(None)
"""Stands for a call that succeeds all the same."""

REFUSALS = {
    "401": AuthenticationError,
    "403": AuthenticationError,
    "404": PlatformError,
    "409": PlatformError,
    "429": RateLimitedError,
    "quota": QuotaExceededError,
}
FAILURES = {"500": PlatformError, "502": PlatformError, "503": PlatformError}
LOSSES = {"reset": NetworkError, "cut": NetworkError}
PLATFORM: dict[str, type[object]] = {**REFUSALS, **FAILURES, **LOSSES}
AGENT: dict[str, type[object]] = {
    **REFUSALS,
    "404": NotFoundError,
    "409": RequestError,
    "quota": RateLimitedError,  # an agent knows no quotas
    "500": HandlerError,
    "502": InvocationError,
    "503": UnavailableError,
    **LOSSES,
}
CALLS: dict[str, tuple[str, dict[str, type[object]]]] = {
    # What the caller does, the endpoint that it comes down to, and what becomes of it. Creates whose answers are lost
    # take their time and have a file of their own, and so has silence.
    "create": ("create", {**REFUSALS, "404": TemplateNotFoundError, "409": SandboxCreationError}),
    "join": ("list", PLATFORM),
    "find": ("list", PLATFORM),
    "list": ("list", PLATFORM),
    "status": ("info", {**PLATFORM, "404": NONE}),
    "refresh": ("timeout", {**PLATFORM, "404": SandboxGoneError}),
    "pause": ("pause", PLATFORM),
    "resume": ("connect", {**PLATFORM, "404": SandboxGoneError}),
    "close": ("kill", {**PLATFORM, "404": NONE}),
    "templates": ("templates", {**PLATFORM, "401": NONE, "403": NONE, "404": NONE}),  # there is another list
    "ping": ("agent/ping", {**AGENT, "503": NONE}),
    "invoke": ("agent/invocations", AGENT),
}


async def do(what: str, client: AgentRuntimeClient, session: SandboxSession) -> Any:
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "create": lambda: client.create_session("t-1"),
        "join": lambda: client.create_session("t-1", session_id=session.session_id),
        "find": lambda: client.get_session(session.session_id),
        "list": client.list_sessions,
        "status": session.get_status,
        "refresh": lambda: session.refresh(100),
        "pause": session.pause,
        "resume": session.resume,
        "close": session.close,
        "templates": lambda: client.list_templates(refresh=True),
        "ping": session.ping,
        "invoke": lambda: session.invoke({}),
    }
    return await calls[what]()


@pytest.fixture
def config(platform: Platform, url: str) -> ClientConfig:
    platform.add_template("t-1", agent=light_agent)
    return settings(url, max_retries=1, retry_delay=0.01)


def threads() -> set[str]:
    """Return the threads that are neither the platform's nor the event loop's own."""
    return {each.name for each in threading.enumerate() if not each.name.startswith(("platform", "asyncio_"))}


@pytest.mark.parametrize("what", CALLS)
@pytest.mark.slow
async def test_a_call_meets_every_fault(platform: Platform, server: Server, config: ClientConfig, what: str) -> None:
    endpoint, outcomes = CALLS[what]
    running = threads()
    for kind, outcome in outcomes.items():
        async with AgentRuntimeClient(config=config) as maker:
            made = await maker.create_session("t-1")
            async with AgentRuntimeClient(config=config) as client:
                session = await client.get_session(made.session_id)
                assert session is not None
                if what == "resume":
                    await session.pause()
                fault = platform.faults.add(endpoint, kind, times=1000, retry_after="0")
                try:
                    await do(what, client, session)
                except PPIOAgentRuntimeError as error:
                    check(error, kind, outcome, endpoint)
                else:
                    assert outcome is NONE, f"{what} succeeded after {kind}"
                assert fault.hit <= 2
                platform.faults.clear()
            await made.close()
        assert len(platform.sandboxes) == 0, f"{what} left a sandbox after {kind}"
        assert asyncio.all_tasks() == {asyncio.current_task()}  # async-only
    eventually(lambda: server.connections == 0, "the end of all connections")
    assert threads() <= running  # what earlier tests left may have ended meanwhile


def check(error: PPIOAgentRuntimeError, kind: str, outcome: type[object], endpoint: str) -> None:
    assert type(error) is outcome, (kind, error)
    if kind in LOSSES:
        return
    if isinstance(error, SandboxGoneError):
        return  # what the platform said is no news any more
    assert error.status_code == (429 if kind == "quota" else int(kind))
    if not isinstance(error, TemplateNotFoundError):
        assert error.request_id == "req-of-a-fault"
    if isinstance(error, RateLimitedError) and not isinstance(error, QuotaExceededError):
        # In front of an agent it is not the agent's own word, so nobody knows that nothing has run.
        assert (error.retry_after, error.retryable) == (0, not endpoint.startswith("agent/"))
    assert API_KEY not in repr(error)
    assert API_KEY not in str(error)


@pytest.mark.parametrize("what", ["status", "refresh", "pause", "resume", "close", "list"])
@pytest.mark.parametrize("kind", ["reset", "cut", "502"])
async def test_one_lost_answer_is_no_news_to_the_caller(
    platform: Platform, config: ClientConfig, what: str, kind: str
) -> None:
    async with AgentRuntimeClient(config=config) as client:
        session = await client.create_session("t-1")
        if what == "resume":
            await session.pause()
        platform.faults.add(CALLS[what][0], kind, after_effect=True)

        answer = await do(what, client, session)

        if what == "close":
            assert answer is True
        else:
            assert session.is_active is (what != "pause")
            await session.close()
    assert len(platform.sandboxes) == 0
