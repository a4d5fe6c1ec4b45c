"""Templates, and how long an answer about them counts."""

from __future__ import annotations

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    ClientConfig,
    TemplateNotFoundError,
)
from tests.client._async.shelf import Shelf

pytestmark = pytest.mark.contract


async def test_templates_are_asked_for_once() -> None:
    shelf = Shelf()
    async with AgentRuntimeClient(provider=shelf) as client:
        for _ in range(3):
            assert [template.template_id for template in await client.list_templates()] == ["t-1"]
        assert (await client.get_template("t-1")).name == "t-1"
    assert shelf.calls == ["list_templates"]


async def test_templates_are_asked_for_anew_on_demand() -> None:
    shelf = Shelf()
    async with AgentRuntimeClient(provider=shelf) as client:
        await client.list_templates()
        await client.list_templates(refresh=True)
    assert shelf.calls == ["list_templates"] * 2


async def test_without_a_cache_templates_are_asked_for_every_time() -> None:
    shelf = Shelf()
    async with AgentRuntimeClient(provider=shelf, config=ClientConfig(enable_cache=False)) as client:
        await client.template_manager.list_templates()
        await client.template_manager.list_templates()
    assert shelf.calls == ["list_templates"] * 2


async def test_a_template_that_is_new_is_found() -> None:
    shelf = Shelf()
    async with AgentRuntimeClient(provider=shelf) as client:
        await client.list_templates()
        shelf.templates.append("t-2")
        assert (await client.get_template("t-2")).template_id == "t-2"
    assert shelf.calls == ["list_templates"] * 2


async def test_a_template_that_is_not_there_is_an_error() -> None:
    async with AgentRuntimeClient(provider=Shelf()) as client:
        with pytest.raises(TemplateNotFoundError, match="'nope'"):
            await client.get_template("nope")
