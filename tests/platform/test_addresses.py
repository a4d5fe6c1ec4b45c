"""Sandboxes with addresses of their own: each host is called by its name, over TLS where it is not this machine."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from ppio_agent_client import AgentRuntimeClient, DefaultAsyncHttpxClient, SandboxConfig
from tests.support.platform import Platform, serving
from tests.support.platform_agent import MODERN, agent_folder, settings


class Resolver(httpx.AsyncBaseTransport):
    """Leads every host to the emulator, and remembers what was asked for."""

    def __init__(self, url: str) -> None:
        self.asked: list[str] = []
        self._place = httpx.URL(url)
        self._wire = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.url.scheme}://{request.url.netloc.decode()}")
        request.url = request.url.copy_with(scheme="http", host=self._place.host, port=self._place.port)
        return await self._wire.handle_async_request(request)

    async def aclose(self) -> None:
        await self._wire.aclose()


@pytest.mark.usefixtures("official_async_pool")
async def test_hosts_are_those_that_the_platform_names(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "platform", domain="cn-7.sandbox.example")
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    with serving(platform) as server:
        wire = Resolver(server.url)
        async with DefaultAsyncHttpxClient(transport=wire) as http:
            config = settings(server.url, base_url=None, sandbox_url=None)
            async with (
                AgentRuntimeClient(config=config, http_client=http) as first,
                AgentRuntimeClient(config=config, http_client=http) as second,
            ):
                session = await first.create_session("t-1", 60, SandboxConfig(private_traffic=True), session_id="s")
                assert (await session.invoke("x")).result["turns"] == 1
                (listed,) = await second.list_sessions()
                assert (await listed.invoke("x")).result["turns"] == 2
                assert listed.host_url == session.host_url
                name = f"{session.sandbox_id}.cn-7.sandbox.example"
                handle = session.sandbox
                assert (handle.envd_api_url, handle.get_host(8080)) == (f"https://49983-{name}", f"8080-{name}")
                assert handle.traffic_access_token == session.sandbox.traffic_access_token is not None
                assert await session.close() is True
            assert set(wire.asked) == {f"https://api.{MODERN}", f"https://49983-{name}", f"https://8080-{name}"}
