"""One blocking client in many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ppio_agent_client import SyncAgentRuntimeClient, SyncLocalSandboxProvider
from tests.support.agents import write_agent

pytestmark = pytest.mark.contract


def test_threads_share_a_client_and_a_session(home: Path) -> None:
    provider = SyncLocalSandboxProvider(home)
    provider.deploy(write_agent(home.parent / "worker", "worker"))
    with SyncAgentRuntimeClient(provider=provider) as client, ThreadPoolExecutor(8) as pool:
        sessions = list(pool.map(lambda _: client.create_session("worker", session_id="one"), range(16)))
        assert len({session.sandbox_id for session in sessions}) == 1
        results = pool.map(lambda number: sessions[number % 16].invoke("x").result, range(100))
        assert sorted(results) == list(range(1, 101))


def test_threads_stream_side_by_side(home: Path) -> None:
    provider = SyncLocalSandboxProvider(home)
    provider.deploy(write_agent(home.parent / "streamer", "streamer"))
    with SyncAgentRuntimeClient(provider=provider) as client, ThreadPoolExecutor(8) as pool:
        session = client.create_session("streamer")
        streams = pool.map(lambda _: [chunk["number"] for chunk in session.stream({"count": 50})], range(16))
        assert list(streams) == [list(range(1, 51))] * 16
