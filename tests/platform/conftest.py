from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ppio_sandbox.core.api.client_async import AsyncTransportWithLogger
from ppio_sandbox.core.api.client_sync import TransportWithLogger

from ppio_agent_client._io import _async as io
from tests.support.platform import API_KEY, Platform, Server, serving

MODERN = "cn-beijing-1.sandbox.ppio.com"
LEGACY = "sandbox.ppio.cn"


@dataclass
class Account:
    """An emulator, and what the official SDK needs to find it."""

    platform: Platform
    server: Server

    @property
    def options(self) -> dict[str, Any]:
        domain = LEGACY if self.platform.legacy else MODERN
        return {"api_key": API_KEY, "api_url": self.server.url, "sandbox_url": self.server.url, "domain": domain}


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """An emulator of the platform, as the domains beside the default one are."""
    return Platform(tmp_path / "platform", pairs={"ak-1": "a secret"})


@pytest.fixture
def server(platform: Platform) -> Iterator[Server]:
    with serving(platform) as server:
        yield server


@pytest.fixture
def url(server: Server) -> str:
    return server.url


@pytest.fixture
def modern(platform: Platform, server: Server) -> Account:
    """The same, for the official SDK."""
    return Account(platform, server)


@pytest.fixture
def legacy(tmp_path: Path) -> Iterator[Account]:
    """The platform as the default domain is."""
    platform = Platform(tmp_path / "legacy", legacy=True)
    with serving(platform) as server:
        yield Account(platform, server)


@pytest.fixture(params=["modern", "legacy"])
def account(request: pytest.FixtureRequest) -> Account:
    """Either flavour."""
    found: Account = request.getfixturevalue(request.param)
    return found


@pytest.fixture(autouse=True)
def official_pool() -> Iterator[None]:
    """Close the connections that the official SDK shares between all its sandboxes, and never closes."""
    yield
    if (transport := TransportWithLogger.singleton) is not None:
        TransportWithLogger.singleton = None
        transport.close()


@pytest.fixture
async def official_async_pool() -> AsyncIterator[None]:
    """The same, for the loop of a test."""
    yield
    if transport := AsyncTransportWithLogger._instances.pop(id(asyncio.get_running_loop()), None):
        await transport.aclose()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client's pauses pass ten times as fast, where nothing that it waits for will ever come."""
    monkeypatch.setattr(io, "sleep", partial(_tenth_of, io.sleep))


def _tenth_of(sleep: Callable[[float], Awaitable[None]], seconds: float) -> Awaitable[None]:
    return sleep(seconds / 10)


@pytest.fixture
def unused_url() -> str:
    """An address where nobody listens."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{place.getsockname()[1]}"
