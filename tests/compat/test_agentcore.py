"""Agents for AgentCore: what callers get under `bedrock_agentcore`, and under ours with one import changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from ppio_agent_runtime import AgentConfig
from ppio_agent_runtime.compat.bedrock_agentcore import BedrockAgentCoreApp, PingStatus
from ppio_agent_runtime.testing import running
from tests.compat import samples
from tests.compat.samples import ask, status_of
from tests.support.calls import call
from tests.support.gates import eventually
from tests.support.raw_http import Answer, invoke

pytestmark = pytest.mark.contract
Serve = Callable[[str], AbstractContextManager[str]]
SESSION = {"X-Amzn-Bedrock-AgentCore-Runtime-Session-Id": "session-of-thirty-three-characters"}


@pytest.fixture(params=["ours", "theirs"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Serve:
    return lambda name: samples.serving("agentcore", name, "bedrock_agentcore", request.param, tmp_path)


@pytest.fixture
def answers(serve: Serve) -> Iterator[str]:
    with serve("answers") as url:
        yield url


def wish(url: str, wish: str, **headers: str) -> Answer:
    return ask(url, json.dumps({"wish": wish}).encode(), **headers)


def lines_of(answer: Answer) -> list[Any]:
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [event.data for event in answer.events]


@pytest.mark.slow
def test_a_value_is_answered_as_it_is(answers: str) -> None:
    text, route, ticket = (wish(answers, each) for each in ("Ghent", "route", "ticket"))

    assert text.headers["content-type"] == "application/json"
    assert text.json == "Where is Ghent? Ägypten?"
    assert route.json == {"start": "Porto", "stops": ["Aveiro", "Coimbra"]}
    assert ticket.json.startswith("{'ticket': ")


def test_the_context_is_that_of_the_headers(answers: str) -> None:
    told = wish(
        answers,
        "who",
        **SESSION,
        **{
            "X-Amzn-Bedrock-AgentCore-Runtime-Request-Id": "request",
            "X-Amzn-Bedrock-AgentCore-Runtime-Custom-Tier": "gold",
            "X-Amzn-Trace-Id": "hidden",
            "AUTHORIZATION": "Bearer caller",
            "WorkloadAccessToken": "token",
            "OAuth2CallbackUrl": "https://back.example",
            "X-Team": "maps",
            "Cookie": "hidden",
        },
    ).json
    session = SESSION["X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"]

    assert told["headers"] == {
        "Authorization": "Bearer caller",
        "x-amzn-bedrock-agentcore-runtime-custom-tier": "gold",
        "workloadaccesstoken": "token",
        "oauth2callbackurl": "https://back.example",
        "x-team": "maps",
    }
    assert (told["session"], told["ids"], told["token"]) == (session, ["request", session], "token")
    assert (told["callback"], told["method"], told["same"]) == ("https://back.example", "POST", True)


def test_without_headers_there_is_neither_session_nor_token(answers: str) -> None:
    told = wish(answers, "who").json

    assert (told["session"], told["token"], told["callback"], told["headers"]) == (None, None, None, None)
    assert told["ids"][0]


@pytest.mark.slow
def test_an_answer_of_its_own_and_a_refusal_have_their_status(answers: str) -> None:
    teapot, refused, failed = (wish(answers, each) for each in ("teapot", "refuse", "fail"))
    no_json = ask(answers, b"{")

    assert (teapot.status, teapot.body) == (418, b"short and stout")
    assert (refused.status, refused.json["error"]) == (409, "There is no train today.")
    assert (failed.status, type(failed.json["error"])) == (500, str)
    assert (no_json.status, type(no_json.json["error"])) == (400, str)


@pytest.mark.slow
def test_a_stream_that_is_returned_is_one(answers: str) -> None:
    assert lines_of(wish(answers, "legs")) == ["first leg", {"leg": 2}]


@pytest.mark.slow
def test_a_stream_tells_chunks_and_failure_as_lines(serve: Serve) -> None:
    with serve("streaming") as url:
        chunks = lines_of(ask(url, b"{}", **SESSION))
        failed = lines_of(ask(url, b'{"fail": true, "count": 0}'))[-1]

    assert [chunk["step"] for chunk in chunks[:2]] == [0, 1]
    assert chunks[0]["session"] == SESSION["X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"]
    assert chunks[2:] == ["done, ünd well", "{'step': Step()}"]
    assert failed.keys() == {"error", "error_type", "message"}
    assert failed["message"] == "An error occurred during streaming"


@pytest.mark.slow
def test_a_plain_generator_streams(serve: Serve) -> None:
    with serve("threads") as url:
        assert lines_of(ask(url, b'{"to": 3}', **SESSION)) == [*SESSION.values(), 0, 1, 2]


@pytest.mark.slow
def test_tasks_keep_it_busy_until_the_last_has_ended(serve: Serve) -> None:
    def do(what: str) -> Any:
        return ask(url, json.dumps({"do": what}).encode()).json

    with serve("tasks") as url:
        assert status_of(url) == "Healthy"
        assert do("start") == {"active": 2, "status": "HealthyBusy"}
        assert status_of(url) == "HealthyBusy"
        jobs = ask(url, b'{"_agent_core_app_action": "job_status"}').json
        do("finish")
        eventually(lambda: status_of(url) == "Healthy", "the tasks have ended")
        ended = ask(url, b'{"_agent_core_app_action": "job_status"}').json
        unknown = do("unknown")

    assert (jobs["active_count"], {job["name"] for job in jobs["running_jobs"]}) == (2, {"index", "import"})
    assert all(job["duration"] >= 0 for job in jobs["running_jobs"])
    assert ended == {"active_count": 0, "running_jobs": []}
    assert unknown is False


@pytest.mark.slow
def test_what_is_forced_goes_before_the_agents_check_and_that_before_the_tasks(serve: Serve) -> None:
    def act(action: str) -> Answer:
        return ask(url, json.dumps({"_agent_core_app_action": action}).encode())

    def check_says(status: str | None) -> Any:
        ask(url, json.dumps({"do": "ask", "status": status}).encode())
        return status_of(url)

    with serve("tasks") as url:
        ask(url, b'{"do": "start"}')
        assert check_says("Healthy") == "Healthy"
        assert check_says("broken") == "HealthyBusy"
        assert act("force_healthy").json == {"forced_status": "Healthy"}
        assert (status_of(url), act("ping_status").json["status"]) == ("Healthy", "Healthy")
        assert check_says("HealthyBusy") == "Healthy"
        assert act("clear_forced_status").json == {"forced_status": "Cleared"}
        assert status_of(url) == "HealthyBusy"
        assert check_says("Healthy") == "Healthy"
        assert act("force_busy").json == {"forced_status": "HealthyBusy"}
        assert status_of(url) == "HealthyBusy"
        unknown = act("dance")

    assert (unknown.status, unknown.json["error"]) == (400, "Unknown action: dance")


def test_a_websocket_has_the_session(serve: Serve) -> None:
    with serve("talk") as url, connect(f"{url.replace('http', 'ws')}/ws", additional_headers=SESSION) as websocket:
        websocket.send('{"a": 1}')
        assert json.loads(websocket.recv(60)) == {"heard": {"a": 1}, "session": next(iter(SESSION.values()))}


def test_our_own_callers_get_our_contract() -> None:
    app = BedrockAgentCoreApp()

    @app.entrypoint
    def agent(payload: Any, context: Any) -> Any:
        return [payload, context.session_id, context.request]

    with running(app) as url:
        ours = invoke(url, {"a": 1}, {"PPIO-Agent-Protocol": "1", "X-PPIO-Session-Id": "s"})

    assert ours.result == [{"a": 1}, "s", None]


def test_keys_limits_and_settings_are_ours() -> None:
    app = BedrockAgentCoreApp(config=AgentConfig(api_keys=["key"], max_request_size=50, timeout=5))

    @app.entrypoint
    async def agent(payload: Any) -> Any:
        return payload

    with running(app) as url:
        right = ask(url, b"[1]", Authorization="Bearer key")
        closed = ask(url, b"[1]")
        large = ask(url, b"[" + b" " * 60 + b"]", Authorization="Bearer key")
        metrics = call(url, "/metrics", method="GET", headers={"Authorization": "Bearer key"}).body

    assert right.json == [1]
    assert (closed.status, large.status) == (401, 413)
    assert b'protocol="agentcore"' in metrics
    assert (app.config.timeout, app.config.isolate_handlers) == (5, True)


def test_starlettes_middleware_surrounds_it_the_first_outermost() -> None:
    from starlette.middleware import Middleware

    class Mark:
        def __init__(self, app: Any, name: str) -> None:
            self._app, self._name = app, name

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self._app({**scope, "marks": [*scope.get("marks", []), self._name]}, receive, send)

    app = BedrockAgentCoreApp(middleware=[Middleware(Mark, "first"), Middleware(Mark, name="second")])

    @app.entrypoint
    async def agent(payload: Any, context: Any) -> Any:
        return context.request.scope["marks"]

    with running(app) as url:
        assert ask(url, b"{}").json == ["first", "second"]


def test_a_task_is_an_async_function_and_health_can_be_asked_without_a_server() -> None:
    app = BedrockAgentCoreApp()

    with pytest.raises(ValueError, match="async functions"):
        app.async_task(lambda: None)
    before = app.get_current_ping_status()
    task_id = app.add_async_task("index")
    during = app.get_current_ping_status()
    assert app.complete_async_task(task_id)

    assert (before, during, app.get_current_ping_status()) == (
        PingStatus.HEALTHY,
        PingStatus.HEALTHY_BUSY,
        PingStatus.HEALTHY,
    )


def test_the_function_can_run_itself() -> None:
    app = BedrockAgentCoreApp()

    @app.entrypoint
    def agent(payload: Any) -> Any:
        return payload

    assert callable(agent.run)  # type: ignore[attr-defined]
    assert agent({"a": 1}) == {"a": 1}
