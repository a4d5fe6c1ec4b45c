"""What envd may do to a start, besides what it should: private, because no emulator would do it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from ppio_agent_client import ClientConfig, NetworkError, Sandbox
from ppio_agent_client._async.providers.platform.startup import Envd, StartWatch
from ppio_agent_client._async.transport import Transport
from ppio_agent_client._core.platform.start import encode_frame
from tests.support.raw_server import Caller, answer, piece, raw_server, stream_head

CONFIG = ClientConfig(idle_timeout=None)
REQUEST = {"process": {"cmd": "x"}, "tag": "t"}
SANDBOX = Sandbox(
    sandbox_id="b",
    session_id="s",
    template_id="t",
    url="",
    state="running",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    expires_at=None,
)


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = Transport(CONFIG)
    yield transport
    await transport.close()


@pytest.fixture
async def watch() -> StartWatch:
    async def get(sandbox_id: str) -> Sandbox | None:
        return SANDBOX

    return StartWatch(SANDBOX, 1.0, get)


async def test_an_envd_that_only_says_that_it_lives_has_not_started_anything(
    transport: Transport, watch: StartWatch
) -> None:
    def alive(caller: Caller) -> None:
        if "/Start" not in caller.read_request().line:
            caller.send(answer(b'{"processes":[]}'))
            caller.wait_until_gone()
            return
        caller.send(stream_head())
        while not server.closed.acquire(timeout=0.02):
            caller.send(piece(encode_frame({"event": {"keepalive": {}}})))

    async def connections() -> Transport:
        return transport

    with raw_server(alive) as server:
        with pytest.raises(NetworkError, match="did not report within"):
            await Envd(server.url, {}, CONFIG, connections).start(REQUEST, 0.2, watch)
        server.closed.release()


async def test_an_agent_is_watched_no_longer_than_wanted_however_silent_envd_is(
    transport: Transport, watch: StartWatch
) -> None:
    def silent(caller: Caller) -> None:
        caller.read_request()
        caller.send(stream_head() + piece(encode_frame({"event": {"start": {"pid": 7}}})))
        caller.wait_until_gone()

    async def connections() -> Transport:
        return transport

    with raw_server(silent) as server:
        await Envd(server.url, {}, CONFIG, connections).start(REQUEST, 60.0, watch)
        await watch.wait(0.2)  # in which a thread has come to read
        assert await watch.poll() == SANDBOX
        await watch.close()
