"""A2A's own compatibility kit against an agent that does what the kit's scenarios say, as far as agents here can.

`A2A_TCK` is a checkout of https://github.com/a2aproject/a2a-tck, branch `1.0-dev`, with its requirements in `.venv`.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ppio_agent_models import AgentError, AgentInput, Interrupt, RunFinishedEvent, RunOutcome
from tests.protocols.agent import serving
from tests.support.calls import call

pytest.importorskip("a2a", reason="needs a2a-sdk: hatch run judges:test")
pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif("A2A_TCK" not in os.environ, reason="A2A_TCK names no checkout of a2a-tck"),
    pytest.mark.timeout(600),
]

EXPECTED = {
    # What an agent makes is its own choice of parts ("one of", section 4.1.6): agents here make text and data.
    "test_task_has_file_artifact[jsonrpc]",
    "test_task_has_file_artifact[http_json]",
    "test_task_has_file_url_artifact[jsonrpc]",
    "test_task_has_file_url_artifact[http_json]",
    # An agent MAY answer with a message instead of a task (section 3.1.1): here each message is a run that can be
    # followed, cancelled and asked for again.
    "test_returns_message_with_text_part[jsonrpc]",
    "test_returns_message_with_text_part[http_json]",
    # The card has the fields of 0.3 beside those of 1.0, as clients of either fetch it at the same address without
    # saying their version; unrecognized fields SHOULD be ignored (section 5.7), which the kit's schema does not.
    "test_agent_card_validates_against_schema",
    # The kit wants application/json, while application/a2a+json SHOULD be used for HTTP+JSON (section 11.1).
    "test_response_content_type",
}


async def agent(request: AgentInput) -> AsyncIterator[Any]:
    scenario = str(request.messages[-1]["id"]) if request.messages else ""
    if scenario.startswith("tck-input-required") or "history message" in str(request.resume):
        yield RunFinishedEvent(outcome=RunOutcome(type="interrupt", interrupts=[Interrupt(id="q", message="More?")]))
    elif scenario.startswith("tck-reject-task"):
        raise AgentError("rejected")
    elif scenario.startswith("tck-artifact-data"):
        yield {"key": "value", "count": 42}
    elif scenario.startswith("tck-artifact-text"):
        yield "Generated text content"
    elif scenario.startswith("tck-stream-artifact-chunked"):
        yield "chunk-1 "
        yield "chunk-2"
    else:
        yield "Hello from TCK"


def test_the_compatibility_kit_finds_what_is_known_and_nothing_else() -> None:
    checkout = Path(os.environ["A2A_TCK"])
    with serving(agent, ["a2a"]) as url:
        call(url, "/.well-known/agent-card.json", method="GET")  # imports a2a-sdk, for which the kit does not wait
        finished = subprocess.run(
            [checkout / ".venv/bin/python", "-m", "pytest", "tests/compatibility", "--sut-host", url, "-q", "-rf"],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )

    assert set(re.findall(r"^(?:FAILED|ERROR) .*::(\S+)", finished.stdout, re.MULTILINE)) == EXPECTED, finished.stdout
