"""Errors of routes that the agent has added to FastAPI, and beside them: the same envelope."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from starlette.exceptions import HTTPException

from ppio_agent_runtime import AgentError, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.calls import call, refusal
from tests.support.raw_http import get

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def handler(payload: dict[str, str]) -> None: ...

    @app.fastapi.get("/items/{number}")
    def item(number: int) -> int:
        if number == 0:
            raise HTTPException(410, "Sold.", {"X-Reason": "sold"})
        if number == 1:
            raise AgentError("Lent.", status_code=409, error_type="Lent")
        if number == 2:
            raise ValueError("a secret")
        return number

    with running(app) as address:
        yield address


@pytest.mark.parametrize("path", ["/nowhere", "/invocations", "/items/x", "/items/0", "/items/2"])
def test_request_id_of_the_caller_is_in_every_error(url: str, path: str) -> None:
    answer = call(url, path, method="GET", headers={"X-PPIO-Request-Id": "mine"})

    assert answer.json["metadata"]["request_id"] == "mine"
    assert answer.headers["x-ppio-request-id"] == "mine"


def test_unknown_route_beside_fastapi_is_404(url: str) -> None:
    refusal(get(url, "/nowhere"), 404, "NotFoundError")


def test_wrong_method_of_a_fastapi_route_is_405_with_the_allowed_ones(url: str) -> None:
    answer = call(url, "/items/5", method="DELETE")

    refusal(answer, 405, "MethodNotAllowedError")
    assert answer.headers["allow"] == "GET"


def test_invalid_parameter_of_a_fastapi_route_is_422_with_its_name(url: str) -> None:
    sentence = refusal(get(url, "/items/s3cr3t"), 422, "PayloadValidationError")

    assert "path.number" in sentence
    assert "s3cr3t" not in sentence


def test_http_exception_of_a_fastapi_route_keeps_status_and_headers(url: str) -> None:
    answer = get(url, "/items/0")

    assert refusal(answer, 410, "HTTPException") == "Sold."
    assert answer.headers["x-reason"] == "sold"


def test_agent_error_of_a_fastapi_route_reaches_the_caller(url: str, caplog: pytest.LogCaptureFixture) -> None:
    assert refusal(get(url, "/items/1"), 409, "Lent") == "Lent."
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_exception_of_a_fastapi_route_is_hidden_and_logged(url: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = get(url, "/items/2")

    assert "a secret" not in refusal(answer, 500, "HandlerError")
    assert f"A request failed (request {answer.headers['x-ppio-request-id']}): ValueError" in caplog.text
