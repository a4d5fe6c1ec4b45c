"""A Pydantic AI agent that streams and remembers its conversation. Run it: ppio-agent dev"""

import os

from ppio_agent_runtime import AgentError, PPIOAgentRuntimeApp
from pydantic_ai import Agent


def make_agent() -> Agent:
    """Called when the agent is first needed, so that it is up at once."""
    if not os.environ.get("OPENAI_API_KEY"):
        raise AgentError("OPENAI_API_KEY is not set; README.md says how an agent gets it.")
    model = os.environ.get("OPENAI_MODEL") or "gpt-5-mini"
    return Agent(f"openai-chat:{model}", instructions="You answer briefly.")


app = PPIOAgentRuntimeApp.from_agent(make_agent)

if __name__ == "__main__":
    app.run()
