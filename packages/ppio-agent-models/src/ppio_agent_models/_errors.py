"""The exception tree of the whole SDK. One `except PPIOAgentRuntimeError` catches everything.

    PPIOAgentRuntimeError
    ├── ConfigurationError                 a setting, argument or file is wrong; fails at start
    ├── SerializationError                 a value cannot become JSON; names the path and the type
    └── AgentClientError
        ├── AuthenticationError            401: no credential, a wrong one, an expired one
        ├── TemplateNotFoundError          404
        ├── SessionNotFoundError           404
        ├── SandboxCreationError           the sandbox or the agent in it did not start
        │   ├── SandboxStartTimeoutError   ... within its time
        │   └── QuotaExceededError         the account's quota is used up
        ├── PlatformError                  the platform refused or failed a request about sandboxes or templates
        ├── SandboxGoneError               the sandbox ended while it was in use
        ├── SandboxPausedError             the sandbox is paused; resume it first
        ├── NetworkError                   no complete response arrived
        │   ├── ConnectTimeoutError        never sent
        │   ├── FirstByteTimeoutError      sent, but no response began in time
        │   ├── IdleTimeoutError           the response began and then went silent
        │   └── TotalTimeoutError          the whole call took too long for the client
        └── InvocationError                the agent was reached but returned no result
            ├── AgentError                 the agent says why: message and status are its own
            ├── HandlerError               500: the agent's code failed; details are in its log
            ├── InvocationTimeoutError     504: the handler ran out of time
            ├── InvocationCancelledError   409: it was cancelled
            ├── StreamInterruptedError     the stream was cut before its end
            ├── ResultValidationError      the result is not of the type that the caller asked for
            ├── RateLimitedError           429
            ├── UnavailableError           503: full or not ready
            │   └── DrainingError          503: shutting down
            └── RequestError               4xx: the call must change before it can succeed
                ├── BadRequestError          400
                ├── NotFoundError            404
                ├── MethodNotAllowedError    405
                ├── NotAcceptableError       406
                ├── RequestReadTimeoutError  408
                ├── SessionBusyError         409
                ├── EventsEvictedError       410
                ├── OtherInstanceError       412
                ├── PayloadTooLargeError     413
                ├── UnsupportedMediaTypeError 415
                ├── PayloadValidationError   422
                └── IdempotencyKeyReusedError 422

Both sides use the same classes: the runtime sends the class name as `error_type`, and the client raises the class
of that name. No name shadows a builtin, every class can be pickled, and no message carries a secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar


class PPIOAgentRuntimeError(Exception):
    """Base class of all errors of this SDK.

    Args:
        message: One sentence: what happened, to which thing, which limit, what to do next.
        status_code: HTTP status of the response that carried the error, or that will carry it.
        error_type: Name of the kind of error on the wire; the class name unless an agent chose its own.
        request_id: The id to quote when asking about this call.
        retry_after: Seconds to wait before a retry, if the other side named them.
        retryable: True only if no code of the agent has run for this call: it was never sent, or was refused before
            it began.
    """

    default_status: ClassVar[int | None] = None
    default_retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int | None = None,
        error_type: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status_code: int | None = self.default_status if status_code is None else status_code
        self.error_type: str = error_type or type(self).__name__
        self.request_id = request_id
        self.retry_after = retry_after
        self.retryable: bool = self.default_retryable if retryable is None else retryable

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.__dict__)


def _rebuild(kind: type[PPIOAgentRuntimeError], state: dict[str, Any]) -> PPIOAgentRuntimeError:
    error = kind.__new__(kind, state["message"])
    error.__dict__.update(state)
    return error


class ConfigurationError(PPIOAgentRuntimeError):
    """A setting, an argument or a file is wrong. Raised at start or registration, never in the middle of work."""


class SerializationError(PPIOAgentRuntimeError):
    """A value cannot become JSON. The message names its path (`result.items[3]`) and type, never the value."""

    default_status: ClassVar[int | None] = 500


class AgentClientError(PPIOAgentRuntimeError):
    """Base class of all errors that a client raises, except those about settings and serialization."""


class AuthenticationError(AgentClientError):
    """No credential, a wrong one, or an expired one."""

    default_status: ClassVar[int | None] = 401


class TemplateNotFoundError(AgentClientError):
    """No template has this id."""

    default_status: ClassVar[int | None] = 404


class SessionNotFoundError(AgentClientError):
    """No running sandbox belongs to this session id."""

    default_status: ClassVar[int | None] = 404


class SandboxCreationError(AgentClientError):
    """The sandbox, or the agent in it, did not start. `output` holds the last lines that the agent printed."""

    def __init__(self, message: str = "", *, output: str = "", **facts: Any) -> None:
        super().__init__(message, **facts)
        self.output = output


class SandboxStartTimeoutError(SandboxCreationError):
    """The agent was started and did not become healthy within its time."""


class QuotaExceededError(SandboxCreationError):
    """The account's quota of sandboxes, processors or memory is used up: end some, or ask for a larger quota."""

    default_status: ClassVar[int | None] = 429


class PlatformError(AgentClientError):
    """The platform refused or failed a request about sandboxes or templates. `request_id` is the platform's."""


class SandboxGoneError(AgentClientError):
    """The sandbox ended while it was in use: it expired, it was closed, or its agent crashed."""

    def __init__(self, message: str = "", *, output: str = "", **facts: Any) -> None:
        super().__init__(message, **facts)
        self.output = output


class SandboxPausedError(AgentClientError):
    """The sandbox is paused. `await session.resume()` wakes it."""


class NetworkError(AgentClientError):
    """No complete response arrived. `retryable` is True if the request was never sent."""


class ConnectTimeoutError(NetworkError):
    """No connection within `connect_timeout`; the request was never sent."""

    default_retryable: ClassVar[bool] = True


class FirstByteTimeoutError(NetworkError):
    """The request was sent, but no response began within `first_byte_timeout`."""


class IdleTimeoutError(NetworkError):
    """The response began, and then nothing arrived for `idle_timeout`."""


class TotalTimeoutError(NetworkError):
    """The whole call took longer than its `timeout`."""


class InvocationError(AgentClientError):
    """The agent was reached but didn't return a result."""


class AgentError(InvocationError):
    """Raise this in an agent to choose the error that the caller gets.

    The message reaches the caller unchanged, whatever `expose_errors` says.

    Args:
        message: A sentence for the caller.
        status_code: HTTP status of the response, 400 to 599.
        error_type: Name of the kind of error, `"AgentError"` unless given.
    """

    default_status: ClassVar[int | None] = 500


class HandlerError(InvocationError):
    """The agent's code raised an exception. Look for the request ID in the agent's log to see which one."""

    default_status: ClassVar[int | None] = 500


class InvocationTimeoutError(InvocationError):
    """The handler did not finish within its time."""

    default_status: ClassVar[int | None] = 504


class InvocationCancelledError(InvocationError):
    """The invocation was cancelled while it ran."""

    default_status: ClassVar[int | None] = 409


class StreamInterruptedError(InvocationError):
    """The stream ended without its closing event, because the connection was cut before it arrived.

    Args:
        last_event_id: The number of the last event that arrived, 0 when none did.
        received: How many chunks arrived before the cut.
    """

    def __init__(self, message: str = "", *, last_event_id: int = 0, received: int = 0, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.last_event_id = last_event_id
        self.received = received


class ResultValidationError(InvocationError):
    """The agent has responded, but its result or chunk isn't of the type that the caller asked for.

    Args:
        result: The agent's result or chunk, as plain JSON.
    """

    def __init__(self, message: str = "", *, result: Any = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.result = result


class RateLimitedError(InvocationError):
    """Too many requests; `retry_after` says how long to wait."""

    default_status: ClassVar[int | None] = 429
    default_retryable: ClassVar[bool] = True


class UnavailableError(InvocationError):
    """The agent cannot take this request now."""

    default_status: ClassVar[int | None] = 503
    default_retryable: ClassVar[bool] = True


class DrainingError(UnavailableError):
    """The agent is shutting down. `retryable` is False if that stopped a run, which may have done something already."""


class RequestError(InvocationError):
    """The agent refused the request before its code ran. The call must change before it can succeed."""


class BadRequestError(RequestError):
    """The body is not JSON, or a header or limit in the request is malformed."""

    default_status: ClassVar[int | None] = 400


class NotFoundError(RequestError):
    """No such route."""

    default_status: ClassVar[int | None] = 404


class MethodNotAllowedError(RequestError):
    """The route exists, but not with this method."""

    default_status: ClassVar[int | None] = 405


class NotAcceptableError(RequestError):
    """The `Accept` header allows neither JSON nor an event stream (RFC 9110, section 15.5.7)."""

    default_status: ClassVar[int | None] = 406


class RequestReadTimeoutError(RequestError):
    """The body did not arrive in time (RFC 9110, section 15.5.9)."""

    default_status: ClassVar[int | None] = 408


class SessionBusyError(RequestError):
    """Another invocation of the same session is running."""

    default_status: ClassVar[int | None] = 409
    default_retryable: ClassVar[bool] = True


class EventsEvictedError(RequestError):
    """The requested events are no longer kept. `first_event_id` is the first one that is."""

    default_status: ClassVar[int | None] = 410

    def __init__(self, message: str = "", *, first_event_id: int | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.first_event_id = first_event_id


class OtherInstanceError(RequestError):
    """The request was for another instance of the agent, so nothing ran here; an earlier attempt may have run there."""

    default_status: ClassVar[int | None] = 412


class PayloadTooLargeError(RequestError):
    """The body is larger than `max_request_size` bytes."""

    default_status: ClassVar[int | None] = 413


class UnsupportedMediaTypeError(RequestError):
    """The body is not `application/json`."""

    default_status: ClassVar[int | None] = 415


class PayloadValidationError(RequestError):
    """The body is JSON, but doesn't fit the agent's payload type."""

    default_status: ClassVar[int | None] = 422


class IdempotencyKeyReusedError(RequestError):
    """The `Idempotency-Key` was used before, with another body."""

    default_status: ClassVar[int | None] = 422


def _family(root: type[PPIOAgentRuntimeError]) -> Iterator[type[PPIOAgentRuntimeError]]:
    yield root
    for child in root.__subclasses__():
        yield from _family(child)


ERROR_TYPES: dict[str, type[PPIOAgentRuntimeError]] = {kind.__name__: kind for kind in _family(PPIOAgentRuntimeError)}
"""Every class of the tree by the name it has on the wire."""

for _kind in ERROR_TYPES.values():
    _kind.__module__ = "ppio_agent_models"  # as tracebacks, logs and traces name them: from where they are imported
del _kind
