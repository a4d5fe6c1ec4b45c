"""Every route with every method, and every path that is none: what is not there is told in the same envelope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.calls import call, refusal
from tests.support.raw_http import Connection

pytestmark = pytest.mark.contract

ROUTES = {
    "/": {"GET", "HEAD"},
    "/ping": {"GET", "HEAD"},
    "/metrics": {"GET", "HEAD"},
    "/invocations": {"POST"},
    "/invocations/0123456789abcdef0123456789abcdef": {"GET", "HEAD", "DELETE"},
    "/invocations/0123456789abcdef0123456789abcdef/events": {"GET", "HEAD"},
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
NO_ROUTES = (
    "/nowhere",
    "/invocations/a/b",
    "/invocations/a/events/",
    "//ping",
    "/PING",
    "/ping/",
    "/%",
)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "with routes of its own"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    app = PPIOAgentRuntimeApp(AgentConfig())

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> None: ...

    if request.param:
        app.fastapi.get("/own")(lambda: {"own": True})
    with running(app) as url:
        yield url


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ROUTES)
def test_a_route_has_its_methods_and_no_other(url: str, path: str, method: str) -> None:
    answer = call(url, path, method=method, body=b"{}" if method in ("POST", "PUT", "PATCH") else None)
    if method in ROUTES[path]:
        assert answer.status in (200, 404)  # there is no such invocation
    elif method == "HEAD":
        assert answer.status == 405
    else:
        assert path in refusal(answer, 405, "MethodNotAllowedError")
        assert set(answer.headers["allow"].split(", ")) == ROUTES[path]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", NO_ROUTES)
def test_what_is_no_route_is_404_whatever_is_asked_of_it(url: str, path: str, method: str) -> None:
    answer = call(url, path, method=method)
    if method == "HEAD":
        assert answer.status == 404
    else:
        refusal(answer, 404, "NotFoundError")


def test_a_refusal_leaves_its_connection_to_the_next_request(url: str) -> None:
    with Connection(url) as connection:
        for path, status in (("/nowhere", 404), ("/invocations", 405), ("/ping", 200)):
            connection.send(f"GET {path} HTTP/1.1\r\nHost: agent\r\n\r\n".encode())
            assert connection.read_answer().status == status


def test_every_answer_has_a_date(url: str) -> None:
    for path in (*ROUTES, *NO_ROUTES):
        assert call(url, path, method="GET").headers["date"].endswith(" GMT")
