"""An agent of Pydantic AI with a tool, and with a fake model that calls it: no key, no network.

pip install pydantic-ai-slim
python examples/frameworks/pydantic_ai_clock.py
curl localhost:8080/invocations --json '{"prompt": "What time is it?"}'
curl localhost:8080/invocations -H 'PPIO-Agent-Events: 1' --json '{"prompt": "What time is it?", "stream": true}'
"""

from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

from ppio_agent_runtime import PPIOAgentRuntimeApp


def clock(zone: str) -> str:
    """Return the time in a zone."""
    return f"12:00 in zone {zone}"


def make_agent() -> Agent:  # called when the first request comes
    return Agent(TestModel(), tools=[clock])


app = PPIOAgentRuntimeApp.from_agent(make_agent)


if __name__ == "__main__":
    app.run()
