"""The client of @a2a-js/sdk against the agent: both bindings, versions 1.0 and 0.3."""

from __future__ import annotations

import pytest

from tests.protocols.agent import TEXT, Clock, serving
from tests.protocols.node import run_script

pytest.importorskip("a2a", reason="needs a2a-sdk: hatch run judges:node")
pytestmark = pytest.mark.contract


@pytest.mark.parametrize("version", ["1.0", "0.3"])
@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
def test_the_client_from_npm_talks_asks_and_cancels(binding: str, version: str) -> None:
    clock = Clock()
    with serving(clock, ["a2a"]) as url:
        told = run_script("a2a/talk.mjs", url, binding, version)

    assert told["asked"]["deltas"] == TEXT
    assert told["asked"]["states"][-1] == "TASK_STATE_INPUT_REQUIRED"
    assert told["asked"]["question"][0] == "Right?"
    assert told["asked"]["question"][1]["id"] == "q"
    assert "TOOL_CALL_RESULT" in told["asked"]["data"]
    assert told["answered"]["deltas"] == ["You said yes."]
    assert told["answered"]["states"][-1] == told["state"] == "TASK_STATE_COMPLETED"
    assert told["whole"] == ["".join(TEXT[:2]), TEXT[2], "You said yes."]
    assert told["failed"] == ["TASK_STATE_FAILED"]
    assert told["again"] == ["task", "artifactUpdate"]
    assert told["cancelled"] == "TASK_STATE_CANCELED"
    assert told["error"].endswith("Error" if (binding, version) == ("HTTP+JSON", "0.3") else "TaskNotFoundError")
    assert {context.session_id for context in clock.contexts[:2]} == {"c"}
