"""Agents of ppio-sandbox: what callers get from them there, and under ours with one import changed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from ppio_agent_runtime.compat.ppio_sandbox import AgentRuntimeApp, AgentRuntimeContext, RequestContext, RuntimeConfig
from ppio_agent_runtime.testing import running
from tests.compat import samples
from tests.compat.samples import ask
from tests.support.calls import call
from tests.support.raw_http import invoke

pytestmark = pytest.mark.contract
Serve = Callable[[str], AbstractContextManager[str]]


@pytest.fixture(params=["ours", "theirs"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Serve:
    package = "ppio_sandbox.agent_runtime"
    return lambda name: samples.serving("ppio_sandbox", name, package, request.param, tmp_path)


@pytest.mark.slow
def test_a_value_is_in_the_envelope(serve: Serve) -> None:
    with serve("answers") as url:
        answer = ask(url, b'{"sandbox_id": "box", "any": [1]}', **{"X-Team": "maps"})
        ping = call(url, "/ping", method="GET").json
        failed = ask(url, b'{"fail": true}').json
        large = ask(url, b'"%b"' % (b"x" * 6000))
        no_json = ask(url, b"{")
    result = answer.json["result"]

    assert (answer.json["status"], answer.json["error"], answer.headers["content-type"]) == (
        "success",
        None,
        "application/json",
    )
    assert (result["given"], result["sandbox"]) == ({"sandbox_id": "box", "any": [1]}, ["box", "box"])
    assert (result["team"], result["same"]) == ("maps", True)
    assert answer.json["metadata"]["request_id"] == result["request_id"]
    assert answer.headers["x-seen"].endswith("outer inner")
    assert (ping["status"], ping["message"]) == ("HealthyBusy", "two jobs")
    assert (failed["status"], failed["result"], "no map" in failed["error"]) == ("error", None, True)
    assert (large.status, no_json.status) == (413, 400)


@pytest.mark.slow
def test_a_stream_is_lines(serve: Serve) -> None:
    with serve("streaming") as url:
        answer = ask(url, '{"words": ["ä", 1]}'.encode())
        failed = ask(url, b'{"words": [], "fail": true}')

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [event.data for event in answer.events] == ["ä", 1, "step"]
    assert failed.events[0].data == "step"
    assert "error" in failed.events[-1].data


def test_settings_are_those_of_the_config() -> None:
    app = AgentRuntimeApp(RuntimeConfig(timeout=7, cors_origins=["https://a.example"]), debug=True)

    assert (app.config.timeout, app.config.cors_origins, app.config.debug) == (7, ["https://a.example"], True)


def test_the_context_can_be_set_and_is_that_of_our_callers() -> None:
    app = AgentRuntimeApp()

    @app.entrypoint
    async def agent(request: dict[str, Any], context: RequestContext) -> list[Any]:
        found = AgentRuntimeContext.get_current_context()
        AgentRuntimeContext.set_current_context(RequestContext(sandbox_id="other"))
        changed = AgentRuntimeContext.get_current_context()
        AgentRuntimeContext.clear_current_context()
        assert found is not None
        assert changed is not None
        return [context.session_id, found.sandbox_id, changed.sandbox_id]

    with running(app) as url:
        assert invoke(url, {}, {"X-PPIO-Session-Id": "s"}).result == ["s", "s", "other"]
    assert AgentRuntimeContext.get_current_context() is None
