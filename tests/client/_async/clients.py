"""What most tests begin with: a client, and an agent that it talks to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ppio_agent_client import AgentRuntimeClient, ClientConfig, SandboxSession
from tests.client._async.shelf import Shelf, agent
from tests.support.raw_server import RawServer, Script, raw_server


@asynccontextmanager
async def attached(*scripts: Script, **settings: Any) -> AsyncIterator[tuple[RawServer, SandboxSession]]:
    """Serve the scripts, one for each connection; give the server, and a session of a client with these settings."""
    with raw_server(*scripts) as server:
        async with AgentRuntimeClient(config=ClientConfig(**settings)) as client:
            yield server, client.attach(server.url)


@asynccontextmanager
async def shelved(
    *scripts: Script, start_timeout_seconds: float = 30.0, **settings: Any
) -> AsyncIterator[tuple[RawServer, Shelf, AgentRuntimeClient]]:
    """Serve the scripts, or a healthy agent; give the server, a shelf of sandboxes with it, and a client of that."""
    with raw_server(*(scripts or [agent])) as server:
        shelf = Shelf(server.url, start_timeout_seconds=start_timeout_seconds)
        async with AgentRuntimeClient(provider=shelf, config=ClientConfig(**settings)) as client:
            yield server, shelf, client
