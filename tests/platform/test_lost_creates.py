"""Creates whose answers are lost before anything was made: the client looks for a while, all kinds of it at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ppio_agent_client import AgentRuntimeClient, ClientConfig, TotalTimeoutError
from tests.support.platform import API_KEY, Platform, light_agent, serving


async def lost_creates(folder: Path, kind: str) -> None:
    platform = Platform(folder / kind)
    platform.add_template("t-1", agent=light_agent)
    with serving(platform) as server:
        platform.faults.add("create", kind)
        config = ClientConfig(
            api_key=API_KEY,
            base_url=server.url,
            sandbox_url=server.url,
            domain="emulator.test",
            platform_timeout=1.0 if kind == "hang" else 60.0,
        )
        async with AgentRuntimeClient(config=config) as client:
            if kind == "hang":
                with pytest.raises(TotalTimeoutError):
                    await client.create_session("t-1")
            else:
                await (await client.create_session("t-1")).close()
        assert (len(platform.sandboxes), platform.sandboxes.made) == (0, 0 if kind == "hang" else 1)


async def test_a_create_that_did_nothing_is_repeated_unless_its_time_is_over(tmp_path: Path) -> None:
    await asyncio.gather(*[lost_creates(tmp_path, kind) for kind in ("hang", "reset", "cut")])
