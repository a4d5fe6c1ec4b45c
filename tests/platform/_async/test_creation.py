"""One sandbox for each session, whoever asks at once and whatever gets lost."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    PlatformError,
    PlatformSandboxProvider,
    SandboxSpec,
)
from ppio_agent_client._io import _async as io
from tests.support.platform import Platform
from tests.support.platform_agent import agent_folder, settings


async def test_of_two_who_race_from_two_clients_one_wins(platform: Platform, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    platform.faults.add("create", "latency", times=2, seconds=0.3)  # both have looked by then, and found nobody
    async with AgentRuntimeClient(config=settings(url)) as first, AgentRuntimeClient(config=settings(url)) as second:
        clients = [first, second]
        sessions = await io.gather([partial(each.create_session, "t-1", session_id="one") for each in clients])
        assert not [each for each in sessions if isinstance(each, BaseException)]
        (living,) = platform.sandboxes
        found = {each.sandbox_id for each in await first.list_sessions()}
        assert found == {living.sandbox_id}
        await first.close_session("one")


@pytest.mark.parametrize(
    ("kind", "after_effect"),
    [("reset", True), ("cut", True), ("500", True), ("502", True), ("hang", True), ("500", False), ("502", False)],
)
@pytest.mark.slow
async def test_a_lost_create_answer_leaves_nothing_behind(
    platform: Platform, url: str, tmp_path: Path, kind: str, after_effect: bool
) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    platform.faults.add("create", kind, after_effect=after_effect)
    config = settings(url, platform_timeout=1 if kind == "hang" else 60, first_byte_timeout=None)
    async with AgentRuntimeClient(config=config) as client:
        session = await client.create_session("t-1", 600)
        (made,) = platform.sandboxes
        assert made.sandbox_id == session.sandbox_id
        assert (await session.invoke("x")).result["turns"] == 1
        await session.close()
    assert len(list(platform.sandboxes)) == 0


async def test_a_sandbox_is_not_left_when_the_look_for_a_rival_fails(
    platform: Platform, url: str, tmp_path: Path
) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    provider = PlatformSandboxProvider(settings(url, max_retries=0))
    made = SandboxSpec(session_id="s", template_id="t-1", timeout_seconds=600)
    try:
        assert await provider.find("s") is None
        platform.faults.add("list", "latency")
        platform.faults.add("list", "500")
        with pytest.raises(PlatformError):
            await provider.create(made)
    finally:
        await provider.close()
    assert len(platform.log.of("create")) == 1
    assert len(list(platform.sandboxes)) == 0
