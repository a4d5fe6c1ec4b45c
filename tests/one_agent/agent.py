"""A LangGraph agent with a tool, and another tool of which each call must be approved, served by all protocols."""

from __future__ import annotations

from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from tests.frameworks.script import Script

pytest.importorskip("langgraph", reason="needs langgraph: hatch run one-agent:test")
pytest.importorskip("langchain", reason="needs langchain: hatch run one-agent:test")

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver

from tests.frameworks.langchain_model import FakeModel

NAME = "shop"


def app_of(script: Script) -> PPIOAgentRuntimeApp:
    """Return the app of an agent whose model says what a script says."""
    graph: Any = create_agent(
        FakeModel(script=script),
        [StructuredTool.from_function(script.clock), StructuredTool.from_function(script.buy)],
        middleware=[HumanInTheLoopMiddleware(interrupt_on={"buy": True})],
        checkpointer=InMemorySaver(),
    )
    config = AgentConfig(protocols=["all"], agent_name=NAME, host="127.0.0.1")
    return PPIOAgentRuntimeApp.from_agent(graph, config)
