"""Agents that cannot be started, or are never seen to have started: each kind of it, all at once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    FirstByteTimeoutError,
    NetworkError,
    PPIOAgentRuntimeError,
    SandboxCreationError,
    SandboxStartTimeoutError,
)
from tests.support.platform import API_KEY, Platform, serving
from tests.support.platform_agent import agent_folder, settings

PROGRAM = """
import time
print("started", flush=True)
time.sleep(3600)
"""
FOR_GOOD = ("401", "403", "404", "409", "500")
"""How envd may refuse a start for good; after anything else it is asked again until the time of the start is over."""
STATUSES = ("401", "403", "404", "409", "429", "500", "502", "503")
OF_START: dict[str, type[PPIOAgentRuntimeError]] = {
    **dict.fromkeys(STATUSES, SandboxCreationError),
    "reset": NetworkError,
    "cut": NetworkError,
    "hang": FirstByteTimeoutError,
}
OF_PINGS: dict[str, type[PPIOAgentRuntimeError]] = dict.fromkeys((*STATUSES, "reset", "cut"), SandboxStartTimeoutError)


def start_seconds(endpoint: str, kind: str) -> int:
    """Return how long a start may take. A slow machine's answer that takes longer would be taken for silence."""
    if endpoint == "start" and kind in FOR_GOOD:
        return 60
    return 1 if kind == "hang" else 5


async def start(folder: Path, endpoint: str, kind: str, outcome: type[PPIOAgentRuntimeError]) -> None:
    source = agent_folder(folder / "source", program=PROGRAM)
    manifest = {"spec": {"entrypoint": "main.py", "runtime": {"timeout": start_seconds(endpoint, kind)}}}
    platform = Platform(folder / "platform")
    platform.add_template("t-1", source, metadata={"agent_runtime": json.dumps(manifest)})
    with serving(platform) as server:
        platform.faults.add(endpoint, kind, times=1000)
        async with AgentRuntimeClient(config=settings(server.url, max_retries=1)) as client:
            with pytest.raises(outcome) as caught:
                await client.create_session("t-1")
        if kind.isdigit() and endpoint == "start":
            assert caught.value.status_code == int(kind)
        assert (len(platform.sandboxes), platform.sandboxes.made) == (0, 1)
        assert platform.log.of("start")[0].connect_timeout_ms is None
        assert not [call for call in platform.log if call.target != "control" and call.mentions(API_KEY)]


@pytest.mark.slow
async def test_an_agent_that_envd_does_not_start_leaves_no_sandbox(tmp_path: Path) -> None:
    await asyncio.gather(*[start(tmp_path / kind, "start", kind, outcome) for kind, outcome in OF_START.items()])


@pytest.mark.slow
async def test_an_agent_that_never_answers_a_ping_leaves_no_sandbox(tmp_path: Path) -> None:
    await asyncio.gather(*[start(tmp_path / kind, "agent/ping", kind, outcome) for kind, outcome in OF_PINGS.items()])
