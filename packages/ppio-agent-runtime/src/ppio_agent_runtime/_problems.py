"""The only place where an exception becomes an answer: status, sentence, kind, headers."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from ppio_agent_models import AgentError, HandlerError, PPIOAgentRuntimeError, SerializationError

if TYPE_CHECKING:
    from ._asgi import Send
    from ._context import Headers


@dataclass(frozen=True, slots=True)
class Problem:
    """What a caller is told about an error."""

    status: int
    message: str
    error_type: str
    headers: Headers = field(default_factory=list)

    def envelope(self, request_id: str, session_id: str | None, duration: float = 0.0) -> bytes:
        """Return the error envelope as JSON."""
        metadata = {"request_id": request_id, "session_id": session_id}
        return to_json(
            {
                "result": None,
                "status": "error",
                "duration": round(duration, 6),
                "metadata": metadata,
                "error": self.message,
                "error_type": self.error_type,
            }
        )


class HandlerFailureError(HandlerError):
    """An exception of the agent's own code on its way to the caller; `__cause__` is that exception."""


def handler_failure(error: BaseException) -> PPIOAgentRuntimeError:
    """Return what an exception of the agent's code becomes: itself where its author meant it for the caller."""
    if isinstance(error, AgentError | SerializationError):
        return error
    failure = HandlerFailureError("The agent failed.")
    failure.__cause__ = error
    return failure


def problem_of(error: BaseException, *, request_id: str, tells_errors: bool) -> Problem:
    """Return what the caller is told.

    Args:
        tells_errors: Show class and message of the agent's own exceptions.
    """
    if isinstance(error, HandlerFailureError):
        cause = error.__cause__
        if (http := _http_exception(cause)) is not None:
            return http
        if isinstance(cause, PPIOAgentRuntimeError):
            # From a client that the agent used itself: the sentence is safe, its status would speak of another call.
            return Problem(500, cause.message, "HandlerError")
        if tells_errors and cause is not None:
            return Problem(500, f"{type(cause).__name__}: {cause}", "HandlerError")
        return Problem(500, f"The agent failed. Its log has the reason under request id {request_id}.", "HandlerError")
    if isinstance(error, PPIOAgentRuntimeError):
        status = error.status_code or 500
        return Problem(status, error.message, error.error_type, _retry_after(error.retry_after))
    if tells_errors:
        return Problem(500, f"{type(error).__name__}: {error}", "InternalError")
    return Problem(500, f"The runtime failed. Its log has the reason under request id {request_id}.", "InternalError")


def _retry_after(seconds: float | None) -> Headers:
    return [] if seconds is None else [(b"retry-after", str(math.ceil(seconds)).encode())]


def _http_exception(error: BaseException | None) -> Problem | None:
    """Return the problem that a Starlette or FastAPI `HTTPException` describes, without importing either."""
    module = sys.modules.get("starlette.exceptions")
    if error is None or module is None or not isinstance(error, module.HTTPException):
        return None
    raised: Any = error
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in (raised.headers or {}).items()]
    return Problem(raised.status_code, str(raised.detail), "HTTPException", headers)


async def send_problem(
    send: Send, problem: Problem, *, request_id: str, session_id: str | None, headers: Headers, duration: float = 0.0
) -> None:
    """Answer with the error envelope.

    Args:
        headers: Further response headers, such as the ids.
    """
    body = problem.envelope(request_id, session_id, duration)
    own: Headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": problem.status, "headers": own + problem.headers + headers})
    await send({"type": "http.response.body", "body": body})
