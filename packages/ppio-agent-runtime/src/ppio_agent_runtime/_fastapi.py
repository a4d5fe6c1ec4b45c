"""The FastAPI app inside: docs and the user's own routes. The only file that imports fastapi, on first need."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ppio_agent_models import AgentError, InvocationResponse, PingResponse

from ._parse import read_headers, request_id_of
from ._problems import Problem, handler_failure, problem_of, problem_of_http_exception
from ._respond import identity_headers, log_failure
from ._version import __version__

if TYPE_CHECKING:
    from ._config import AgentConfig
    from ._handler import Handler

_ERRORS = {
    400: "Not JSON, not UTF-8, empty, too deep, or a malformed header",
    406: "The Accept header allows neither JSON nor an event stream",
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "The body is not application/json",
    422: "The body does not fit the agent's payload type",
    500: "The agent failed",
    503: "The agent is draining",
    504: "The agent did not finish in time",
}


def build(config: AgentConfig, handler: Callable[[], Handler | None]) -> FastAPI:
    """Return a FastAPI app whose every error is our envelope; with `debug` it serves `/docs` and `/openapi.json`.

    Args:
        handler: Returns the agent's handler, which may be registered after this call.
    """
    app = FastAPI(
        title="PPIO agent",
        version=__version__,
        docs_url="/docs" if config.debug else None,
        redoc_url=None,
        openapi_url="/openapi.json" if config.debug else None,
    )
    _describe_agent_routes(app, handler)

    def answer(request: Request, problem: Problem, request_id: str | None = None) -> Response:
        if request_id is None:
            request_id = request_id_of(read_headers(request.scope))
        response = Response(problem.envelope(request_id, None), problem.status, media_type="application/json")
        response.raw_headers += problem.headers + identity_headers(request_id, None)
        return response

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
        kind = {404: "NotFoundError", 405: "MethodNotAllowedError"}.get(error.status_code, "HTTPException")
        return answer(request, problem_of_http_exception(error, kind))

    @app.exception_handler(AgentError)
    async def on_agent_error(request: Request, error: AgentError) -> Response:
        request_id = request_id_of(read_headers(request.scope))
        problem = problem_of(error, request_id=request_id, tells_errors=config.tells_errors)
        if problem.status >= 500:
            log_failure(error, request_id)
        return answer(request, problem, request_id)

    @app.exception_handler(RequestValidationError)
    async def on_validation_error(request: Request, error: RequestValidationError) -> Response:
        fields = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        return answer(request, Problem(422, f"The request is not valid: {fields}.", "PayloadValidationError"))

    @app.exception_handler(Exception)
    async def on_exception(request: Request, error: Exception) -> Response:
        request_id = request_id_of(read_headers(request.scope))
        failure = handler_failure(error)
        log_failure(failure, request_id)
        problem = problem_of(failure, request_id=request_id, tells_errors=config.tells_errors)
        return answer(request, problem, request_id)

    return app


def _describe_agent_routes(app: FastAPI, handler: Callable[[], Handler | None]) -> None:
    """Add to the OpenAPI document the routes that are answered in front of FastAPI."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        if "/invocations" not in document.setdefault("paths", {}):
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas["InvocationResponse"] = InvocationResponse.model_json_schema()
            ping = PingResponse.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= ping.pop("$defs", {}) | {"PingResponse": ping}
            registered = handler()
            adapter: TypeAdapter[Any] = TypeAdapter(dict if registered is None else registered.payload_type)
            payload = adapter.json_schema(ref_template="#/components/schemas/{model}")
            schemas |= payload.pop("$defs", {})
            document["paths"] |= _agent_paths(payload)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # the documented way to extend the document


def _agent_paths(payload: dict[str, Any]) -> dict[str, Any]:
    envelope = {"application/json": {"schema": {"$ref": "#/components/schemas/InvocationResponse"}}}
    ping = {"application/json": {"schema": {"$ref": "#/components/schemas/PingResponse"}}}
    headers = [
        ("X-PPIO-Session-Id", "The session, percent-encoded UTF-8, at most 256 characters", {"type": "string"}),
        ("X-PPIO-Request-Id", "Repeated in the answer and in the agent's log", {"type": "string"}),
        ("X-PPIO-User-Id", "Reaches the agent as context.user_id", {"type": "string"}),
        ("X-PPIO-Timeout", "Longest time in seconds", {"type": "number", "exclusiveMinimum": 0}),
        ("PPIO-Agent-Protocol", "1: numbered events, closed by done or error", {"type": "string", "enum": ["1"]}),
    ]
    invoke = {
        "summary": "Invoke the agent",
        "description": "Answers JSON, or server-sent events for `Accept: text/event-stream`.",
        "parameters": [
            {"name": name, "in": "header", "required": False, "description": text, "schema": schema}
            for name, text, schema in headers
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": payload}}},
        "responses": {
            "200": {
                "description": "The result, or the stream",
                "content": envelope | {"text/event-stream": {"schema": {"type": "string"}}},
            },
            **{str(status): {"description": text, "content": envelope} for status, text in _ERRORS.items()},
        },
    }
    health = {
        "summary": "Health",
        "responses": {
            "200": {"description": "Healthy or HealthyBusy", "content": ping},
            "503": {"description": "Unhealthy or draining", "content": ping},
        },
    }
    return {"/invocations": {"post": invoke}, "/ping": {"get": health}}
