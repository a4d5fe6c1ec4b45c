"""The browser's questions about other origins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from ppio_agent_runtime.testing import running
from tests.support.calls import call, refusal
from tests.support.middleware import CallNext, breaks, make_app, serving
from tests.support.raw_http import EVENT_STREAM, Answer, get, invoke

pytestmark = pytest.mark.contract

ORIGIN = "https://a.example"


def preflight(url: str, path: str = "/invocations", origin: str = ORIGIN, **headers: str) -> Answer:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", **headers}
    return call(url, path, method="OPTIONS", headers=asked)


def cors_headers(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


@pytest.fixture(scope="module")
def any_origin() -> Iterator[str]:
    with serving() as url:
        yield url


@pytest.fixture(scope="module")
def listed_origins() -> Iterator[str]:
    with serving(cors_origins=[ORIGIN, "https://b.example"]) as url:
        yield url


def test_request_without_an_origin_gets_no_cors_headers(any_origin: str) -> None:
    assert cors_headers(get(any_origin, "/ping")) == {}


@pytest.mark.parametrize("path", ["/ping", "/nowhere", "/"])
def test_any_origin_may_read_every_answer(any_origin: str, path: str) -> None:
    answer = call(any_origin, path, method="GET", headers={"Origin": ORIGIN})

    assert answer.headers["access-control-allow-origin"] == "*"
    assert "x-ppio-request-id" in answer.headers["access-control-expose-headers"]


def test_preflight_is_answered_for_any_origin(any_origin: str) -> None:
    answer = preflight(any_origin, **{"Access-Control-Request-Headers": "content-type, x-ppio-session-id"})

    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-headers"] == "content-type, x-ppio-session-id"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_preflight_allows_the_methods_of_routes_that_agents_add(any_origin: str, method: str) -> None:
    allowed = preflight(any_origin, "/own").headers["access-control-allow-methods"]

    assert method in allowed.split(", ")


def test_listed_origin_is_named_in_the_answer(listed_origins: str) -> None:
    answer = call(listed_origins, "/ping", method="GET", headers={"Origin": ORIGIN})

    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["vary"] == "origin"


@pytest.mark.parametrize("origin", ["https://c.example", "https://a.example.evil.example", "null", "HTTPS://A.EXAMPLE"])
def test_other_origin_is_not_allowed(listed_origins: str, origin: str) -> None:
    answer = call(listed_origins, "/ping", method="GET", headers={"Origin": origin})

    assert cors_headers(answer) == {}
    assert answer.headers["vary"] == "origin"


def test_preflight_of_another_origin_allows_nothing(listed_origins: str) -> None:
    assert cors_headers(preflight(listed_origins, origin="https://c.example")) == {}


@pytest.mark.parametrize("fixture", ["any_origin", "listed_origins"])
def test_credentials_are_never_allowed(fixture: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(fixture)
    simple = call(url, "/ping", method="GET", headers={"Origin": ORIGIN, "Cookie": "a=b"})

    assert "access-control-allow-credentials" not in {**simple.headers, **preflight(url).headers}


def test_options_without_a_preflight_question_is_405(any_origin: str) -> None:
    refusal(call(any_origin, method="OPTIONS", headers={"Origin": ORIGIN}), 405, "MethodNotAllowedError")


def test_errors_of_middleware_can_be_read_by_browsers() -> None:
    with serving(breaks) as url:
        answer = call(url, "/ping", method="GET", headers={"Origin": ORIGIN})

    refusal(answer, 500, "HandlerError")
    assert answer.headers["access-control-allow-origin"] == "*"


def test_no_origins_leave_the_question_to_the_agents_own_middleware() -> None:
    app = make_app(cors_origins=[])

    async def own(request: Request, call_next: CallNext) -> Any:
        if request.method == "OPTIONS":
            return PlainTextResponse("own preflight")
        return await call_next(request)

    app.middleware(own)
    with running(app) as url:
        assert preflight(url).body == b"own preflight"


def test_streams_can_be_read_by_browsers(any_origin: str) -> None:
    answer = invoke(any_origin, {}, {**EVENT_STREAM, "Origin": ORIGIN})

    assert answer.headers["access-control-allow-origin"] == "*"
    assert json.loads(answer.body.split(b"\n")[0].removeprefix(b"data: ")) == {}
