"""What an agent's own ping handler may answer, and what becomes of an answer that nobody understands."""

from __future__ import annotations

import asyncio
import enum
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ppio_agent_models import PingResponse, PingStatus
from ppio_agent_runtime import AgentConfig, ConfigurationError, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.calls import call
from tests.support.raw_http import Answer, get

pytestmark = pytest.mark.contract

HEALTHY, BUSY, UNHEALTHY = "Healthy", "HealthyBusy", "Unhealthy"


class Mixed(str, enum.Enum):  # noqa: UP042  # the old spelling is in use
    OK = "ok"


class Opaque:
    def __repr__(self) -> str:
        return "a secret"

    __str__ = __repr__


class Agent:
    """An agent whose next ping answers are said by the test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answer: Callable[[], Any] = lambda: None

    def ping(self, answer: Any) -> Answer:
        self.answer = answer if callable(answer) else lambda: answer
        return get(self.url, "/ping")


@contextmanager
def serving(*, asynchronous: bool) -> Iterator[Agent]:
    app = PPIOAgentRuntimeApp(AgentConfig(ping_timeout_seconds=60))
    agent = Agent("")

    @app.entrypoint
    def handler(payload: Any) -> Any:
        return payload

    if asynchronous:

        @app.ping
        async def ping() -> Any:
            await asyncio.sleep(0)
            return agent.answer()
    else:

        @app.ping
        def ping() -> Any:
            return agent.answer()

    with running(app) as agent.url:
        yield agent


@pytest.fixture(scope="module", params=[False, True], ids=["def", "async def"])
def agent(request: pytest.FixtureRequest) -> Iterator[Agent]:
    with serving(asynchronous=request.param) as agent:
        yield agent


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        *((word, HEALTHY) for word in ("Healthy", "healthy", "HEALTHY", "ok", "OK", "up", "true", " ok ")),
        *((word, BUSY) for word in ("HealthyBusy", "healthybusy", "busy", "Working")),
        *((word, UNHEALTHY) for word in ("Unhealthy", "UNHEALTHY", "down", "Error", "false")),
        *((word, word.value) for word in PingStatus),
        (Mixed.OK, HEALTHY),
        (True, HEALTHY),
        (False, UNHEALTHY),
        (None, HEALTHY),
        ({"status": "busy"}, BUSY),
        ({"status": True}, HEALTHY),
        ({"status": PingStatus.UNHEALTHY}, UNHEALTHY),
        (PingResponse(status=PingStatus.HEALTHY_BUSY), BUSY),
    ],
)
def test_answer_is_understood(agent: Agent, answer: Any, status: str) -> None:
    told = agent.ping(answer)

    assert told.json["status"] == status
    assert told.status == (503 if status == UNHEALTHY else 200)


@pytest.mark.parametrize("answer", ["sick", "", 1, 0, 1.5, [], ["ok"], {}, {"state": "ok"}, {"status": 1}, Opaque()])
def test_unknown_answer_is_unhealthy_and_names_its_type(agent: Agent, answer: Any) -> None:
    told = agent.ping(answer)

    assert told.status == 503
    assert told.json["status"] == UNHEALTHY
    assert told.json["message"] == f"The ping handler returned an unknown status, of type {type(answer).__name__}."
    assert b"a secret" not in told.body


def _raise(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (lambda: _raise(ValueError("a secret")), "ValueError"),
        (lambda: _raise(TimeoutError()), "TimeoutError"),
        (lambda: _raise(asyncio.CancelledError()), "CancelledError"),
        (lambda: _raise(StopIteration()), "StopIteration"),
        (lambda: sys.exit(1), "SystemExit"),
    ],
)
def test_handler_that_raises_is_unhealthy_and_names_the_class(agent: Agent, answer: Any, name: str) -> None:
    told = agent.ping(answer)

    assert told.status == 503
    assert told.json["status"] == UNHEALTHY
    # A coroutine cannot raise StopIteration: Python itself makes it a RuntimeError (PEP 479).
    assert told.json["message"] in {f"The ping handler raised {each}." for each in {name, "RuntimeError"}}
    assert b"a secret" not in told.body


def test_message_of_the_handler_is_kept(agent: Agent) -> None:
    assert agent.ping({"status": "down", "message": "no disk"}).json["message"] == "no disk"


def test_message_that_is_no_text_is_told_as_json(agent: Agent) -> None:
    assert agent.ping({"status": "ok", "message": {"disk": 1}}).json["message"] == '{"disk":1}'


def test_further_fields_are_kept(agent: Agent) -> None:
    told = agent.ping({"status": "ok", "queue": 3, "nested": {"a": [datetime(2026, 1, 2, tzinfo=UTC)]}}).json

    assert (told["queue"], told["nested"]) == (3, {"a": ["2026-01-02T00:00:00Z"]})


def test_further_fields_of_a_ping_response_are_kept(agent: Agent) -> None:
    response = PingResponse.model_validate({"status": "Healthy", "message": "fine", "queue": 3})

    assert agent.ping(response).json.items() >= {"message": "fine", "queue": 3}.items()


@pytest.mark.parametrize("field", [Opaque(), {"\ud800": 1}])
def test_further_field_that_cannot_become_json_does_not_cost_the_answer(agent: Agent, field: Any) -> None:
    told = agent.ping({"status": "busy", "field": field})

    assert (told.status, told.json["status"]) == (200, BUSY)
    assert b"a secret" not in told.body


def test_text_that_is_no_unicode_does_not_cost_the_answer(agent: Agent) -> None:
    assert agent.ping({"status": "ok", "message": "\ud800", "nan": float("nan")}).json["message"] == "\ud800"


def test_times_are_ours_whatever_the_handler_says(agent: Agent) -> None:
    told = agent.ping({"status": "ok", "time_of_last_update": "never", "timestamp": 5}).json

    assert isinstance(told["time_of_last_update"], int)
    assert datetime.now(UTC) - datetime.fromisoformat(told["timestamp"]) < timedelta(hours=1)


def test_answer_fits_the_model_of_the_contract(agent: Agent) -> None:
    told = PingResponse.model_validate(agent.ping("busy").json)

    assert told.status is PingStatus.HEALTHY_BUSY


def test_service_recovers_when_the_handler_does(agent: Agent) -> None:
    agent.ping("down")

    assert agent.ping("ok").status == 200


def test_ping_without_a_handler_is_healthy() -> None:
    app = PPIOAgentRuntimeApp()
    app.entrypoint(lambda payload: payload)

    with running(app) as url:
        answer = get(url, "/ping")

    assert (answer.status, answer.json["status"], answer.json["message"]) == (200, HEALTHY, None)
    assert answer.headers["cache-control"] == "no-store"


def test_head_of_ping_has_the_status_without_a_body(agent: Agent) -> None:
    agent.ping("down")

    assert call(agent.url, "/ping", method="HEAD").status == 503


def test_time_of_last_update_moves_only_with_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])

    with serving(asynchronous=False) as patient:

        def updated(answer: str, at: float) -> Any:
            now[0] = at
            return patient.ping(answer).json["time_of_last_update"]

        assert updated("ok", 1010) == 1000
        assert updated("down", 1020) == 1020
        assert updated("error", 1030) == 1020
        assert updated("ok", 1040) == 1040
        assert updated("ok", 1050) == 1040


@pytest.mark.parametrize("handler", [lambda request: request, "ok", None])
def test_handler_that_cannot_be_called_without_arguments_is_refused_at_registration(handler: Any) -> None:
    with pytest.raises(ConfigurationError, match="called without arguments"):
        PPIOAgentRuntimeApp().ping(handler)


def test_callable_object_and_method_may_be_ping_handlers() -> None:
    class Health:
        def __call__(self) -> str:
            return "busy"

        async def check(self) -> str:
            return "down"

    for handler, status in ((Health(), BUSY), (Health().check, UNHEALTHY)):
        app = PPIOAgentRuntimeApp()
        app.entrypoint(lambda payload: payload)
        app.ping(handler)
        with running(app) as url:
            assert get(url, "/ping").json["status"] == status
