"""A LangGraph agent that streams and remembers its conversation. Run it: ppio-agent dev"""

import os
from typing import Any

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from ppio_agent_runtime import AgentError, PPIOAgentRuntimeApp


def make_agent() -> Any:
    """Called when the agent is first needed, so that it is up at once."""
    if not os.environ.get("OPENAI_API_KEY"):
        raise AgentError("OPENAI_API_KEY is not set; README.md says how an agent gets it.")
    model = ChatOpenAI(model=os.environ.get("OPENAI_MODEL") or "gpt-5-mini")
    return create_agent(model, tools=[], system_prompt="You answer briefly.", checkpointer=InMemorySaver())


app = PPIOAgentRuntimeApp.from_agent(make_agent)

if __name__ == "__main__":
    app.run()
