"""HttpAgent of @ag-ui/client against the agent."""

from __future__ import annotations

import pytest

from tests.protocols.agent import TEXT, Clock, serving
from tests.protocols.node import run_script
from tests.support.gates import eventually

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("path", ["/ag-ui", "/invocations"])  # the other is AgentCore's contract
def test_http_agent_keeps_messages_state_and_questions_answers_and_aborts(path: str) -> None:
    clock = Clock()
    with serving(clock, ["ag-ui"], protocol_paths={"ag-ui": path}) as url:
        told = run_script("ag-ui/talk.mjs", url + path)
        eventually(lambda: clock.closed == len(clock.asked), "what was aborted is closed")

    assert told["deltas"] == TEXT
    assert told["types"] == ["RUN_STARTED", "RUN_FINISHED"]
    assert told["state"] == {"looked": 1}
    assert told["messages"] == [
        ["user", "ask"],
        ["assistant", "".join(TEXT[:2])],
        ["reasoning", "A clock would help."],
        ["assistant", "clock"],
        ["tool", '{"hour": 12}'],
        ["assistant", TEXT[2]],
    ]
    assert told["interrupts"] == [["q", "Right?"]]
    assert (told["answered"], told["pending"]) == ("You said yes.", 0)
    assert told["asked"] == {"name": "weather", "arguments": '{"city": "Rome"}'}
    assert told["failed"] == "The clock stopped."
    assert told["aborted"] == TEXT[0]
    assert {context.session_id for context in clock.contexts} == {"thread"}
