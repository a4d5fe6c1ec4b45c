"""A fake agent for your own tests: scripted responses, recorded requests, no sockets.

    from ppio_agent_client.testing import FakeAgent

    async def test_it_answers():
        agent = FakeAgent()
        agent.will_stream("Hel", "lo")
        async with agent.client() as client:
            assert await greet(client) == "Hello"
        assert agent.requests[0].payload == {"prompt": "greet me"}

The client is the real one, down to its HTTP client: retries, resumed streams, time limits and errors are those of
production. With pytest the fixture `fake_agent` is there by itself.
"""

from .agent import FakeAgent as FakeAgent
from .provider import FakeSandboxProvider as FakeSandboxProvider
from .provider import SyncFakeSandboxProvider as SyncFakeSandboxProvider
from .script import Cut as Cut
from .script import Delay as Delay
from .script import Progress as Progress
from .script import RecordedRequest as RecordedRequest

__all__ = [
    "Cut",
    "Delay",
    "FakeAgent",
    "FakeSandboxProvider",
    "Progress",
    "RecordedRequest",
    "SyncFakeSandboxProvider",
]
