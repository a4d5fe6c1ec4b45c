"""A LangGraph agent in the page: its model's text as it comes, its tool, and its question, answered by a button."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp

pytest.importorskip("langgraph", reason="langgraph is in the environment console-frameworks")

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import interrupt

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from .console import Console

pytestmark = pytest.mark.slow


@tool
def book(city: str) -> str:
    """Book a flight, if that is approved."""
    return f"booked to {city}" if interrupt({"message": f"Book the flight to {city}?"}) else "not booked"


class Model(BaseChatModel):
    """Calls the tool, and then says so."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: list[BaseMessage], *_: Any, **options: Any) -> ChatResult:
        raise NotImplementedError

    async def _astream(self, messages: list[BaseMessage], *_: Any, **options: Any) -> AsyncIterator[Any]:
        if isinstance(messages[-1], ToolMessage):
            for word in ("You ", "fly ", "to **Oslo**."):
                yield ChatGenerationChunk(message=AIMessageChunk(word))
        else:
            call = {"index": 0, "name": "book", "args": '{"city": "Oslo"}', "id": "call-1", "type": "tool_call_chunk"}
            yield ChatGenerationChunk(message=AIMessageChunk("", tool_call_chunks=[call]))


def travel_agent() -> Any:
    model = Model()

    async def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node("think", think).add_node("tools", ToolNode([book]))
    graph.add_edge(START, "think").add_conditional_edges("think", tools_condition).add_edge("tools", "think")
    return graph.compile(checkpointer=InMemorySaver())


@pytest.fixture
def question(console: Console) -> Locator:
    """What the graph asks, after the first turn."""
    console.serve(PPIOAgentRuntimeApp.from_agent(travel_agent, AgentConfig(debug=True, agent_name="travel")))
    turn = console.send("to Oslo, please")
    console.wait_for_status(turn, "interrupted")
    assert "book" in turn.inner_text()
    return console.page.get_by_role("group", name="Book the flight to Oslo?")


def test_a_graph_asks_in_the_page_and_goes_on_with_the_answer(console: Console, question: Locator) -> None:
    question.get_by_role("button", name="Approve").click()
    console.page.get_by_role("strong").filter(has_text="Oslo").wait_for()
    console.wait_for_status(console.turns.last, "done")
    for turn in console.turns.all():  # the call and its result belong to two runs
        assert "book" in turn.get_by_text("booked to Oslo").locator("..").inner_text()
    console.turns.last.get_by_role("button", name="Events", exact=True).click()
    rows = console.page.get_by_role("region", name="Events of the run")
    rows.get_by_role("button", name="TOOL_CALL_RESULT").wait_for()
    assert rows.get_by_text("TEXT_MESSAGE_CONTENT").count() == 3  # a word each, as the model said them


def test_a_graph_hears_that_its_question_was_rejected(console: Console, question: Locator) -> None:
    question.get_by_role("button", name="Reject").click()
    console.wait_for_status(console.turns.last, "done")
    console.log.get_by_text("not booked").first.wait_for()
