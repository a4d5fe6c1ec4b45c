"""A Pydantic AI agent that streams and remembers its conversation. Run it: ppio-agent dev"""

import os
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

from ppio_agent_runtime import AgentError, PPIOAgentRuntimeApp
from pydantic_ai import Agent, ModelMessage

app = PPIOAgentRuntimeApp()

# One session is one sandbox is one process: this is one conversation.
history: list[ModelMessage] = []


@cache
def agent() -> Agent:
    """Built when it is first needed, so that the agent is up at once."""
    if not os.environ.get("OPENAI_API_KEY"):
        raise AgentError("OPENAI_API_KEY is not set; README.md says how an agent gets it.")
    model = os.environ.get("OPENAI_MODEL") or "gpt-5-mini"
    return Agent(f"openai-chat:{model}", instructions="You answer briefly.")


@app.entrypoint
async def converse(request: dict[str, Any]) -> AsyncIterator[str]:
    async with agent().run_stream(request.get("prompt", ""), message_history=history) as run:
        async for text in run.stream_text(delta=True, debounce_by=None):
            yield text
    history.extend(run.new_messages())


if __name__ == "__main__":
    app.run()
