"""An OpenAI Agents SDK agent that streams and remembers its conversation. Run it: ppio-agent dev"""

import os

from agents import Agent, set_default_openai_api, set_tracing_disabled
from ppio_agent_runtime import AgentError, PPIOAgentRuntimeApp


def make_agent() -> Agent:
    """Called when the agent is first needed, so that it is up at once."""
    if not os.environ.get("OPENAI_API_KEY"):
        raise AgentError("OPENAI_API_KEY is not set; README.md says how an agent gets it.")
    if os.environ.get("OPENAI_BASE_URL"):  # other services seldom know the Responses API, or take traces
        set_default_openai_api("chat_completions")
        set_tracing_disabled(True)
    model = os.environ.get("OPENAI_MODEL") or "gpt-5-mini"
    return Agent(name="{{name}}", instructions="You answer briefly.", model=model)


app = PPIOAgentRuntimeApp.from_agent(make_agent)

if __name__ == "__main__":
    app.run()
