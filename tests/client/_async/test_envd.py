"""What envd may do to a start, besides what it should: private, because no emulator would do it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ppio_agent_client import ClientConfig, NetworkError, Sandbox
from ppio_agent_client._async.providers.platform.envd import Envd, StartWatch
from ppio_agent_client._async.transport import Transport
from ppio_agent_client._core.platform.frames import encode_frame
from tests.support.raw_server import Caller, answer, piece, raw_server, stream_head


async def test_an_envd_that_only_says_that_it_lives_has_not_started_anything() -> None:
    def alive(caller: Caller) -> None:
        if "/Start" not in caller.read_request().line:
            caller.send(answer(b'{"processes":[]}'))
            caller.wait_until_gone()
            return
        caller.send(stream_head())
        while not server.closed.acquire(timeout=0.02):
            caller.send(piece(encode_frame({"event": {"keepalive": {}}})))

    transport = Transport(ClientConfig())
    born = datetime.now(UTC)
    sandbox = Sandbox(
        sandbox_id="b", session_id="s", template_id="t", url="", state="running", created_at=born, expires_at=None
    )

    async def connections() -> Transport:
        return transport

    async def get(sandbox_id: str) -> Sandbox | None:
        return sandbox

    with raw_server(alive) as server:
        envd = Envd(server.url, {}, ClientConfig(), connections)
        with pytest.raises(NetworkError, match="did not say within"):
            await envd.start({"process": {"cmd": "x"}, "tag": "t"}, 0.2, StartWatch(sandbox, 1.0, get))
        server.closed.release()
        await transport.close()
