"""Every error on every route is the same envelope; what the agent did not mean for the caller stays in its log."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import HTTPException as FastAPIHTTPException
from starlette.exceptions import HTTPException

from ppio_agent_models import RateLimitedError, SerializationError
from ppio_agent_runtime import AgentConfig, AgentError, PPIOAgentRuntimeApp
from ppio_agent_runtime.observability.logging import JsonFormatter, TextFormatter
from ppio_agent_runtime.testing import running
from tests.support.calls import call, refusal
from tests.support.durable import events, finished, submit
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Answer, Connection, get, invoke

pytestmark = pytest.mark.contract


class BrokenError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def _raise(error: BaseException) -> Any:
    raise error


def _chained() -> None:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise ValueError("outer") from error


def _stop_iteration() -> None:
    next(iter(()))


async def _cancelled() -> None:
    raise asyncio.CancelledError


async def _exits() -> None:
    sys.exit(3)


async def _base() -> None:
    raise BaseException("a secret")


async def _group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_exits_with_error())


async def _exits_with_error() -> None:
    raise ValueError("a secret")


LARGE = 5_000_000

FAILURES: dict[str, Callable[[], Any]] = {
    "plain": lambda: _raise(ValueError("a secret")),
    "chained": _chained,
    "exit": lambda: sys.exit(3),
    "async exit": _exits,
    "interrupt": lambda: _raise(KeyboardInterrupt()),
    "stop iteration": _stop_iteration,
    "cancelled": _cancelled,
    "group": _group,
    "timeout": lambda: _raise(TimeoutError("a secret")),
    "base": lambda: _raise(BaseException("a secret")),
    "async base": _base,
    "broken": lambda: _raise(BrokenError()),
    "surrogate": lambda: _raise(ValueError("\ud800")),
    "agent": lambda: _raise(AgentError("No such order.")),
    "agent 404": lambda: _raise(AgentError("No such order.", status_code=404, error_type="OrderNotFound")),
    "agent retry": lambda: _raise(AgentError("Later.", status_code=429, retry_after=1.2)),
    "agent odd retry": lambda: _raise(AgentError("Later.", status_code=429, retry_after=float("inf"))),
    "agent surrogate": lambda: _raise(AgentError("No \ud800.")),
    "agent 200": lambda: _raise(AgentError("Not good.", status_code=200)),
    "agent 204": lambda: _raise(AgentError("Not good.", status_code=204)),
    "agent 1000": lambda: _raise(AgentError("Not good.", status_code=1000)),
    "agent object": lambda: _raise(AgentError(ValueError("from below"))),  # type: ignore[arg-type]
    "large": lambda: _raise(ValueError("begin" + "x" * LARGE + "end")),
    "large agent": lambda: _raise(AgentError("begin" + "x" * LARGE + "end", error_type="T" * LARGE)),
    "large http": lambda: _raise(FastAPIHTTPException(400, {"why": "begin" + "x" * LARGE + "end"})),
    "large key": lambda: {"begin" + "x" * LARGE + "end": object()},
    "unserializable": lambda: {"items": [1, object()]},
    "own serialization": lambda: _raise(SerializationError("result.x cannot become JSON: it is of type X.")),
    "another call's": lambda: _raise(RateLimitedError("Too many.", retry_after=9)),
    "http": lambda: _raise(HTTPException(403, "Not yours.", {"X-Reason": "owner"})),
    "fastapi http": lambda: _raise(FastAPIHTTPException(422, {"field": "name", "why": "long"})),
    "http 304": lambda: _raise(HTTPException(304)),
    "http headers": lambda: _raise(
        HTTPException(400, "x", {"Content-Length": "1", "Bad Name": "1", "X-A": "日\r\nX-B: 1", "X-C": "ok"})
    ),
}


def make_app(**settings: Any) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(AgentConfig(**settings))

    @app.entrypoint
    def handler(payload: dict[str, str]) -> Any:
        return FAILURES[payload["do"]]()

    return app


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(make_app()) as address:
        yield address


@pytest.fixture(scope="module")
def telling() -> Iterator[str]:
    with running(make_app(expose_errors=True)) as address:
        yield address


def fail(url: str, what: str) -> Answer:
    return invoke(url, {"do": what})


@pytest.mark.parametrize(
    "what",
    [
        "plain",
        "chained",
        "exit",
        "async exit",
        "interrupt",
        "stop iteration",
        "cancelled",
        "group",
        "timeout",
        "base",
        "async base",
        "broken",
        "surrogate",
    ],
)
def test_exception_of_the_agent_is_hidden(url: str, what: str) -> None:
    answer = fail(url, what)

    sentence = refusal(answer, 500, "HandlerError")
    request_id = answer.headers["x-ppio-request-id"]
    assert sentence == f"The agent failed. Its log has the reason under request id {request_id}."


def test_exception_of_the_agent_is_logged_with_its_traceback(url: str, caplog: pytest.LogCaptureFixture) -> None:
    request_id = fail(url, "plain").headers["x-ppio-request-id"]

    (record,) = (each for each in caplog.records if request_id in each.getMessage())
    assert record.levelno == logging.ERROR
    assert record.getMessage().endswith("ValueError")
    assert "in _raise" in caplog.text


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("plain", "ValueError: a secret"),
        ("chained", "ValueError: outer"),
        ("broken", "BrokenError"),
        ("surrogate", "ValueError: \ud800"),
        ("timeout", "TimeoutError: a secret"),
    ],
)
def test_exception_of_the_agent_is_told_with_expose_errors(telling: str, what: str, sentence: str) -> None:
    assert refusal(fail(telling, what), 500, "HandlerError") == sentence


@pytest.mark.parametrize(
    ("debug", "expose_errors", "told"),
    [(True, None, True), (True, False, False), (False, True, True), (False, None, False)],
)
def test_debug_tells_errors_unless_expose_errors_says_otherwise(
    debug: bool, expose_errors: bool | None, told: bool
) -> None:
    assert AgentConfig(debug=debug, expose_errors=expose_errors).tells_errors is told


def test_agent_error_reaches_the_caller_unchanged(url: str) -> None:
    assert refusal(fail(url, "agent"), 500, "AgentError") == "No such order."


def test_agent_error_chooses_status_and_type(url: str) -> None:
    assert refusal(fail(url, "agent 404"), 404, "OrderNotFound") == "No such order."


def test_agent_error_may_name_a_time_to_come_back(url: str) -> None:
    answer = fail(url, "agent retry")

    refusal(answer, 429, "AgentError")
    assert answer.headers["retry-after"] == "2"


def test_endless_time_to_come_back_is_left_out(url: str) -> None:
    assert "retry-after" not in fail(url, "agent odd retry").headers


@pytest.mark.parametrize("what", ["agent 200", "agent 204", "agent 1000"])
def test_agent_error_with_a_status_that_is_no_error_is_a_500(url: str, what: str) -> None:
    assert refusal(fail(url, what), 500, "AgentError") == "Not good."


def test_agent_error_may_wrap_an_exception_as_its_message(url: str) -> None:
    assert refusal(fail(url, "agent object"), 500, "AgentError") == "from below"


def test_message_that_is_no_unicode_arrives_escaped(url: str) -> None:
    assert refusal(fail(url, "agent surrogate"), 500, "AgentError") == "No \ud800."


def test_serialization_error_of_the_agent_is_kept(url: str) -> None:
    sentence = refusal(fail(url, "own serialization"), 500, "SerializationError")

    assert sentence == "result.x cannot become JSON: it is of type X."


def test_error_of_a_client_that_the_agent_uses_keeps_its_sentence_and_not_its_status(url: str) -> None:
    answer = fail(url, "another call's")

    assert refusal(answer, 500, "HandlerError") == "Too many."
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize("what", ["large", "large agent", "large http", "large key"])
@pytest.mark.parametrize("headers", [{}, EVENT_STREAM, PROTOCOL_1], ids=["value", "stream", "protocol 1"])
def test_of_a_large_message_begin_and_end_are_told(telling: str, what: str, headers: dict[str, str]) -> None:
    answer = invoke(telling, {"do": what}, headers)
    assert len(answer.body) < 40_000
    sentence = answer.json["error"]
    assert "begin" in sentence
    assert "end" in sentence
    assert "characters in all" in sentence


def test_large_message_is_told_in_part_wherever_somebody_looks(telling: str) -> None:
    path = submit(telling, {"do": "large"})
    told = finished(telling, path)["response"]["error"]
    assert len(told) < 10_000
    assert events(telling, path).events[-1].data["error"] == told


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()], ids=["text", "json"])
def test_log_has_a_large_message_in_part(
    telling: str, formatter: logging.Formatter, caplog: pytest.LogCaptureFixture
) -> None:
    fail(telling, "large")
    (record,) = caplog.records
    line = formatter.format(record)
    assert "ValueError: begin" in line
    assert "characters in all" in line
    assert len(line) < 200_000


def test_log_has_the_path_that_the_caller_is_told(url: str, caplog: pytest.LogCaptureFixture) -> None:
    sentence = refusal(fail(url, "unserializable"), 500, "SerializationError")
    assert sentence.startswith("result.items[1] cannot become JSON")
    (record,) = caplog.records
    assert record.getMessage().endswith(f"SerializationError: {sentence}")


def test_http_exception_chooses_status_and_headers(url: str) -> None:
    answer = fail(url, "http")

    assert refusal(answer, 403, "HTTPException") == "Not yours."
    assert answer.headers["x-reason"] == "owner"


def test_http_exception_with_a_structured_detail_tells_it_as_json(url: str) -> None:
    sentence = refusal(fail(url, "fastapi http"), 422, "HTTPException")

    assert json.loads(sentence) == {"field": "name", "why": "long"}


def test_http_exception_with_a_status_without_body_is_a_500(url: str) -> None:
    refusal(fail(url, "http 304"), 500, "HTTPException")


def test_headers_of_an_http_exception_cannot_break_the_answer(url: str) -> None:
    answer = fail(url, "http headers")

    assert refusal(answer, 400, "HTTPException") == "x"
    assert answer.headers["x-c"] == "ok"
    assert "x-b" not in answer.headers


def test_service_goes_on_after_every_failure(url: str) -> None:
    for what in FAILURES:
        fail(url, what)

    assert get(url, "/ping").json["status"] == "Healthy"


def test_unknown_route_is_404(url: str) -> None:
    assert refusal(get(url, "/nowhere?x=1"), 404, "NotFoundError") == "There is no route '/nowhere'."


def test_head_of_an_error_has_no_body(url: str) -> None:
    answer = call(url, "/nowhere", method="HEAD")

    assert answer.status == 404
    assert answer.headers["content-type"] == "application/json"


def test_bytes_that_are_not_http_are_400(url: str) -> None:
    with Connection(url) as connection:
        connection.send(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        answer = connection.read_answer()
        assert connection.read_to_the_end() == b""

    assert refusal(answer, 400, "BadRequestError") == "The request is not valid HTTP."


def test_entrypoint_that_is_missing_under_another_server_is_told() -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": []}
    asyncio.run(PPIOAgentRuntimeApp()(scope, receive, send))

    assert sent[0]["status"] == 500
    assert json.loads(sent[1]["body"])["error_type"] == "ConfigurationError"
