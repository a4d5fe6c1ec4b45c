"""OpenAI's client from npm against the agent."""

from __future__ import annotations

import pytest

from tests.protocols.agent import TEXT, Clock, serving
from tests.protocols.node import run_script

pytestmark = pytest.mark.contract


def test_openais_client_from_npm_reads_both_apis() -> None:
    with serving(Clock(), ["openai"], api_keys=["key"]) as url:
        told = run_script("openai/talk.mjs", url)

    assert told["deltas"] == TEXT
    assert told["chat"] == told["response"] == "".join(TEXT)
    assert told["items"] == ["message", "reasoning", "mcp_call", "message"]
    assert told["rest"] == list(range(4, told["last"] + 1))
    assert told["error"] == ["APIError", 418, "418 No clock.", "AgentError"]
    assert told["refused"] == ["AuthenticationError", 401]
