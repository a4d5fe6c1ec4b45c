"""Which process answers: each life of an app is an instance, says so, and takes nothing that is for another one."""

from __future__ import annotations

from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.calls import call
from tests.support.raw_http import get, invoke

pytestmark = pytest.mark.contract

INSTANCE = "ppio-agent-instance"


def counting(**settings: Any) -> tuple[PPIOAgentRuntimeApp, list[Any]]:
    """Return an app, and what its handler was called with."""
    app, seen = PPIOAgentRuntimeApp(AgentConfig(**settings)), []

    @app.entrypoint
    async def handler(payload: Any) -> Any:
        seen.append(payload)
        return payload

    return app, seen


@pytest.mark.parametrize("isolated", [False, True])
def test_every_answer_names_the_instance(isolated: bool) -> None:
    app, _ = counting(isolate_handlers=isolated, debug=True)

    @app.fastapi.get("/own")
    def own() -> str:
        return "mine"

    with running(app) as url:
        names = {
            get(url, path).headers[INSTANCE] for path in ("/ping", "/metrics", "/", "/own", "/nowhere", "/openapi.json")
        }
        for headers in ({}, {"Accept": "text/event-stream"}, {"Prefer": "respond-async"}, {"X-PPIO-Timeout": "bad"}):
            names.add(invoke(url, {"a": 1}, headers).headers[INSTANCE])
        names.add(get(url, "/invocations/unknown").headers[INSTANCE])
    assert len(names) == 1


def test_each_life_of_an_app_is_another_instance() -> None:
    app, _ = counting()
    names = []
    for _ in range(2):
        with running(app) as url:
            names.append(get(url, "/ping").headers[INSTANCE])
    assert names[0] != names[1]


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}, {"Prefer": "respond-async"}])
def test_a_call_for_another_instance_is_refused_before_anything_runs(headers: dict[str, str]) -> None:
    app, seen = counting()
    with running(app) as url:
        refused = invoke(url, {"a": 1}, {**headers, INSTANCE: "another"})
        assert (refused.status, refused.json["error_type"]) == (412, "OtherInstanceError")
        assert "retry-after" not in refused.headers
        assert seen == []
        own = get(url, "/ping").headers[INSTANCE]
        assert invoke(url, {"a": 2}, {**headers, INSTANCE: own}).status in {200, 202}
        get(url, "/ping")
    assert seen == [{"a": 2}]


@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("GET", "/events"), ("DELETE", "")])
def test_an_invocation_of_another_instance_is_not_looked_for(method: str, rest: str) -> None:
    app, _ = counting()
    with running(app) as url:
        answer = call(url, f"/invocations/some{rest}", method=method, headers={INSTANCE: "another"})
        assert (answer.status, answer.json["error_type"]) == (412, "OtherInstanceError")
