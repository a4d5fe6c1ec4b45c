"""The templates of an account."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    AgentTemplate,
    PlatformSandboxProvider,
    TemplateNotFoundError,
)
from ppio_agent_client._io import _async as io  # does side by side what the twin does in turn
from tests.support.platform import API_KEY, Platform
from tests.support.platform_agent import PROGRAM, agent_folder, settings


async def test_templates_are_listed_with_their_manifests(platform: Platform, url: str, tmp_path: Path) -> None:
    about = {"metadata": {"name": "chat", "version": "2.0.0"}, "spec": {"entrypoint": "main.py"}}
    platform.add_template("t-1", agent_folder(tmp_path / "agent"), metadata={"agent_runtime": json.dumps(about)})
    platform.add_template("t-2", agent_folder(tmp_path / "two", program=PROGRAM), name="two")
    async with AgentRuntimeClient(config=settings(url)) as client:
        templates = {each.template_id: each for each in await client.list_templates()}
        assert (templates["t-1"].name, templates["t-1"].version) == ("chat", "2.0.0")
        assert json.loads(templates["t-1"].metadata["agent_runtime"]) == about
        assert (await client.get_template("two")).template_id == "t-2"
        with pytest.raises(TemplateNotFoundError):
            await client.get_template("three")
    (call, *_) = platform.log.of("templates")
    assert call.headers["authorization"] == f"Bearer {API_KEY}"


async def test_templates_are_paged_where_the_list_with_metadata_is_refused(platform: Platform, url: str) -> None:
    for number in range(120):
        platform.add_template(f"t-{number:03}")
    platform.faults.add("templates", "404", times=100)
    async with AgentRuntimeClient(config=settings(url)) as client:
        assert len(await client.list_templates()) == 120
        assert len(await client.list_templates(refresh=True)) == 120
    assert len(platform.log.of("templates")) == 1


async def test_a_template_is_deleted(platform: Platform, url: str) -> None:
    platform.add_template("t-1")
    provider = PlatformSandboxProvider(settings(url))
    try:
        assert await provider.delete_template("t-1") is True
        assert await provider.delete_template("t-1") is False
        assert await provider.list_templates() == []
    finally:
        await provider.close()


async def test_a_template_that_is_nowhere_is_asked_for_once_and_a_list_by_twenty_at_once(
    platform: Platform, url: str
) -> None:
    platform.add_template("t-1")
    async with AgentRuntimeClient(config=settings(url)) as client:
        with pytest.raises(TemplateNotFoundError):
            await client.get_template("nope")
        assert len(platform.log.of("templates")) == 1  # with an empty cache, and for a name that is not in the list
    async with AgentRuntimeClient(config=settings(url)) as client:
        found = await io.gather([lambda: client.get_template("t-1")] * 20)
        assert {each.template_id for each in found if isinstance(each, AgentTemplate)} == {"t-1"}
    assert len(platform.log.of("templates")) == 2
