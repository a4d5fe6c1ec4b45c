"""An OpenAI Agents SDK agent that streams and remembers its conversation. Run it: ppio-agent dev"""

import os
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

from agents import Agent, Runner, SQLiteSession, set_default_openai_api, set_tracing_disabled
from openai.types.responses import ResponseTextDeltaEvent
from ppio_agent_runtime import AgentError, PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()

# One session is one sandbox is one process, so one conversation, in memory, is enough.
conversation = SQLiteSession("conversation")


@cache
def agent() -> Agent:
    """Built when it is first needed, so that the agent is up at once."""
    if not os.environ.get("OPENAI_API_KEY"):
        raise AgentError("OPENAI_API_KEY is not set; README.md says how an agent gets it.")
    if os.environ.get("OPENAI_BASE_URL"):  # other services seldom know the Responses API, or take traces
        set_default_openai_api("chat_completions")
        set_tracing_disabled(True)
    model = os.environ.get("OPENAI_MODEL") or "gpt-5-mini"
    return Agent(name="{{name}}", instructions="You answer briefly.", model=model)


@app.entrypoint
async def converse(request: dict[str, Any]) -> AsyncIterator[str]:
    run = Runner.run_streamed(agent(), request.get("prompt", ""), session=conversation)
    async for event in run.stream_events():
        if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent):
            yield event.data.delta


if __name__ == "__main__":
    app.run()
