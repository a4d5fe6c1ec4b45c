"""`hatch run demo`: an agent from source to a conversation, on this machine, leaving nothing behind.

The agent is examples/04_conversation. It is deployed as a template, started in a sandbox of its own, spoken to while it
streams, found again by a second process, and closed.
"""

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from ppio_agent_client import AgentRuntimeClient, LocalSandboxProvider, PPIOAgentRuntimeError, SandboxSession

AGENT = Path(__file__).parent / "04_conversation"
BEGAN = time.perf_counter()


def say(line: str) -> None:
    print(f"\n{time.perf_counter() - BEGAN:6.2f} s  {line}", flush=True)


async def ask(session: SandboxSession, prompt: str) -> None:
    print(f"\n          you    {prompt}\n          agent  ", end="", flush=True)
    asked = first = time.perf_counter()
    async with session.stream(prompt) as stream:
        async for word in stream:
            if stream.received == 1:
                first = time.perf_counter()
            print(word, end="", flush=True)
    took = time.perf_counter() - asked
    print(f"\n                 ({stream.received} chunks in {took:.2f} s, the first after {first - asked:.3f} s)")


async def show() -> None:
    provider = LocalSandboxProvider()
    async with AgentRuntimeClient(provider=provider) as client:
        template = await provider.deploy(AGENT)
        say(f"deployed {AGENT.name}/ as the template {template.template_id!r}, version {template.version}")

        async with await client.create_session(template.template_id) as session:
            say(f"started a sandbox; its agent listens at {session.host_url} and says {(await session.ping()).status}")
            await ask(session, "My name is Ada and my favourite city is Lisbon.")
            await ask(session, "What is my favourite city?")

            say("a second process looks for the session by its id")
            other = await asyncio.create_subprocess_exec(sys.executable, __file__, session.session_id)
            if await other.wait():
                raise SystemExit("the second process could not go on with the session")

            await ask(session, "What do you know about me?")
        say(f"closed the sandbox; sessions left: {len(await client.list_sessions())}")


async def join(session_id: str) -> None:
    """What the second process does: it knows nothing but the id."""
    async with AgentRuntimeClient(provider="local") as client:
        session = await client.get_session(session_id)
        if session is None:
            raise SystemExit(f"there is no session {session_id!r}")
        await ask(session, "My favourite drink is tea.")


def main() -> int:
    try:
        if len(sys.argv) > 1:
            asyncio.run(join(sys.argv[1]))
            return 0
        with tempfile.TemporaryDirectory(prefix="ppio-agent-demo-") as home:
            os.environ["PPIO_AGENT_HOME"] = home
            asyncio.run(show())
        say("done, and nothing is left behind")
    except PPIOAgentRuntimeError as error:
        print(f"\nthe demo failed: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
