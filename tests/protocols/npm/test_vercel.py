"""The AI SDK from npm against the agent: what `useChat` is made of, and its models over both APIs of OpenAI."""

from __future__ import annotations

import pytest

from tests.protocols.agent import TEXT, Clock, serving
from tests.protocols.node import run_script

pytestmark = pytest.mark.contract


def test_the_ai_sdk_reads_the_ui_message_stream_and_both_apis_of_openai() -> None:
    clock = Clock()
    with serving(clock, ["vercel", "openai"]) as url:
        told = run_script("vercel/talk.mjs", url)

    assert [part for part in told["parts"] if part != "step-start"] == [
        *("text", "reasoning", "dynamic-tool", "data-state", "text", "dynamic-tool"),
    ]
    assert told["text"] == ["".join(TEXT[:2]), TEXT[2]]
    assert told["output"] == {"hour": 12}
    assert told["answered"] == "You said {'approved': True, 'reason': None}."
    assert told["failed"] == "No clock."
    assert told["responses"]["text"] == told["chat"]["text"] == "".join(TEXT)
    assert told["responses"]["tools"][-2:] == ["tool-call", "tool-result"]
    assert told["chat"]["tools"] == []
    assert clock.contexts[0].session_id == "chat"
