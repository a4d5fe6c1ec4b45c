"""Creates whose answers are lost before anything was made: the client looks for a while, all kinds of it at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    NetworkError,
    PPIOAgentRuntimeError,
    SandboxCreationError,
    TotalTimeoutError,
)
from tests.support.platform import Platform, light_agent, serving
from tests.support.platform_agent import settings

OUTCOMES: dict[str, type[PPIOAgentRuntimeError]] = {
    "hang": TotalTimeoutError,
    "reset": NetworkError,
    "cut": NetworkError,
    "500": SandboxCreationError,
    "502": SandboxCreationError,
    "503": SandboxCreationError,
}


async def lost_create(folder: Path, kind: str, *, times: int) -> None:
    platform = Platform(folder / f"{kind}-{times}")
    platform.add_template("t-1", agent=light_agent)
    with serving(platform) as server:
        platform.faults.add("create", kind, times=times)
        config = settings(server.url, platform_timeout=1.0 if kind == "hang" else 60.0, max_retries=0)
        async with AgentRuntimeClient(config=config) as client:
            if kind == "hang" or times > 1:
                with pytest.raises(OUTCOMES[kind]) as caught:
                    await client.create_session("t-1")
                assert caught.value.status_code == (int(kind) if kind.isdigit() else None)
                assert caught.value.request_id == ("req-of-a-fault" if kind.isdigit() else None)
                assert caught.value.retryable is kind.isdigit()
                assert platform.sandboxes.made == 0
            else:
                await (await client.create_session("t-1")).close()
                assert platform.sandboxes.made == 1
        assert len(platform.sandboxes) == 0


@pytest.mark.contract
async def test_a_sandbox_that_is_found_and_cannot_be_had_is_ended(tmp_path: Path) -> None:
    platform = Platform(tmp_path)
    platform.add_template("t-1", agent=light_agent)
    with serving(platform) as server:
        platform.faults.add("create", "reset", after_effect=True)
        platform.faults.add("connect", "500", times=1000)
        async with AgentRuntimeClient(config=settings(server.url, max_retries=0)) as client:
            with pytest.raises(SandboxCreationError):
                await client.create_session("t-1")
        assert platform.sandboxes.made == 1
        assert len(platform.sandboxes) == 0


@pytest.mark.usefixtures("hurried")
async def test_a_create_that_did_nothing_is_repeated_once_unless_its_time_is_over(tmp_path: Path) -> None:
    once = [lost_create(tmp_path, kind, times=1) for kind in ("hang", "reset", "cut")]
    always = [lost_create(tmp_path, kind, times=1000) for kind in OUTCOMES]
    await asyncio.gather(*once, *always)
