"""Our own client talks to the one agent: it invokes it, is cut off, and reads on what was said meanwhile."""

from __future__ import annotations

import pytest

from ppio_agent_client import AgentEventStream, AgentRuntimeClient, ClientConfig, SandboxSession
from ppio_agent_models import RunFinishedEvent, ToolCallResultEvent
from tests.frameworks.script import Script
from tests.one_agent.conversation import CONVERSATION, Transcript
from tests.support.cutting_proxy import cutting_proxy

pytestmark = pytest.mark.contract

CONFIG = ClientConfig(retry_delay=0, max_retries=1000, retry_budget=None)


async def talk(session: SandboxSession, told: Transcript) -> None:
    """Have the conversation in a session."""

    async def listen(stream: AgentEventStream) -> RunFinishedEvent:
        event = None
        async for event in stream:
            told.add_events([event.to_wire()])
        assert isinstance(event, RunFinishedEvent)
        return event

    told.add("user", "time?")
    await listen(session.events("time?"))
    told.add("user", "buy tea")
    asked = await listen(session.events("buy tea"))
    told.add("user", "approved")
    await listen(session.events({"resume": [{"interrupt_id": asked.interrupts[0].id, "payload": True}]}))


async def test_invoked(url: str) -> None:
    told = Transcript("ppio-agent-client, invoke")
    async with AgentRuntimeClient() as client:
        told.add("user", "time?")
        told.add("agent", (await client.attach(url).invoke("time?")).result)
    told.show()

    assert told.lines == [("user", "time?"), ("agent", "Let me see: It is 12:00 utc.")]


async def test_cut_by_the_network_and_resumed_by_itself(url: str, script: Script) -> None:
    with cutting_proxy(url, seed=15, silence=False) as proxy:
        async with AgentRuntimeClient(config=CONFIG) as client:
            session = client.attach(proxy.url)
            await talk(session, Transcript("calm"))  # since then it knows that it may repeat requests
            proxy.calm = False
            while proxy.cuts.total() < 10:
                told, bought = Transcript("ppio-agent-client, events"), len(script.bought)
                await talk(session, told)
                told.show()

                assert told.lines == CONVERSATION
                assert script.bought[bought:] == ["tea"]
    print(f"  ({proxy.cuts.total()} connections were cut)")


async def test_left_and_resumed_by_another_client(url: str) -> None:
    told = Transcript("ppio-agent-client, left and read on")
    told.add("user", "time?")
    async with AgentRuntimeClient() as client:
        begun = await client.attach(url).submit("time?")
        async with begun.events(typed=True) as stream:
            async for event in stream:
                told.add_events([event.to_wire()])
                if isinstance(event, ToolCallResultEvent):
                    break
            position = stream.last_event_id
    async with AgentRuntimeClient() as other:
        handle = other.attach(url).invocation(begun.invocation_id)
        told.add_events([event.to_wire() async for event in handle.events(position, typed=True)])
    told.show()

    assert told.lines == CONVERSATION[:5]
