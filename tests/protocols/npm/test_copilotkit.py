"""CopilotKit's runtime with the agent behind it: what its page asks, and what it passes on."""

from __future__ import annotations

import pytest

from tests.protocols.agent import TEXT, Clock, serving
from tests.protocols.node import run_script

pytestmark = pytest.mark.contract


def test_copilotkits_runtime_passes_a_run_a_question_and_its_answer() -> None:
    clock = Clock()
    with serving(clock, ["ag-ui"]) as url:
        told = run_script("copilotkit/talk.mjs", url)

    assert told["agents"] == ["clock"]
    assert told["types"][0] == "RUN_STARTED"
    assert "TOOL_CALL_RESULT" in told["types"]
    assert told["deltas"] == TEXT
    assert told["last"][0]["outcome"]["interrupts"][0]["id"] == "q"
    assert told["answered"] == ["You said yes."]
    assert {context.session_id for context in clock.contexts} == {"thread"}
