"""A Google ADK agent that streams and remembers its conversation. Run it: ppio-agent dev"""

import os

from google.adk.agents import LlmAgent
from google.adk.models.lite_llm import LiteLlm
from ppio_agent_runtime import AgentError, PPIOAgentRuntimeApp


def make_agent() -> LlmAgent:
    """Called when the agent is first needed, so that it is up at once."""
    if not os.environ.get("OPENAI_API_KEY"):
        raise AgentError("OPENAI_API_KEY is not set; README.md says how an agent gets it.")
    model = LiteLlm(model=f"openai/{os.environ.get('OPENAI_MODEL') or 'gpt-5-mini'}")
    return LlmAgent(name="agent", model=model, instruction="You answer briefly.")


app = PPIOAgentRuntimeApp.from_agent(make_agent)

if __name__ == "__main__":
    app.run()
