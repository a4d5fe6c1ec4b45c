from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ppio_agent_client import AgentRuntimeClient
from tests.support.platform import Platform
from tests.support.platform_agent import agent_folder, settings


@pytest.fixture
async def client(platform: Platform, url: str, tmp_path: Path) -> AsyncIterator[AgentRuntimeClient]:
    """A client of an emulator that has an agent as the template `t-1`, also called `my-agent`."""
    platform.add_template("t-1", agent_folder(tmp_path / "agent"), name="my-agent")
    async with AgentRuntimeClient(config=settings(url)) as client:
        yield client
