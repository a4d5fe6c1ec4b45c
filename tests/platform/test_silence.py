"""No call waits for ever: an endpoint that takes requests and never answers, for each call, all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ppio_agent_client import AgentRuntimeClient, ClientConfig, NetworkError, SyncAgentRuntimeClient
from tests.platform._async.test_faults import CALLS, do
from tests.platform._sync.test_faults import do as do_blocking
from tests.support.gates import eventually
from tests.support.platform import Platform, light_agent, serving
from tests.support.platform_agent import settings

SILENT = sorted(CALLS.keys() - {"create", "ping"})
"""Creates have a file of their own; a ping has a limit that is fixed, and tested where it is used."""


@contextmanager
def silent(folder: Path, what: str) -> Iterator[tuple[Platform, ClientConfig]]:
    """Serve a platform of its own for one call; at the end nobody may be connected any more."""
    platform = Platform(folder / what)
    platform.add_template("t-1", agent=light_agent)
    with serving(platform) as server:
        yield platform, settings(server.url, platform_timeout=6, timeout=2, max_retries=1, retry_delay=0.01)
        eventually(lambda: server.connections == 0, "the end of all connections")
        assert len(platform.sandboxes) == 0


async def test_every_call_ends_in_time(tmp_path: Path) -> None:
    async def call(what: str) -> str:
        with silent(tmp_path, what) as (platform, config):
            async with AgentRuntimeClient(config=config) as client:
                session = await client.create_session("t-1")
                if what == "resume":
                    await session.pause()
                platform.faults.add(CALLS[what][0], "hang", times=1000)
                with pytest.raises(NetworkError) as caught:
                    await do(what, client, session)
                platform.faults.clear()
                await session.close()
        return type(caught.value).__name__

    assert [name for name in await asyncio.gather(*map(call, SILENT)) if "Timeout" not in name] == []


def test_every_blocking_call_ends_in_time(tmp_path: Path) -> None:
    def call(what: str) -> str:
        with silent(tmp_path, what) as (platform, config), SyncAgentRuntimeClient(config=config) as client:
            session = client.create_session("t-1")
            if what == "resume":
                session.pause()
            platform.faults.add(CALLS[what][0], "hang", times=1000)
            with pytest.raises(NetworkError) as caught:
                do_blocking(what, client, session)
            platform.faults.clear()
            session.close()
        return type(caught.value).__name__

    with ThreadPoolExecutor(len(SILENT)) as threads:
        assert [name for name in threads.map(call, SILENT) if "Timeout" not in name] == []
