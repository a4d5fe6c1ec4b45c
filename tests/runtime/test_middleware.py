"""Middleware around every route, as functions and as ASGI classes."""

from __future__ import annotations

from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse

from ppio_agent_runtime import AgentError, ConfigurationError, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.calls import call, refusal
from tests.support.gates import Gate
from tests.support.middleware import CallNext, Middleware, breaks, make_app, serving
from tests.support.raw_http import EVENT_STREAM, get, invoke, streaming

pytestmark = pytest.mark.contract


async def adds_a_header(request: Request, call_next: CallNext) -> Any:
    response = await call_next(request)
    response.headers["X-Seen"] = request.url.path
    return response


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/invocations", 200),
        ("GET", "/invocations", 405),
        ("GET", "/ping", 200),
        ("GET", "/", 200),
        ("GET", "/nowhere", 404),
    ],
)
def test_function_is_around_every_route(method: str, path: str, status: int) -> None:
    with serving(adds_a_header) as url:
        answer = call(url, path, method=method, body=b"1" if method == "POST" else None)

    assert (answer.status, answer.headers["x-seen"]) == (status, path)


def test_function_may_change_the_status() -> None:
    async def teapot(request: Request, call_next: CallNext) -> Any:
        response = await call_next(request)
        response.status_code = 418
        return response

    with serving(teapot) as url:
        answer = invoke(url, {})

    assert (answer.status, answer.json["result"]) == (418, {})


def test_function_sees_the_status_of_the_inside() -> None:
    seen = []

    async def notes(request: Request, call_next: CallNext) -> Any:
        response = await call_next(request)
        seen.append((response.status_code, response.headers["content-type"]))
        return response

    with serving(notes) as url:
        get(url, "/nowhere")

    assert seen == [(404, "application/json")]


def test_function_may_remove_a_header() -> None:
    async def removes(request: Request, call_next: CallNext) -> Any:
        response = await call_next(request)
        del response.headers["X-PPIO-Invocation-Id"]
        return response

    with serving(removes) as url:
        assert "x-ppio-invocation-id" not in invoke(url, {}).headers


def test_function_may_answer_itself() -> None:
    async def answers(request: Request, call_next: CallNext) -> Any:
        return JSONResponse({"own": True}, 401)

    with serving(answers) as url:
        answer = invoke(url, {})

    assert (answer.status, answer.json) == (401, {"own": True})


def test_function_may_answer_something_else_after_the_inside_answered() -> None:
    async def replaces(request: Request, call_next: CallNext) -> Any:
        await call_next(request)
        return PlainTextResponse("replaced")

    with serving(replaces) as url:
        assert invoke(url, {}).body == b"replaced"
        assert get(url, "/ping").body == b"replaced"


def test_function_may_read_the_body_that_the_inside_reads_too() -> None:
    seen = []

    async def reads(request: Request, call_next: CallNext) -> Any:
        seen.append(await request.json())
        assert await request.body()
        return await call_next(request)

    with serving(reads) as url:
        result = invoke(url, {"n": 1}).result

    assert seen == [result] == [{"n": 1}]


def test_two_functions_may_read_the_same_body() -> None:
    seen = []

    async def reads(request: Request, call_next: CallNext) -> Any:
        seen.append(await request.body())
        return await call_next(request)

    with serving(reads, reads) as url:
        assert call(url, body=b"[1]").result == [1]

    assert seen == [b"[1]", b"[1]"]


def test_function_may_read_the_body_after_the_inside_was_asked() -> None:
    async def late(request: Request, call_next: CallNext) -> Any:
        await request.body()
        response = await call_next(request)
        assert await request.body() == b"1"
        return response

    with serving(late) as url:
        assert call(url, body=b"1").result == 1


def test_last_registered_function_is_the_outermost() -> None:
    order = []

    def named(name: str) -> Middleware:
        async def middleware(request: Request, call_next: CallNext) -> Any:
            order.append(f"{name} in")
            response = await call_next(request)
            order.append(f"{name} out")
            return response

        return middleware

    with serving(named("first"), named("second")) as url:
        get(url, "/ping")

    assert order == ["second in", "first in", "first out", "second out"]


def test_stream_flows_through_unbuffered() -> None:
    gate = Gate()
    app = PPIOAgentRuntimeApp()
    app.middleware(adds_a_header)

    @app.entrypoint
    async def handler(payload: Any) -> AsyncIterator[int]:
        yield 1
        await gate.passed()
        yield 2

    with running(app) as url, streaming(url, {}, EVENT_STREAM) as connection:
        blocks = connection.blocks()
        assert next(blocks) == b"data: 1"
        gate.open()
        assert list(blocks) == [b"data: 2", b": done"]


async def breaks_after(request: Request, call_next: CallNext) -> Any:
    await call_next(request)
    raise ValueError("a secret")


async def returns_nothing(request: Request, call_next: CallNext) -> Any:
    return None


async def calls_twice(request: Request, call_next: CallNext) -> Any:
    await call_next(request)
    return await call_next(request)


@pytest.mark.parametrize("middleware", [breaks, breaks_after, returns_nothing, calls_twice])
@pytest.mark.parametrize("path", ["/invocations", "/ping", "/nowhere"])
def test_function_that_breaks_is_an_envelope_on_every_route(middleware: Middleware, path: str) -> None:
    with serving(middleware) as url:
        answer = call(url, path, body=b"1") if path == "/invocations" else get(url, path)

    assert "a secret" not in refusal(answer, 500, "HandlerError")


def test_function_that_breaks_is_logged_with_the_request_id(caplog: pytest.LogCaptureFixture) -> None:
    with serving(breaks) as url:
        request_id = get(url, "/ping").headers["x-ppio-request-id"]

    assert f"A request failed (request {request_id}): ValueError" in caplog.text


def test_message_of_a_function_that_breaks_is_told_with_expose_errors() -> None:
    with serving(breaks, expose_errors=True) as url:
        assert refusal(get(url, "/ping"), 500, "HandlerError") == "ValueError: a secret"


@pytest.mark.parametrize(
    ("error", "status", "error_type", "sentence"),
    [
        (AgentError("Not you.", status_code=403, error_type="Refused"), 403, "Refused", "Not you."),
        (HTTPException(401, "Who?", {"WWW-Authenticate": "Bearer"}), 401, "HTTPException", "Who?"),
    ],
)
def test_function_may_raise_what_the_caller_is_told(
    error: Exception, status: int, error_type: str, sentence: str
) -> None:
    async def refuses(request: Request, call_next: CallNext) -> Any:
        raise error

    with serving(refuses) as url:
        answer = invoke(url, {})

    assert refusal(answer, status, error_type) == sentence
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)


def test_failure_of_the_agent_is_an_answer_to_the_function() -> None:
    with serving(adds_a_header) as url:
        answer = invoke(url, {"fail": True})

    refusal(answer, 500, "HandlerError")
    assert answer.headers["x-seen"] == "/invocations"


def test_exception_of_a_fastapi_route_is_answered_once_through_a_function() -> None:
    app = make_app(adds_a_header)

    @app.fastapi.get("/broken")
    def broken() -> None:
        raise ValueError("a secret")

    with running(app) as url:
        answer = get(url, "/broken")

    refusal(answer, 500, "HandlerError")
    assert answer.headers["x-seen"] == "/broken"


Scope = MutableMapping[str, Any]


class Stamp:
    def __init__(self, app: Any, *, name: str, value: str = "1") -> None:
        self.app = app
        self.header = (name.encode(), value.encode())

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        async def stamped(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], self.header]
            await send(message)

        await self.app(scope, receive, stamped)


class Breaking:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            raise ValueError("a secret")
        await self.app(scope, receive, send)


def test_asgi_class_gets_its_options_and_is_around_every_route() -> None:
    app = make_app()
    app.add_middleware(Stamp, name="x-stamp", value="blue")

    with running(app) as url:
        assert [get(url, path).headers["x-stamp"] for path in ("/ping", "/nowhere")] == ["blue", "blue"]


def test_asgi_class_that_breaks_is_an_envelope() -> None:
    app = make_app()
    app.add_middleware(Breaking)

    with running(app) as url:
        refusal(get(url, "/ping"), 500, "HandlerError")


def test_middleware_after_the_first_request_is_refused() -> None:
    app = make_app()
    with running(app) as url:
        get(url, "/ping")

        with pytest.raises(ConfigurationError, match="before the app serves"):
            app.add_middleware(Breaking)


def test_middleware_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"@app\.middleware without arguments"):
        make_app().middleware("http")  # type: ignore[type-var]
    with pytest.raises(ConfigurationError, match=r"app\.add_middleware\(TheClass\)"):
        make_app().middleware(CORSMiddleware)
