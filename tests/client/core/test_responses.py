"""What an answer means, from our runtime and from servers that speak otherwise."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ppio_agent_client
from ppio_agent_client import (
    AgentError,
    AuthenticationError,
    BadRequestError,
    DrainingError,
    HandlerError,
    InvocationError,
    InvocationResponse,
    InvocationTimeoutError,
    NotFoundError,
    PayloadValidationError,
    PingStatus,
    PPIOAgentRuntimeError,
    RateLimitedError,
    RequestError,
    UnavailableError,
)
from ppio_agent_client._core.responses import ping_of, response_of, retry_after_of
from ppio_agent_models import ERROR_TYPES

NOW = 1_800_000_000.0


def read(body: object, status: int = 200, **headers: str) -> InvocationResponse:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    lower = {name.replace("_", "-"): value for name, value in headers.items()}
    return response_of(status, lower, text, unix_now=NOW)


PROTOCOL = {"ppio_agent_protocol": "1"}


def failure(body: object, status: int = 500, **headers: str) -> PPIOAgentRuntimeError:
    with pytest.raises(PPIOAgentRuntimeError) as caught:
        read(body, status, **headers)
    return caught.value


def envelope(**fields: Any) -> dict[str, Any]:
    return {
        "result": None,
        "status": "error",
        "duration": 0.1,
        "error": "it broke",
        "error_type": "HandlerError",
        **fields,
    }


def test_an_envelope_is_the_response() -> None:
    response = read({"result": 1, "status": "success", "duration": 0.5, "metadata": {"request_id": "r"}})
    assert (response.result, response.duration, response.metadata) == (1, 0.5, {"request_id": "r"})


@pytest.mark.parametrize(
    "body",
    [
        {"answer": 1},
        [1],
        "x",
        None,
        {"status": "success"},
        {"status": "done", "result": 1},
        {"status": {}, "result": 1},
    ],
)
def test_a_body_that_is_no_envelope_is_the_result(body: object) -> None:
    assert read(body) == InvocationResponse(result=body)


def test_a_body_that_is_no_json_is_the_result_as_text() -> None:
    assert read(b"hello").result == "hello"


def test_an_empty_body_is_no_result() -> None:
    assert read(b"", 204).result is None


def test_an_envelope_with_broken_fields_is_a_result() -> None:
    body = {"result": 1, "status": "success", "duration": "long"}
    assert read(body).result == body


def test_an_error_envelope_raises_whatever_the_status() -> None:
    assert type(failure(envelope(), 200)) is HandlerError


@pytest.mark.parametrize("name", sorted(set(ERROR_TYPES) - {"PPIOAgentRuntimeError"}))
def test_every_error_type_comes_back_as_its_class(name: str) -> None:
    error = failure(envelope(error_type=name), 418)
    assert type(error) is ERROR_TYPES[name]
    assert (error.error_type, error.status_code, str(error)) == (name, 418, "it broke")


def test_an_unknown_error_type_is_kept_word_for_word() -> None:
    error = failure(envelope(error_type="OutOfCheese"), 418)
    assert (type(error), error.error_type) == (AgentError, "OutOfCheese")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, NotFoundError),
        (409, RequestError),
        (418, RequestError),
        (422, PayloadValidationError),
        (429, RateLimitedError),
        (500, HandlerError),
        (502, InvocationError),
        (503, UnavailableError),
        (504, InvocationTimeoutError),
        (302, InvocationError),
    ],
)
def test_without_an_error_type_the_status_says_the_class(status: int, kind: type[PPIOAgentRuntimeError]) -> None:
    error = failure({"error": "no"}, status)
    assert type(error) is kind
    assert error.status_code == status


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"error": "one"}, "one"),
        ({"error": {"message": "two"}}, "two"),
        ({"message": "three"}, "three"),
        ({"detail": "four"}, "four"),
        (b"five", "five"),
        ({}, "the agent responded with 500 without an error message"),
        (b"", "the agent responded with 500 without an error message"),
        ({"detail": [{"loc": 1}]}, "the agent responded with 500 without an error message"),
    ],
)
def test_the_message_is_what_the_server_says_in_its_own_way(body: object, sentence: str) -> None:
    assert str(failure(body)) == sentence


def test_a_long_page_is_quoted_shortly() -> None:
    assert len(str(failure(b"<html>" + b"x" * 10_000))) < 250


def test_the_request_id_comes_from_the_header_first() -> None:
    body = envelope(metadata={"request_id": "inside"})
    assert failure(body, x_ppio_request_id="outside").request_id == "outside"
    assert failure(body).request_id == "inside"


@pytest.mark.parametrize(
    "kind", ["RateLimitedError", "UnavailableError", "DrainingError", "SessionBusyError", "HandlerError", "Own"]
)
@pytest.mark.parametrize("headers", [{"retry_after": "1"}, {"ppio_agent_protocol": "1"}, {}])
def test_only_what_an_agent_refuses_with_a_time_to_come_again_is_retryable(kind: str, headers: dict[str, str]) -> None:
    assert not failure(envelope(error_type=kind), 503, **headers).retryable
    refused = failure(envelope(error_type=kind), 503, **PROTOCOL, retry_after="1")
    assert refused.retryable is kind.endswith(("LimitedError", "UnavailableError", "DrainingError", "BusyError"))
    own = envelope(error_type=kind, metadata={"status_code": 503})
    assert not failure(own, 503, **PROTOCOL, retry_after="1").retryable


def test_retry_after_is_kept() -> None:
    assert failure(envelope(error_type="RateLimitedError"), 429, retry_after="7").retry_after == 7.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("-1", 0.0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Fri, 15 Jan 2027 08:00:30", 30.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("inf", None),
        ("nan", None),
    ],
)
def test_both_forms_of_retry_after_are_seconds(value: str, seconds: float | None) -> None:
    assert retry_after_of({"retry-after": value}, unix_now=NOW) == seconds


@given(st.text())
def test_no_retry_after_breaks_the_client(value: str) -> None:
    seconds = retry_after_of({"retry-after": value}, unix_now=NOW)
    assert seconds is None or seconds >= 0


@given(st.binary(), st.integers(100, 599))
def test_whatever_a_server_answers_is_a_response_or_our_error(body: bytes, status: int) -> None:
    outcome: InvocationResponse | PPIOAgentRuntimeError
    try:
        outcome = read(body, status)
    except PPIOAgentRuntimeError as error:
        outcome = error
    assert isinstance(outcome, InvocationResponse) is (200 <= status < 300)


def test_errors_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(failure(envelope(error_type="DrainingError"), 503, retry_after="2")))
    assert (type(error), error.retry_after, str(error)) == (DrainingError, 2.0, "it broke")


@pytest.mark.parametrize(
    ("status", "body", "feeling"),
    [
        (200, {"status": "Healthy"}, PingStatus.HEALTHY),
        (200, {"status": "HealthyBusy"}, PingStatus.HEALTHY_BUSY),
        (200, {"status": "BUSY"}, PingStatus.HEALTHY_BUSY),
        (200, {"status": "down"}, PingStatus.UNHEALTHY),
        (200, {"status": False}, PingStatus.UNHEALTHY),
        (200, {"fine": True}, PingStatus.HEALTHY),
        (200, b"pong", PingStatus.HEALTHY),
        (503, {"status": "Unhealthy", "message": "no db"}, PingStatus.UNHEALTHY),
        (503, b"busy page", PingStatus.UNHEALTHY),
    ],
)
def test_a_ping_says_how_the_agent_feels(status: int, body: object, feeling: PingStatus) -> None:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert ping_of(status, {}, text, unix_now=NOW).status is feeling


def test_a_ping_keeps_what_else_it_was_told() -> None:
    answer = ping_of(200, {}, b'{"status":"ok","dependencies":{"db":"up"}}', unix_now=NOW)
    assert (answer.model_extra or {})["dependencies"] == {"db": "up"}


def test_a_ping_with_odd_fields_still_says_the_status() -> None:
    assert ping_of(503, {}, b'{"timestamp":"yesterday"}', unix_now=NOW).status is PingStatus.UNHEALTHY


def test_a_ping_that_is_not_about_health_is_an_error() -> None:
    with pytest.raises(NotFoundError):
        ping_of(404, {}, b"", unix_now=NOW)


def test_every_error_that_an_answer_can_be_is_exported() -> None:
    assert set(ERROR_TYPES) <= set(vars(ppio_agent_client)["__all__"])
