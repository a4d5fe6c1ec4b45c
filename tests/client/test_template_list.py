"""The list of templates: remembered for its time, and asked for once however many want it."""

from __future__ import annotations

import asyncio

from ppio_agent_client import AgentRuntimeClient, AgentTemplate, ClientConfig
from tests.client._async.shelf import Shelf


class SlowShelf(Shelf):
    """Lists nothing before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.was_asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def list_templates(self) -> list[AgentTemplate]:
        self.was_asked.set()
        await self.may_answer.wait()
        return await super().list_templates()


async def test_many_who_ask_while_a_list_is_on_its_way_get_that_one() -> None:
    shelf = SlowShelf()
    async with AgentRuntimeClient(provider=shelf) as client, asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(client.list_templates()) for _ in range(3)]
        asked += [tasks.create_task(client.list_templates(refresh=True))]
        await shelf.was_asked.wait()
        shelf.may_answer.set()
    assert [len(task.result()) for task in asked] == [1, 1, 1, 1]
    assert shelf.calls == ["list_templates"]


async def test_a_list_whose_time_is_over_is_asked_for_anew() -> None:
    shelf = Shelf()
    async with AgentRuntimeClient(provider=shelf, config=ClientConfig(cache_ttl=1e-9)) as client:
        await client.list_templates()
        await client.list_templates()
    assert shelf.calls == ["list_templates"] * 2
