"""A Strands agent that streams and remembers its conversation. Run it: ppio-agent dev"""

import os

from ppio_agent_runtime import AgentError, PPIOAgentRuntimeApp
from strands import Agent
from strands.models.openai import OpenAIModel


def make_agent() -> Agent:
    """Called for each session: an agent of Strands is one conversation."""
    if not os.environ.get("OPENAI_API_KEY"):
        raise AgentError("OPENAI_API_KEY is not set; README.md says how an agent gets it.")
    model = OpenAIModel(model_id=os.environ.get("OPENAI_MODEL") or "gpt-5-mini")
    return Agent(model=model, system_prompt="You answer briefly.", callback_handler=None)


app = PPIOAgentRuntimeApp.from_agent(make_agent)

if __name__ == "__main__":
    app.run()
