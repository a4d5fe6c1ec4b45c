"""Runnables of LangChain that are no graphs: chains, models and functions."""

from __future__ import annotations

from typing import Any

import pytest

from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.frameworks import kind_of, run_agent
from ppio_agent_runtime.testing import running
from tests.frameworks.runs import EVENTS, JSON, ask, judge, said_in, text_of, typed
from tests.frameworks.script import Script
from tests.support.gates import eventually
from tests.support.raw_http import EVENT_STREAM, Connection, invoke

pytest.importorskip("langchain_core", reason="langchain-core is in the environment frameworks.langgraph")

from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.history import RunnableWithMessageHistory

from tests.frameworks.langchain_model import FakeModel

CONVERSATION = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "I heard one"},
    {"role": "user", "content": "two"},
]
PROMPT = ChatPromptTemplate.from_messages([("system", "Be brief."), ("placeholder", "{messages}")])


def serving(runnable: Any, **options: Any) -> Any:
    return running(PPIOAgentRuntimeApp.from_agent(runnable, **options))


def chain_of(script: Script) -> Any:
    return PROMPT | FakeModel(script=script) | StrOutputParser()


def model_of(script: Script) -> Any:
    return FakeModel(script=script)


BOTH = pytest.mark.parametrize("make", [chain_of, model_of])


@BOTH
def test_a_chain_or_a_model_streams_as_the_model_says_it(make: Any) -> None:
    with serving(make(Script())) as url:
        streamed = invoke(url, {"prompt": "hi"}, EVENT_STREAM)
        value = ask(url, "hi")

    assert kind_of(make(Script())) == "LangChain"
    assert [event.data for event in streamed.events] == ["I ", "heard ", "hi"]
    assert value == "I heard hi"


@BOTH
def test_it_is_given_the_conversation_that_the_caller_sends_each_time(make: Any) -> None:
    with serving(make(Script())) as url:
        answers = [invoke(url, {"messages": CONVERSATION}, said_in("s", **JSON)).result for _ in range(2)]
        alone = ask(url, "three", "s")

    assert answers == ["I heard one/two"] * 2
    assert alone == "I heard three"


def test_calls_that_a_model_asks_for_are_told() -> None:
    with serving(model_of(Script())) as url:
        events = typed(url, {"prompt": "time?"})

    calls = [event for event in events if event["type"].startswith("TOOL_CALL")]
    assert [call["type"] for call in calls] == ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_ARGS", "TOOL_CALL_END"]
    assert calls[0]["toolCallName"] == "clock"
    assert text_of(events) == "Let me see: "


def test_what_is_neither_text_nor_a_message_is_the_result() -> None:
    def count(asked: dict[str, Any]) -> dict[str, int]:
        return {"messages": len(asked["messages"])}

    with serving(RunnableLambda(count)) as url:
        assert invoke(url, {"messages": CONVERSATION}, JSON).result == {"messages": 3}


def test_input_makes_what_a_chain_without_messages_is_asked() -> None:
    chain = ChatPromptTemplate.from_template("A joke of {topic}") | FakeModel(script=Script()) | StrOutputParser()
    with serving(chain, input=lambda request: {"topic": request.prompt}) as url:
        assert ask(url, "horses") == "I heard A joke of horses"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # there are LangGraph's checkpointers now
def test_a_chain_with_a_history_finds_the_session_by_its_id() -> None:
    histories: dict[str, InMemoryChatMessageHistory] = {}

    def history(session_id: str) -> InMemoryChatMessageHistory:
        return histories.setdefault(session_id, InMemoryChatMessageHistory())

    prompt = ChatPromptTemplate.from_messages([("placeholder", "{history}"), ("placeholder", "{messages}")])
    chain = RunnableWithMessageHistory(
        prompt | FakeModel(script=Script()), history, input_messages_key="messages", history_messages_key="history"
    )
    with serving(chain) as url:
        answers = [ask(url, *said) for said in (("one", "s"), ("two", "s"), ("three", "t"))]

    assert answers == ["I heard one", "I heard one/two", "I heard three"]


@BOTH
def test_a_caller_who_hangs_up_stops_the_model(make: Any) -> None:
    script = Script()
    with serving(make(script)) as url:
        with Connection(url) as connection:
            connection.post({"prompt": "wait"}, EVENTS)
            connection.read_head()
            next(connection.events())
            connection.reset()
        eventually(lambda: script.closed.value == 1, "the model is stopped")


@BOTH
def test_a_failure_is_told_once_and_without_its_secrets(make: Any) -> None:
    with serving(make(Script())) as url:
        failed = invoke(url, {"prompt": "fail"}, EVENTS)
        value = invoke(url, {"prompt": "fail"}, JSON)

    judge(failed)
    assert failed.events[-1].data["code"] == "HandlerError"
    assert (value.status, value.json["error_type"]) == (500, "HandlerError")
    assert b"sk-123" not in failed.body + value.body


def test_nothing_waits_for_an_answer() -> None:
    with serving(chain_of(Script())) as url:
        answer = invoke(url, {"resume": [{"interrupt_id": "x", "payload": True}]}, said_in("s", **JSON))

    assert answer.status == 422


async def test_own_code_around_a_chain_passes_its_events_on() -> None:
    events = [event async for event in run_agent(chain_of(Script()), "hi")]

    assert "".join(event.delta for event in events) == "I heard hi"
