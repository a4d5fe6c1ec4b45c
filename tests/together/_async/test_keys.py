"""Agents that want to know who calls, and what the client shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    AuthenticationError,
    AuthManager,
    ClientConfig,
    InvocationState,
    SessionStatus,
)
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running
from tests.support.cutting_proxy import cutting_proxy

pytestmark = pytest.mark.contract

SECRETS = {"ak-1": "sécret-1", 'a"k\\2': "secret-2"}


def app_with(**settings: Any) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(AgentConfig(**settings))

    @app.entrypoint
    def count(payload: dict[str, Any], context: RequestContext) -> Iterator[Any]:
        yield from range(payload.get("to", 3))

    return app


@pytest.mark.parametrize("key_id", list(SECRETS))
async def test_signed_calls_of_every_kind_open_the_door(key_id: str) -> None:
    with running(app_with(hmac_keys=SECRETS)) as url:
        async with AgentRuntimeClient() as client:
            session = client.attach(url, auth=AuthManager(key_id, SECRETS[key_id]))
            assert (await session.invoke("x")).result == [0, 1, 2]
            assert [chunk async for chunk in session.stream({"to": 2})] == [0, 1]
            job = await session.submit({"to": 4})
            assert (await job.result(timeout=60)).result == [0, 1, 2, 3]
            assert [chunk async for chunk in job.events(after=2)] == [2, 3]
            assert await job.status() == InvocationState.SUCCEEDED
            assert await job.cancel() is False
            assert await session.get_status() is SessionStatus.ACTIVE


@pytest.mark.parametrize(("key_id", "secret"), [("ak-1", "wrong"), ("nobody", SECRETS["ak-1"]), ("ak-1", None)])
async def test_a_wrong_secret_an_unknown_name_and_a_bare_key_do_not(key_id: str, secret: str | None) -> None:
    with running(app_with(hmac_keys=SECRETS)) as url:
        async with AgentRuntimeClient() as client:
            with pytest.raises(AuthenticationError) as caught:
                await client.attach(url, auth=AuthManager(key_id, secret)).invoke("x")
    assert caught.value.status_code == 401


async def test_the_token_of_a_session_is_a_key_that_an_agent_accepts() -> None:
    token = AuthManager("key").session_token("s-1")
    with running(app_with(api_keys=[token])) as url:
        async with AgentRuntimeClient() as client:
            same = AuthManager("key").session_token("s-1")
            assert (await client.attach(url, token=same).invoke("x")).result == [0, 1, 2]
            with pytest.raises(AuthenticationError):
                await client.attach(url, token=AuthManager("key").session_token("s-2")).invoke("x")


async def test_a_key_that_the_agent_does_not_take_any_more_is_renewed() -> None:
    issued = iter(["old", "new"])
    with running(app_with(api_keys=["new"])) as url:
        async with AgentRuntimeClient() as client:
            session = client.attach(url, auth=AuthManager(lambda: next(issued)))
            assert (await session.invoke("x")).result == [0, 1, 2]
            assert [chunk async for chunk in session.stream("x")] == [0, 1, 2]


async def test_every_retry_of_a_call_that_is_cut_is_signed_anew() -> None:
    # One signature twice would be a replay, and refused.
    config = ClientConfig(retry_delay=0, max_retries=1000, retry_budget=None)
    with running(app_with(hmac_keys=SECRETS)) as url, cutting_proxy(url, seed=7, silence=False) as proxy:
        async with AgentRuntimeClient(config=config) as client:
            session = client.attach(proxy.url, auth=AuthManager("ak-1", SECRETS["ak-1"]))
            await session.invoke("x")
            proxy.calm = False
            while proxy.cuts.total() < 40:
                assert (await session.invoke({"to": 5})).result == [0, 1, 2, 3, 4]
                assert [chunk async for chunk in session.stream({"to": 5})] == [0, 1, 2, 3, 4]
