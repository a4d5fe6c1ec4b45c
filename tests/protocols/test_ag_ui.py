"""AG-UI: at its own path, at `/invocations` beside ours, and over a WebSocket; judged by ag-ui-validate."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import ag_ui.core
import pytest
from pydantic import TypeAdapter
from websockets.sync.client import connect

from ppio_agent_runtime import AgentConfig, ConfigurationError, PPIOAgentRuntimeApp
from tests.protocols.agent import TEXT, Clock, serving
from tests.support.calls import call
from tests.support.gates import eventually
from tests.support.raw_http import Answer, Connection, invoke

pytestmark = pytest.mark.contract
EVENT: TypeAdapter[Any] = TypeAdapter(ag_ui.core.Event)


def run(prompt: str, **more: Any) -> dict[str, Any]:
    message = {"id": "m", "role": "user", "content": prompt}
    return {"threadId": "thread", "runId": "run", "messages": [message], **more}


def ask(url: str, body: Any, path: str = "/ag-ui", **headers: str) -> Answer:
    return call(url, path, body=json.dumps(body).encode(), headers=headers)


def events_of(answer: Answer) -> list[Any]:
    assert answer.status == 200, answer.body
    return [event.data for event in answer.events]


def text_of(events: list[Any]) -> list[str]:
    return [event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT"]


@pytest.mark.parametrize("prompt", ["time?", "ask", "fail at once", "fail later"])
@pytest.mark.slow
def test_a_run_passes_the_validator_and_their_models(prompt: str, tmp_path: Path) -> None:
    with serving(Clock(), ["ag-ui"]) as url:
        answer = ask(url, run(prompt))
    (tmp_path / "run.sse").write_bytes(answer.body)
    command = [sys.executable, "-m", "ag_ui_validate.cli", str(tmp_path / "run.sse"), "--json"]
    judged = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert judged.returncode == 0, judged.stdout
    assert not [each for each in json.loads(judged.stdout)["diagnostics"] if each["severity"] == "warning"]
    for event in events_of(answer):
        EVENT.validate_python(event)


def test_a_run_has_the_ids_that_were_asked_for() -> None:
    clock = Clock()
    with serving(clock, ["ag-ui"]) as url:
        events = events_of(ask(url, run("time?", tools=[], state={"a": 1}), **{"X-PPIO-Session-Id": "other"}))

    assert events[0] == {"type": "RUN_STARTED", "threadId": "thread", "runId": "run"}
    assert [event["type"] for event in events].count("RUN_STARTED") == 1
    assert (events[-1]["type"], events[-1]["threadId"], events[-1]["runId"]) == ("RUN_FINISHED", "thread", "run")
    assert text_of(events) == TEXT
    assert (clock.contexts[0].session_id, clock.contexts[0].protocol) == ("thread", "ag-ui")
    assert clock.asked[0].state == {"a": 1}


def test_a_failure_of_the_agent_is_a_run_error_behind_run_started() -> None:
    with serving(Clock(), ["ag-ui"]) as url:
        at_once, later = (events_of(ask(url, run(prompt))) for prompt in ("fail at once", "fail later"))

    assert [event["type"] for event in at_once] == ["RUN_STARTED", "RUN_ERROR"]
    assert later[-1] == {"type": "RUN_ERROR", "message": "The clock stopped.", "code": "AgentError"}


@pytest.mark.parametrize(
    ("body", "settings", "status"),
    [
        ({}, {}, 422),
        ({"threadId": "", "runId": "r", "messages": []}, {}, 422),
        ({"threadId": "t", "runId": "r", "messages": [1]}, {}, 422),
        (run("x" * 500), {"max_request_size": 300}, 413),
        (run("time?"), {"api_keys": ["k"]}, 401),
    ],
)
def test_what_is_refused_before_the_agent_has_a_status(body: Any, settings: dict[str, Any], status: int) -> None:
    with serving(Clock(), ["ag-ui"], **settings) as url:
        assert ask(url, body).status == status


def test_an_interrupt_is_resumed() -> None:
    clock = Clock()
    with serving(clock, ["ag-ui"]) as url:
        last = events_of(ask(url, run("ask")))[-1]
        answer = {"interruptId": last["outcome"]["interrupts"][0]["id"], "status": "resolved", "payload": "yes"}
        events = events_of(ask(url, run("ask", resume=[answer])))

    assert text_of(events) == ["You said yes."]
    assert clock.asked[1].prompt == ""


def test_the_time_limit_is_that_of_the_forwarded_props() -> None:
    with serving(Clock(), ["ag-ui"]) as url:
        events = events_of(ask(url, run("wait", forwardedProps={"timeout": 0.2})))

    assert events[-1]["code"] == "InvocationTimeoutError"


def test_a_caller_who_hangs_up_cancels_the_run() -> None:
    clock = Clock()
    with serving(clock, ["ag-ui"]) as url:
        with Connection(url) as connection:
            connection.post(run("wait"), path="/ag-ui")
            connection.read_head()
            connection.reset()
        eventually(lambda: clock.closed == 1, "the generator is closed")


def test_at_the_path_of_invocations_it_stands_beside_our_own_protocol() -> None:
    with serving(Clock(), ["ag-ui"], protocol_paths={"ag-ui": "/invocations"}) as url:
        theirs = events_of(invoke(url, run("time?")))
        ours = invoke(url, {"prompt": "time?"}, {"Accept": "application/json"})

    assert text_of(theirs) == TEXT
    assert ours.result == "".join(TEXT)


def test_a_websocket_takes_one_run_after_the_other() -> None:
    clock = Clock()
    with (
        serving(clock, ["ag-ui"], protocol_paths={"ag-ui": "/invocations"}, max_concurrency=1) as url,
        connect(url.replace("http", "ws") + "/ws") as websocket,
    ):
        for prompt in ("time?", "fail later", "time?"):
            websocket.send(json.dumps(run(prompt)))
            events = [json.loads(websocket.recv(60))]
            while events[-1]["type"] not in ("RUN_FINISHED", "RUN_ERROR"):
                events.append(json.loads(websocket.recv(60)))
            assert events[0]["type"] == "RUN_STARTED"
            assert (text_of(events) == TEXT) is (prompt == "time?")
        websocket.send("no json")
        wrong = json.loads(websocket.recv(60))

    assert (wrong["type"], wrong["code"]) == ("RUN_ERROR", "PayloadValidationError")
    assert {context.session_id for context in clock.contexts} == {"thread"}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"protocols": ["ag-ux"]}, "Unknown protocol 'ag-ux'"),
        ({"protocols": ["openai"], "protocol_paths": {"ag-ui": "/"}}, "not in the setting 'protocols'"),
        ({"protocols": ["ag-ui"], "protocol_paths": {"ag-ui": "x"}}, "must begin with '/'"),
    ],
)
def test_wrong_settings_fail_at_the_start(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        PPIOAgentRuntimeApp(AgentConfig(**settings))


def test_an_open_agent_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    PPIOAgentRuntimeApp(AgentConfig(protocols=["all"]))
    warned = caplog.text
    caplog.clear()
    PPIOAgentRuntimeApp(AgentConfig(protocols=["all"], api_keys=["k"]))

    assert "open to everybody" in warned
    assert "open to everybody" not in caplog.text


def test_an_agent_without_protocols_has_none_of_their_routes_or_modules() -> None:
    program = """
import sys
from ppio_agent_runtime import PPIOAgentRuntimeApp
PPIOAgentRuntimeApp().stack
names = "protocols", "plugin_routes", "event_stream", "ppio_agent_runtime.events", "_framing", ".handle."
print([name for name in sys.modules if name.startswith("ppio") and any(each in f"{name}." for each in names)])
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    with serving(Clock(), []) as url:
        status = ask(url, run("time?")).status

    assert finished.stdout.strip() == "[]"
    assert status == 404
