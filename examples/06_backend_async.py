"""A backend that calls the agent of 04_conversation in a sandbox on this machine.

    python examples/06_backend_async.py

For sandboxes elsewhere only the provider is another one; sessions, calls and errors stay as they are here.
"""

import asyncio
from pathlib import Path

from ppio_agent_client import AgentRuntimeClient, InvocationError, LocalSandboxProvider

AGENT = Path(__file__).parent / "04_conversation"


async def main() -> None:
    async with (
        AgentRuntimeClient(provider=LocalSandboxProvider()) as client,  # closes its connections at the end
        await client.create_session(str(AGENT), timeout_seconds=120) as session,  # closes its sandbox at the end
    ):
        async with session.stream("My name is Ada and my favourite city is Lisbon.") as stream:
            async for word in stream:
                print(word, end="", flush=True)
        print()

        answer = await session.invoke({"prompt": "What is my favourite city?"})
        print(answer.result)

        try:
            await session.invoke({"prompt": ["not", "a", "text"]})
        except InvocationError as error:  # one class for everything that an agent answers instead of a result
            print(f"{type(error).__name__}, HTTP {error.status_code}: {error}")


if __name__ == "__main__":
    asyncio.run(main())
