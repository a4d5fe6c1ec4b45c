"""The FastAPI app for docs and the user's own routes. Only this file imports fastapi, when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ppio_agent_models import AgentError

from .._version import __version__
from ..errors import ErrorResponse, error_response, handler_failure, http_exception_response
from ..http.request import by_name, request_id_of
from ..http.responses import identity_headers, log_failure
from .openapi import describe_agent

if TYPE_CHECKING:
    from ..config import AgentConfig
    from ..handler import Handler

__all__ = ["FastAPI", "build"]


def build(config: AgentConfig, handler: Callable[[], Handler | None]) -> FastAPI:
    """Return a FastAPI app whose every error is our envelope; with `debug` it serves `/openapi.json`.

    Args:
        handler: Returns the agent's handler, which may be registered after this call.
    """
    app = FastAPI(
        title="PPIO agent",
        version=__version__,
        docs_url=None,  # its page loads files from a CDN; see `console.docs_page`
        redoc_url=None,
        openapi_url="/openapi.json" if config.debug else None,
    )
    _describe_agent_routes(app, handler)

    def answer(request: Request, problem: ErrorResponse, request_id: str | None = None) -> Response:
        if request_id is None:
            request_id = request_id_of(by_name(request.scope["headers"]))
        response = Response(problem.envelope(request_id, None), problem.status, media_type="application/json")
        response.raw_headers += problem.headers + identity_headers(request_id, None)
        return response

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
        kind = {404: "NotFoundError", 405: "MethodNotAllowedError"}.get(error.status_code, "HTTPException")
        return answer(request, http_exception_response(error, kind))

    @app.exception_handler(RequestValidationError)
    async def on_validation_error(request: Request, error: RequestValidationError) -> Response:
        fields = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        return answer(request, ErrorResponse(422, f"The request is not valid: {fields}.", "PayloadValidationError"))

    @app.exception_handler(AgentError)
    @app.exception_handler(Exception)
    async def on_exception(request: Request, error: Exception) -> Response:
        request_id = request_id_of(by_name(request.scope["headers"]))
        failure = handler_failure(error)
        problem = error_response(failure, request_id=request_id, tells_errors=config.tells_errors)
        if problem.status >= 500:
            log_failure(failure, request_id)
        return answer(request, problem, request_id)

    return app


def _describe_agent_routes(app: FastAPI, handler: Callable[[], Handler | None]) -> None:
    """Add the routes that are handled before FastAPI to the OpenAPI document."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        if "/invocations" not in document.setdefault("paths", {}):
            registered = handler()
            paths, schemas = describe_agent(dict if registered is None else registered.payload_type)
            document.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
            document["paths"] |= paths
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # the documented way to extend the document
