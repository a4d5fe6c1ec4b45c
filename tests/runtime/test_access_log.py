"""The access log: one ordinary record for each invocation that succeeded, and none is lost."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.runtime.test_logging import agent_process
from tests.runtime.wire import post, until


def test_a_handler_of_the_program_hears_of_requests(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ppio_agent_runtime.access")
    app = PPIOAgentRuntimeApp(AgentConfig(access_log=True))

    @app.entrypoint
    async def agent(payload: dict[str, object]) -> int:
        return 1

    with running(app) as url:
        answer = post(url, session="s")
        until(lambda: bool(caplog.records))
    fields: dict[str, Any] = vars(caplog.records[-1])
    assert fields["name"] == "ppio_agent_runtime.access"
    assert fields["invocation_id"] == answer.headers["x-ppio-invocation-id"]
    assert (fields["session_id"], fields["mode"], fields["chunks"]) == ("s", "json", 0)
    assert fields["sent_bytes"] == len(answer.body)
    assert fields["duration_seconds"] > 0


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_line_is_lost_at_sigterm_and_each_follows_what_its_handler_said(tmp_path: Path, log_format: str) -> None:
    settings = {"PPIO_AGENT_ACCESS_LOG": "true", "PPIO_AGENT_LOG_FORMAT": log_format}
    with ThreadPoolExecutor(8) as callers, agent_process(tmp_path, **settings) as (url, lines):
        answers = list(callers.map(lambda number: post(url, {"n": number}), range(1, 41)))
    for number, answer in enumerate(answers, 1):
        own = [line for line in lines if answer.headers["x-ppio-invocation-id"] in line]
        assert len(own) == 3
        assert f"works on {number}" in own[0]
        assert "succeeded" in own[-1]
