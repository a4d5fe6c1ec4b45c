"""What holds for an agent of every framework. A file for each framework brings the agent, with a fake model."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest

from ppio_agent_models import AgentInput
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.frameworks import AgentFunction, kind_of, run_agent
from ppio_agent_runtime.frameworks.sessions import SessionStore
from ppio_agent_runtime.frameworks.turn import agent_input
from ppio_agent_runtime.testing import running
from tests.frameworks.runs import EVENTS, JSON, TEXT, ask, interrupts_of, judge, said_in, text_of, typed, types
from tests.frameworks.script import Script
from tests.support.gates import eventually
from tests.support.raw_http import EVENT_STREAM, Connection, invoke


class Promises:
    """The promises; a subclass says which framework keeps them.

    Attributes:
        kind: Its name.
        argument_pieces: In how many pieces the arguments of a tool call come.
        made_for_four_sessions: How many agents a factory makes for them.
        tells_reasons: The model is told why a call was not approved.
        keeps_sessions_itself: Where the agent puts them, bounds or not.
    """

    kind: str
    argument_pieces = 2
    made_for_four_sessions = 1
    tells_reasons = True
    keeps_sessions_itself = False

    def agent(self, script: Script) -> Any:
        """Return an agent of the framework, or a factory, with the tool `clock`."""
        raise NotImplementedError

    def asking_agent(self, script: Script) -> Any:
        """Return one with the tool `buy`, of which each call must be approved."""
        pytest.skip(f"{self.kind} has no interrupts")

    def object(self, script: Script) -> Any:
        """Return the framework's object."""
        return self.agent(script)

    def serving(self, agent: Any, **settings: Any) -> AbstractContextManager[str]:
        return running(PPIOAgentRuntimeApp.from_agent(agent, AgentConfig(**settings)))

    def test_its_kind_is_told_by_its_classes(self) -> None:
        assert kind_of(self.object(Script())) == self.kind

    def test_text_streams_as_the_model_says_it(self) -> None:
        with self.serving(self.agent(Script())) as url:
            streamed = invoke(url, {"prompt": "hi"}, EVENT_STREAM)
            value = ask(url, "hi")

        chunks = [event.data for event in streamed.events]
        assert chunks == ["I ", "heard ", "hi"]
        assert value == "I heard hi"

    @pytest.mark.parametrize(
        "payload",
        [
            {"prompt": "hi"},
            {"input": "hi"},
            {"messages": [{"role": "user", "content": "hi"}]},
            {"input": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
        ],
    )
    def test_a_request_is_a_prompt_messages_or_input(self, payload: dict[str, Any]) -> None:
        with self.serving(self.agent(Script())) as url:
            assert invoke(url, payload, JSON).result == "I heard hi"

    def test_a_request_that_says_nothing_is_refused(self) -> None:
        with self.serving(self.agent(Script())) as url:
            answer = invoke(url, {"messages": []}, JSON)

        assert answer.status == 422
        assert "send a prompt" in answer.json["error"]

    def test_a_tool_call_is_told_from_its_start_to_its_result(self) -> None:
        with self.serving(self.agent(Script())) as url:
            events = typed(url, {"prompt": "time?"})

        call = ["TOOL_CALL_START", *["TOOL_CALL_ARGS"] * self.argument_pieces, "TOOL_CALL_END", "TOOL_CALL_RESULT"]
        assert types(events) == ["RUN_STARTED", *TEXT, *call, *TEXT, "RUN_FINISHED"]
        calls = [event for event in events if event["type"].startswith("TOOL_CALL")]
        assert {event["toolCallId"] for event in calls} == {calls[0]["toolCallId"]}
        assert calls[0]["toolCallName"] == "clock"
        assert json.loads("".join(e["delta"] for e in calls if e["type"] == "TOOL_CALL_ARGS")) == {"zone": "utc"}
        assert "12:00 utc" in calls[-1]["content"]
        assert text_of(events).startswith("Let me see: It is ")

    def test_a_session_remembers(self) -> None:
        with self.serving(self.agent(Script())) as url:
            answers = [ask(url, prompt, "s") for prompt in ("one", "two")]
            other = ask(url, "three", "t")

        assert answers == ["I heard one", "I heard one/two"]
        assert other == "I heard three"

    def test_without_a_session_nothing_is_remembered(self) -> None:
        with self.serving(self.agent(Script())) as url:
            assert [ask(url, "one"), ask(url, "two")] == ["I heard one", "I heard two"]

    @pytest.mark.parametrize("session", [None, "s"])
    def test_a_caller_who_resends_the_conversation_does_not_double_it(self, session: str | None) -> None:
        first = [{"role": "user", "content": "one"}]
        second = [*first, {"role": "assistant", "content": "I heard one"}, {"role": "user", "content": "two"}]
        with self.serving(self.agent(Script())) as url:
            headers = JSON if session is None else said_in(session, **JSON)
            answers = [invoke(url, {"messages": messages}, headers).result for messages in (first, second)]

        assert answers == ["I heard one", "I heard one/two"]

    def test_a_session_that_is_not_known_begins_with_the_conversation_that_is_sent(self) -> None:
        messages = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "I heard one"}]
        with self.serving(self.agent(Script())) as url:
            answer = invoke(url, {"messages": [*messages, {"role": "user", "content": "two"}]}, said_in("s", **JSON))

        assert answer.result == "I heard one/two"

    def test_parallel_sessions_do_not_mix(self) -> None:
        names = [f"session-{number}" for number in range(24)]
        with self.serving(self.agent(Script())) as url, ThreadPoolExecutor(24) as pool:
            turns = [[(url, f"{turn} {name}", name) for name in names] for turn in "ab"]
            answers = [list(pool.map(lambda asked: ask(*asked), turn)) for turn in turns]

        assert answers[0] == [f"I heard a {name}" for name in names]
        assert answers[1] == [f"I heard a {name}/b {name}" for name in names]

    def test_parallel_turns_of_one_session_come_one_after_the_other(self) -> None:
        with self.serving(self.agent(Script())) as url, ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda prompt: ask(url, prompt, "s"), "abcd"))

        lengths = sorted(len(answer.removeprefix("I heard ").split("/")) for answer in answers)
        assert lengths == [1, 2, 3, 4]

    def test_a_caller_who_hangs_up_stops_the_model(self) -> None:
        script = Script()
        with self.serving(self.agent(script)) as url:
            with Connection(url) as connection:
                connection.post({"prompt": "wait"}, EVENTS)
                connection.read_head()
                next(connection.events())
                connection.reset()
            eventually(lambda: script.closed.value == 1, "the model is stopped")

    async def test_closing_a_run_stops_the_model(self) -> None:
        script = Script()
        run = run_agent(self.object(script), "wait", RequestContext(session_id="s"))
        async for event in run:
            assert event.type.startswith("TEXT_MESSAGE")
            if event.type == "TEXT_MESSAGE_CONTENT":
                break
        await run.aclose()

        await asyncio.to_thread(script.closed.wait_for, 1)

    def test_a_session_goes_on_after_a_run_that_was_stopped(self) -> None:
        script = Script()
        with self.serving(self.agent(script)) as url:
            with Connection(url) as connection:
                connection.post({"prompt": "wait"}, said_in("s", **EVENTS))
                connection.read_head()
                next(connection.events())
                connection.reset()
            eventually(lambda: script.closed.value == 1, "the model is stopped")

            assert ask(url, "two", "s").endswith("two")

    def test_a_failure_is_told_once_and_without_its_secrets(self) -> None:
        with self.serving(self.agent(Script())) as url:
            events = typed(url, {"prompt": "fail"})
            value = invoke(url, {"prompt": "fail"}, JSON)

        assert [kind for kind in types(events) if kind.startswith("RUN")] == ["RUN_STARTED", "RUN_ERROR"]
        assert events[-1]["code"] == "HandlerError"
        assert (value.status, value.json["error_type"]) == (500, "HandlerError")
        assert "sk-123" not in str(events) + value.body.decode()

    def test_a_factory_is_called_when_the_agent_is_first_needed(self) -> None:
        made: list[Any] = []

        def make() -> Any:
            made.append(self.object(Script()))
            return made[-1]

        with self.serving(make) as url, ThreadPoolExecutor(4) as pool:
            before = len(made)
            answers = list(pool.map(lambda number: ask(url, "hi", f"s{number}"), range(4)))

        assert before == 0
        assert answers == ["I heard hi"] * 4
        assert len(made) == self.made_for_four_sessions

    def test_a_factory_may_be_async(self) -> None:
        async def make() -> Any:
            return self.object(Script())

        with self.serving(make) as url:
            assert ask(url, "hi") == "I heard hi"

    def test_a_factory_may_take_the_session_id(self) -> None:
        asked_for: list[str] = []

        def make(session_id: str) -> Any:
            asked_for.append(session_id)
            return self.object(Script())

        with self.serving(make) as url:
            answers = [ask(url, *said) for said in (("one", "s"), ("two", "t"), ("three", "s"))]

        assert answers == ["I heard one", "I heard two", "I heard one/three"]
        assert asked_for == ["s", "t"]

    async def test_of_many_sessions_the_one_that_was_not_used_for_longest_is_forgotten(self) -> None:
        # `from_agent` has room for 1000: what it makes is made here with room for two.
        function = AgentFunction(None, None, None, SessionStore(2), lambda: self.object(Script()))

        async def say(prompt: str, session: str) -> str:
            events = [each async for each in function(agent_input(prompt), RequestContext(session_id=session))]
            return "".join(getattr(event, "delta", "") for event in events)

        answers = [
            await say(*said) for said in (("a", "1"), ("b", "2"), ("c", "1"), ("d", "3"), ("e", "2"), ("f", "3"))
        ]

        assert answers[2] == "I heard a/c"
        assert answers[4] == ("I heard b/e" if self.keeps_sessions_itself else "I heard e")
        assert answers[5] == "I heard d/f"

    def test_an_entrypoint_may_be_an_agent(self) -> None:
        app = PPIOAgentRuntimeApp()
        app.entrypoint(self.object(Script()))
        with running(app) as url:
            assert ask(url, "hi") == "I heard hi"

    def test_own_code_around_an_agent_passes_its_events_on(self) -> None:
        agent = self.object(Script())
        app = PPIOAgentRuntimeApp()

        @app.entrypoint
        async def entrypoint(request: AgentInput, context: RequestContext) -> Any:
            async for event in run_agent(agent, request, context):
                yield event

        with running(app) as url:
            events = typed(url, {"prompt": "time?"}, "s")
            second = ask(url, "two", "s")

        assert "TOOL_CALL_RESULT" in types(events)
        assert second == "I heard time?/two"

    def test_input_makes_what_the_framework_is_asked(self) -> None:
        app = PPIOAgentRuntimeApp.from_agent(self.agent(Script()), input=self.shout)
        with running(app) as url:
            assert ask(url, "hi") == "I heard HI"

    def shout(self, request: AgentInput) -> Any:
        """Return the framework's input for the prompt in capitals."""
        raise NotImplementedError

    @pytest.mark.parametrize("payload", [True, {"approved": True}])
    def test_an_interrupt_is_answered_and_the_run_goes_on(self, payload: Any) -> None:
        script = Script()
        with self.serving(self.asking_agent(script)) as url:
            asked = typed(url, {"prompt": "buy tea"}, "s")
            bought = list(script.bought)
            (question,) = interrupts_of(asked)
            answer = {"interrupt_id": question["id"], "payload": payload}
            events = typed(url, {"resume": [answer]}, "s")

        (call,) = [event for event in asked if event["type"] == "TOOL_CALL_START"]
        assert question["toolCallId"] == call["toolCallId"]
        assert question["reason"] == "tool_call"
        assert bought == []
        assert script.bought == ["tea"]
        (result,) = [event for event in events if event["type"] == "TOOL_CALL_RESULT"]
        assert result["toolCallId"] == call["toolCallId"]
        assert "tea bought" in text_of(events)

    def test_a_call_that_is_not_approved_is_not_made(self) -> None:
        script = Script()
        with self.serving(self.asking_agent(script)) as url:
            interrupts = [interrupts_of(typed(url, {"prompt": "buy tea"}, name))[0] for name in ("r", "s")]
            rejected: dict[str, Any] = {"payload": {"approved": False, "reason": "too dear"}}
            answers = [rejected, {"status": "cancelled"}]
            said = [
                text_of(typed(url, {"resume": [{"interrupt_id": asked["id"], **answer}]}, name))
                for name, asked, answer in zip(("r", "s"), interrupts, answers, strict=True)
            ]

        assert script.bought == []
        assert ("too dear" in said[0]) is self.tells_reasons
        assert said[1].startswith("It is ")

    def test_an_answer_to_what_was_not_asked_is_refused(self) -> None:
        script = Script()
        with self.serving(self.asking_agent(script)) as url:
            (question,) = interrupts_of(typed(url, {"prompt": "buy tea"}, "s"))
            forged = {"resume": [{"interrupt_id": "forged", "payload": True}]}
            others = {"resume": [{"interrupt_id": question["id"], "payload": True}]}
            answers = [invoke(url, forged, said_in("s", **JSON)), invoke(url, others, said_in("t", **JSON))]

        assert [answer.status for answer in answers] == [422, 422]
        assert "'forged'" in answers[0].json["error"]
        assert script.bought == []

    def test_an_answer_is_taken_once(self) -> None:
        script = Script()
        with self.serving(self.asking_agent(script)) as url:
            (question,) = interrupts_of(typed(url, {"prompt": "buy tea"}, "s"))
            answer = {"resume": [{"interrupt_id": question["id"], "payload": True}]}
            statuses = [invoke(url, answer, said_in("s", **JSON)).status for _ in range(2)]

        assert statuses == [200, 422]
        assert script.bought == ["tea"]

    def test_questions_of_parallel_sessions_do_not_mix(self) -> None:
        script = Script()
        names = [f"thing-{number}" for number in range(8)]
        with self.serving(self.asking_agent(script)) as url, ThreadPoolExecutor(8) as pool:

            def buy(name: str) -> str:
                (question,) = interrupts_of(typed(url, {"prompt": f"buy {name}"}, name))
                return text_of(typed(url, {"resume": [{"interrupt_id": question["id"], "payload": True}]}, name))

            said = list(pool.map(buy, names))

        assert [f"{name} bought" in text for name, text in zip(names, said, strict=True)] == [True] * 8
        assert sorted(script.bought) == names

    def test_a_session_goes_on_after_an_answer(self) -> None:
        with self.serving(self.asking_agent(Script())) as url:
            (question,) = interrupts_of(typed(url, {"prompt": "buy tea"}, "s"))
            typed(url, {"resume": [{"interrupt_id": question["id"], "payload": True}]}, "s")

            assert ask(url, "two", "s") == "I heard buy tea/two"

    def test_the_run_passes_through_ag_ui(self) -> None:
        body = {"threadId": "t", "runId": "r", "messages": [{"id": "1", "role": "user", "content": "time?"}]}
        with self.serving(self.agent(Script()), protocols=["ag-ui"]) as url, Connection(url) as connection:
            connection.post(body, path="/ag-ui")
            answer = connection.read_answer()
        judge(answer)

        assert "TOOL_CALL_RESULT" in [event.data["type"] for event in answer.events]
