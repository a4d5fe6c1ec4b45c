"""LangGraph: `create_agent`, graphs of one's own, and what only they have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypedDict

import pytest

from ppio_agent_models import AgentInput, StateSnapshotEvent
from ppio_agent_runtime import AgentConfig, ConfigurationError, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.frameworks.promises import Promises
from tests.frameworks.runs import JSON, ask, interrupts_of, said_in, text_of, typed
from tests.frameworks.script import Script
from tests.support.raw_http import invoke

pytest.importorskip("langgraph", reason="langgraph is in the environment frameworks-langgraph")
pytest.importorskip("langchain", reason="langchain is in the environment frameworks-langgraph")

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from tests.frameworks.langchain_model import FakeModel


class TestCreateAgent(Promises):
    kind = "LangGraph"
    keeps_sessions_itself = True  # in the checkpointer

    def agent(self, script: Script) -> Any:
        tools = [StructuredTool.from_function(script.clock)]
        return create_agent(FakeModel(script=script), tools, checkpointer=InMemorySaver())

    def asking_agent(self, script: Script) -> Any:
        asks = HumanInTheLoopMiddleware(interrupt_on={"buy": True})
        tools = [StructuredTool.from_function(script.buy)]
        return create_agent(FakeModel(script=script), tools, middleware=[asks], checkpointer=InMemorySaver())

    def shout(self, request: AgentInput) -> Any:
        return {"messages": [HumanMessage(str(request.prompt).upper())]}


def graph_of(node: Any, state: Any = MessagesState, saver: Any = None) -> Any:
    return StateGraph(state).add_node("node", node).add_edge(START, "node").compile(checkpointer=saver)


def serving(agent: Any, **options: Any) -> Any:
    return running(PPIOAgentRuntimeApp.from_agent(agent, AgentConfig(), **options))


def test_a_question_of_a_node_is_any_value_and_so_is_the_answer() -> None:
    def node(state: MessagesState) -> dict[str, Any]:
        city = interrupt({"message": "Which city?", "choices": ["Rome", "Oslo"]})
        return {"messages": [AIMessage(f"To {city['city']}.")]}

    with serving(graph_of(node, saver=InMemorySaver())) as url:
        value = ask(url, "travel", "s")
        (question,) = value["interrupts"]
        resume = [{"interrupt_id": question["id"], "payload": {"city": "Rome"}}]
        said = text_of(typed(url, {"resume": resume}, "s"))

    assert question["message"] == "Which city?"
    assert question["metadata"]["value"]["choices"] == ["Rome", "Oslo"]
    assert said == "To Rome."


def test_two_questions_at_once_are_answered_together() -> None:
    def left(state: Any) -> dict[str, Any]:
        return {"messages": [AIMessage(f"left {interrupt('left?')}")]}

    def right(state: Any) -> dict[str, Any]:
        return {"messages": [AIMessage(f"right {interrupt('right?')}")]}

    graph = StateGraph(MessagesState).add_node("left", left).add_node("right", right)
    graph.add_edge(START, "left").add_edge(START, "right")
    with serving(graph.compile(checkpointer=InMemorySaver())) as url:
        questions = interrupts_of(typed(url, {"prompt": "go"}, "s"))
        resume = [{"interrupt_id": each["id"], "payload": each["message"].upper()} for each in questions]
        said = text_of(typed(url, {"resume": resume}, "s"))

    assert "left LEFT?" in said
    assert "right RIGHT?" in said


def test_a_graph_without_a_checkpointer_is_given_what_the_caller_sends() -> None:
    def node(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("/".join(str(message.content) for message in state["messages"]))]}

    said = ["one", "I heard one", "two"]
    messages = [{"role": role, "content": text} for role, text in zip(("user", "assistant", "user"), said, strict=True)]
    with serving(graph_of(node)) as url:
        answers = [invoke(url, {"messages": messages}, said_in("s", **JSON)).result for _ in range(2)]
        resumed = invoke(url, {"resume": [{"interrupt_id": "x"}]}, said_in("s", **JSON))

    assert answers == ["one/I heard one/two"] * 2
    assert resumed.status == 422


def test_two_models_at_once_keep_their_messages_apart() -> None:
    class Slow(Script):
        async def says(self, heard: Any, result: Any) -> AsyncIterator[Any]:
            async for word in super().says(heard, result):
                yield word

    async def say(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await FakeModel(script=Slow()).ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node("left", say).add_node("right", say)
    graph.add_edge(START, "left").add_edge(START, "right")
    with serving(graph.compile()) as url:
        events = typed(url, {"prompt": "hi"})

    texts: dict[str, str] = {}
    for event in events:
        if event["type"] == "TEXT_MESSAGE_CONTENT":
            texts[event["messageId"]] = texts.get(event["messageId"], "") + event["delta"]
    assert list(texts.values()) == ["I heard hi"] * 2


def test_a_graph_without_messages_is_answered_with_its_values() -> None:
    class Topic(TypedDict):
        topic: str
        joke: str

    def node(state: Topic) -> dict[str, str]:
        return {"joke": f"A {state['topic']} walks into a bar."}

    with serving(graph_of(node, Topic), input=lambda request: {"topic": request.prompt}) as url:
        assert ask(url, "horse") == {"topic": "horse", "joke": "A horse walks into a bar."}


def test_what_a_node_writes_is_an_event() -> None:
    def node(state: MessagesState) -> dict[str, Any]:
        write = get_stream_writer()
        write({"found": 3})
        write(StateSnapshotEvent(snapshot={"a": 1}))
        write({"type": "STEP_STARTED", "stepName": "search"})
        write({"type": "STEP_FINISHED", "stepName": "search"})
        return {}

    with serving(graph_of(node)) as url:
        events = typed(url, {"prompt": "hi"})[1:-1]

    assert events == [
        {"type": "CUSTOM", "name": "langgraph", "value": {"found": 3}},
        {"type": "STATE_SNAPSHOT", "snapshot": {"a": 1}},
        {"type": "STEP_STARTED", "stepName": "search"},
        {"type": "STEP_FINISHED", "stepName": "search"},
    ]


def test_a_functional_entrypoint_is_answered_with_what_it_returns() -> None:
    @entrypoint()
    async def shout(asked: str) -> str:
        return asked.upper()

    with serving(shout, input=lambda request: request.prompt) as url:
        assert ask(url, "hi") == "HI"


def test_a_run_without_a_session_leaves_nothing_in_the_checkpointer() -> None:
    saver = InMemorySaver()
    agent = create_agent(FakeModel(script=Script()), [], checkpointer=saver)
    with serving(agent) as url:
        ask(url, "hi")
        alone = len(list(saver.list(None)))
        ask(url, "hi", "s")

    assert alone == 0
    assert len(list(saver.list(None))) > 0


def test_an_image_reaches_the_model() -> None:
    def node(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(str(state["messages"][-1].content_blocks[1]["url"]))]}

    parts = [
        {"type": "text", "text": "what?"},
        {"type": "image", "source": {"type": "url", "value": "https://example.com/a.png"}},
    ]
    with serving(graph_of(node)) as url:
        answer = invoke(url, {"messages": [{"role": "user", "content": parts}]}, JSON)

    assert answer.result == "https://example.com/a.png"


def test_a_graph_that_is_not_compiled_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"graph\.compile\(\)"):
        PPIOAgentRuntimeApp.from_agent(StateGraph(MessagesState))
