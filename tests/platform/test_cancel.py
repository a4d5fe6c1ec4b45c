"""Cancelling on the platform: whatever was on its way is ended."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ppio_agent_client import AgentRuntimeClient, PlatformSandboxProvider, SandboxSpec
from tests.support.platform import Platform
from tests.support.platform_agent import agent_folder, settings
from tests.support.tasks import until


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("endpoint", ["create", "list", "agent/ping", "templates", "start"])
async def test_a_session_that_is_cancelled_on_its_way_leaves_no_sandbox(
    platform: Platform, url: str, tmp_path: Path, endpoint: str
) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    if endpoint == "list":
        platform.faults.add("list", "latency")  # the first look; the one after create is cancelled
    platform.faults.add(endpoint, "latency", seconds=0.5)
    async with AgentRuntimeClient(config=settings(url)) as client:
        task = asyncio.create_task(client.create_session("t-1", session_id="s"))
        await until(lambda: len(platform.log.of(endpoint)) == (2 if endpoint == "list" else 1))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(list(platform.sandboxes)) == 0


async def test_a_session_whose_agent_is_starting_is_cancelled(platform: Platform, url: str, tmp_path: Path) -> None:
    program = "import time\ntime.sleep(1000)\n"
    platform.add_template("t-1", agent_folder(tmp_path / "agent", program=program))
    tasks = asyncio.all_tasks()
    async with AgentRuntimeClient(config=settings(url)) as client:
        task = asyncio.create_task(client.create_session("t-1"))
        await until(lambda: len(platform.log.of("agent/ping")) > 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(list(platform.sandboxes)) == 0
    assert asyncio.all_tasks() == tasks


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("after_effect", [True, False])
async def test_a_create_that_is_stopped_from_outside_ends_what_it_made(
    platform: Platform, url: str, after_effect: bool
) -> None:
    platform.add_template("t-1")
    platform.faults.add("create", "hang", after_effect=after_effect)
    provider = PlatformSandboxProvider(settings(url))
    spec = SandboxSpec(session_id="s", template_id="t-1", timeout_seconds=600)
    task = asyncio.create_task(provider.create(spec))
    await until(lambda: platform.log.of("create") and (not after_effect or list(platform.sandboxes)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await provider.close()
    assert len(list(platform.sandboxes)) == 0
