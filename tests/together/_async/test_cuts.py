"""A thousand cuts: every chunk arrives once and in order, and the handler runs once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from ppio_agent_client import AgentRuntimeClient, ClientConfig
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.cutting_proxy import cutting_proxy
from tests.support.talkers import KINDS, RUNS, SAID, VALUES

pytestmark = pytest.mark.contract

CUTS = 1000
CONFIG = ClientConfig(retry_delay=0, max_retries=1000, retry_budget=None, idle_timeout=0.25)


@pytest.mark.parametrize("handler", KINDS)
@pytest.mark.slow
async def test_a_stream_that_is_cut_again_and_again_is_whole(handler: Any) -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(heartbeat_seconds=0.05))
    app.entrypoint(handler)
    expected = [SAID] if handler in VALUES else SAID
    RUNS.clear()
    streams = 0
    with running(app) as url, cutting_proxy(url, seed=KINDS.index(handler)) as proxy:
        async with AgentRuntimeClient(config=CONFIG) as client:
            session = client.attach(proxy.url)
            await session.ping()
            proxy.calm = False
            while proxy.cuts.total() < CUTS / len(KINDS):
                streams += 1
                async with session.stream({"id": f"run {streams}"}) as stream:
                    assert [item async for item in stream] == expected
                assert stream.received == len(expected)
    assert Counter(RUNS.values()) == {1: streams}
    assert all(proxy.cuts[manner] for manner in ("reset", "finish", "silence"))


@pytest.mark.parametrize("handler", KINDS)
async def test_a_call_that_is_cut_again_and_again_is_answered_once(handler: Any) -> None:
    app = PPIOAgentRuntimeApp()
    app.entrypoint(handler)
    RUNS.clear()
    calls = 0
    with running(app) as url, cutting_proxy(url, seed=100 + KINDS.index(handler), silence=False) as proxy:
        async with AgentRuntimeClient(config=CONFIG) as client:
            session = client.attach(proxy.url)
            await session.ping()
            proxy.calm = False
            while proxy.cuts.total() < 60:
                calls += 1
                assert (await session.invoke({"id": f"run {calls}"})).result == SAID
    assert Counter(RUNS.values()) == {1: calls}
