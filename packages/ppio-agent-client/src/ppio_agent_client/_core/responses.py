"""Converts an HTTP response to a result or an exception."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import ppio_agent_models as models
from ppio_agent_models import (
    ERROR_TYPES,
    IDEMPOTENCY_REPLAYED_HEADER,
    INSTANCE_HEADER,
    INVOCATION_ID_HEADER,
    PROTOCOL_HEADER,
    PROTOCOL_VERSION,
    REQUEST_ID_HEADER,
    AgentError,
    AuthenticationError,
    BadRequestError,
    EventsEvictedError,
    HandlerError,
    InvocationError,
    InvocationTimeoutError,
    MethodNotAllowedError,
    NetworkError,
    NotAcceptableError,
    NotFoundError,
    PayloadTooLargeError,
    PayloadValidationError,
    PPIOAgentRuntimeError,
    RateLimitedError,
    RequestError,
    RequestReadTimeoutError,
    UnavailableError,
    UnsupportedMediaTypeError,
)

from . import json_codec

_MAX_QUOTED_CHARS = 200
_BY_STATUS: dict[int, type[PPIOAgentRuntimeError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    405: MethodNotAllowedError,
    406: NotAcceptableError,
    408: RequestReadTimeoutError,
    413: PayloadTooLargeError,
    415: UnsupportedMediaTypeError,
    422: PayloadValidationError,
    429: RateLimitedError,
    503: UnavailableError,
    504: InvocationTimeoutError,
}
_GATEWAYS = frozenset({407, 502, 504})
_SOMEBODY = "a gateway or proxy before the agent"
_SERVER = re.compile(r"[\w./ -]{1,40}")
_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_REFUSALS = frozenset({"RateLimitedError", "UnavailableError", "DrainingError", "SessionBusyError"})
_BUSY_WORDS = frozenset({"healthybusy", "busy", "working"})
_UNHEALTHY_WORDS = frozenset({"unhealthy", "down", "error", "false"})


def response_of(status: int, headers: Mapping[str, str], body: bytes, *, unix_now: float) -> models.InvocationResponse:
    """Return an agent's response.

    A successful body without an envelope, from another kind of agent, becomes the result unchanged, except a web page,
    which is from another server. Names in `headers` are in lower case; `unix_now` is for a `Retry-After` that is a
    date.

    Raises:
        PPIOAgentRuntimeError: The response is an error; the class says which.
    """
    value = json_codec.load_or_text(body)
    if not 200 <= status < 300:
        raise error_of(status, headers, value, unix_now=unix_now)
    envelope = envelope_of(value)
    if envelope is None:
        _refuse_page(status, headers, value)
        return models.InvocationResponse(result=value, metadata=_only_request_id(headers))
    if envelope.status == "error":
        raise error_of(status, headers, value, unix_now=unix_now)
    return envelope


def resource_of(status: int, headers: Mapping[str, str], body: bytes, *, unix_now: float) -> models.InvocationResource:
    """Return the invocation resource in a response.

    Raises:
        PPIOAgentRuntimeError: The response is an error, or not an invocation resource.
    """
    if not 200 <= status < 300:
        response_of(status, headers, body, unix_now=unix_now)
    try:
        return models.InvocationResource.model_validate(json_codec.load(body))
    except ValueError as error:
        raise InvocationError(
            f"the agent responded with {status}, but not with an invocation; only agents of protocol "
            f"{PROTOCOL_VERSION} support background invocations, so use invoke() instead"
        ) from error


def result_of(resource: models.InvocationResource) -> models.InvocationResponse:
    """Return the result of a finished invocation.

    Raises:
        EventsEvictedError: It was a stream, and is not kept as one value.
        PPIOAgentRuntimeError: It failed or was cancelled; the class says why.
    """
    if resource.first_event_id is not None:
        raise EventsEvictedError(
            f"invocation {resource.invocation_id} has more events than its agent keeps, so there is no result; read "
            f"those that are kept with events(after={resource.first_event_id - 1})",
            first_event_id=resource.first_event_id,
        )
    response = resource.response or models.InvocationResponse(status="error")
    if response.status == "error":
        raise error_from_envelope(response.model_dump(), None, {})
    return response._known_as(resource.invocation_id)


def invocation_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the invocation ID in a response's headers."""
    return headers.get(INVOCATION_ID_HEADER.lower()) or None


def instance_of(headers: Mapping[str, str]) -> str | None:
    """Return the instance of the agent that responded, or None if the headers have none."""
    return headers.get(INSTANCE_HEADER.lower()) or None


def speaks_protocol(headers: Mapping[str, str]) -> bool:
    """Return whether the sender of these headers uses protocol 1."""
    return headers.get(PROTOCOL_HEADER.lower()) == PROTOCOL_VERSION


def was_replayed(headers: Mapping[str, str]) -> bool:
    """Return whether this is the response to an earlier request with the same key."""
    return headers.get(IDEMPOTENCY_REPLAYED_HEADER.lower(), "").strip().lower() == "true"


def envelope_of(value: Any) -> models.InvocationResponse | None:
    """Return `value` as an envelope, or None if it isn't one."""
    if not isinstance(value, dict) or value.get("status") not in ("success", "error"):
        return None
    if "result" not in value and "error" not in value and "duration" not in value:
        return None
    try:
        return models.InvocationResponse.model_validate(value)
    except ValueError:
        return None


def error_of(status: int, headers: Mapping[str, str], value: Any, *, unix_now: float) -> PPIOAgentRuntimeError:
    """Return the exception for an error response with the decoded body `value`; it may come from a gateway."""
    if not isinstance(value, dict) and not speaks_protocol(headers) and (other := _who_else(status, headers, value)):
        described = {"error": other, "error_type": None}
        if status // 100 == 3 or status in _GATEWAYS:
            return NetworkError(other, status_code=status, request_id=request_id_of(headers))
        return error_from_envelope(described, status, headers, unix_now=unix_now)
    envelope = value if isinstance(value, dict) else {"error": _quoted(value)}
    return error_from_envelope(envelope, status, headers, unix_now=unix_now)


def _refuse_page(status: int, headers: Mapping[str, str], value: Any) -> None:
    """Raise for a web page with a success status, such as a login form, unless it is from an agent of protocol 1."""
    is_html = headers.get("content-type", "").partition(";")[0].strip().lower() in _PAGES
    if status != 503 and is_html and not speaks_protocol(headers) and (other := _who_else(status, headers, value)):
        raise NetworkError(other, status_code=status, request_id=request_id_of(headers))


def _who_else(status: int, headers: Mapping[str, str], value: Any) -> str:
    """Return a description of a response by a gateway or proxy; "" if it may come from the agent."""
    server = headers.get("server", "")
    who = f"a gateway or proxy before the agent ({server})" if _SERVER.fullmatch(server) else _SOMEBODY
    if status // 100 == 3:
        location = headers.get("location", "")
        to = f" and redirects to {_without_credentials(location)!r}" if location else ""
        return f"{who} responded with {status}{to}; redirects are not followed, so pass that URL if it is right"
    if status == 407:
        return f"{who} responded with 407; set credentials: ClientConfig(proxy='http://user:password@host:port')"
    if status in _GATEWAYS:
        return f"{who} responded with {status}: it cannot reach the agent, or lost the connection to it"
    is_page = isinstance(value, str) and value.lstrip()[:1] == "<"
    return f"{who} responded with {status} and a web page; is the URL right?" if is_page else ""


def _without_credentials(address: str) -> str:
    shown = re.sub(r"(?<=//)[^/?#]*@|[?#].*", "", address)
    return shown if len(shown) <= _MAX_QUOTED_CHARS else shown[:_MAX_QUOTED_CHARS] + "…"


def error_from_envelope(
    envelope: Mapping[str, Any], status: int | None, headers: Mapping[str, str], *, unix_now: float | None = None
) -> PPIOAgentRuntimeError:
    """Return the exception for an error envelope: of the class of its `error_type`, else of its status.

    The envelope is a JSON object, ours or another server's; `status` is None if it came inside a stream, and `unix_now`
    is None if there can be no `Retry-After`.
    """
    name = envelope.get("error_type")
    error_type = name if isinstance(name, str) and name else None
    kind = ERROR_TYPES.get(error_type or "") or _class_of(status, error_type)
    facts = _facts_in(envelope)
    if status is None or 200 <= status < 300:
        # Inside a stream or a stored response, there is no status line with the status that the agent chose.
        own = facts.get("status_code")
        status = own if isinstance(own, int) else None
    error = kind(
        _sentence(envelope, status),
        status_code=status,
        error_type=error_type,
        request_id=request_id_of(headers, envelope),
        retry_after=None if unix_now is None else retry_after_of(headers, unix_now=unix_now),
        retryable=is_refusal(headers, envelope),
    )
    first = facts.get("first_event_id")
    if isinstance(error, EventsEvictedError) and isinstance(first, int):
        error.first_event_id = first
    return error


def is_refusal(headers: Mapping[str, str], envelope: Any) -> bool:
    """Return whether an error response means that the agent refused new work, so none of its code has run.

    The runtime then sends `Retry-After`; it doesn't if a drain stopped a run. An error that the agent's own code raised
    has `metadata.status_code`. Responses of other servers are not trusted, because their code may have run.
    """
    if not speaks_protocol(headers) or "retry-after" not in headers or not isinstance(envelope, dict):
        return False
    return envelope.get("error_type") in _REFUSALS and "status_code" not in _facts_in(envelope)


def _facts_in(envelope: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the machine-readable fields of an error envelope; other servers have them at the top level."""
    metadata = envelope.get("metadata")
    return {**envelope, **metadata} if isinstance(metadata, dict) else envelope


def _class_of(status: int | None, error_type: str | None) -> type[PPIOAgentRuntimeError]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if error_type is not None:
        return AgentError  # a name that is not in the tree was chosen by the agent
    if status is not None and 400 <= status < 500:
        return RequestError
    return HandlerError if status in {None, 500} else InvocationError


def _sentence(envelope: Mapping[str, Any], status: int | None) -> str:
    """Return the server's error message, in any common format, or a description of the status."""
    for field in ("error", "message", "detail"):
        said = envelope.get(field)
        if isinstance(said, dict):
            said = said.get("message")
        if isinstance(said, str) and said.strip():
            return said
    if status is None:
        return "the agent failed without an error message"
    return f"the agent responded with {status} without an error message"


def request_id_of(headers: Mapping[str, str], envelope: Mapping[str, Any] | None = None) -> str | None:
    """Return the request ID, from the header, else from the envelope's metadata."""
    from_header = headers.get(REQUEST_ID_HEADER.lower()) or headers.get("x-request-id")
    if from_header:
        return from_header
    metadata = (envelope or {}).get("metadata")
    found = metadata.get("request_id") if isinstance(metadata, dict) else (envelope or {}).get("request_id")
    return found if isinstance(found, str) else None


def retry_after_of(headers: Mapping[str, str], *, unix_now: float) -> float | None:
    """Return `Retry-After` in seconds; it is a number or a date (RFC 9110, section 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        from email.utils import parsedate_to_datetime  # a rare form, and the import is slow

        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        # A date without a zone is in UTC: HTTP knows no other (RFC 9110, section 5.6.7).
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.fromtimestamp(unix_now, UTC)).total_seconds()
    return max(seconds, 0.0) if seconds < float("inf") else None


def ping_of(status: int, headers: Mapping[str, str], body: bytes, *, unix_now: float) -> models.PingResponse:
    """Return the health of an agent. 503 is Unhealthy; 200 is Healthy, unless its status says otherwise.

    Raises:
        PPIOAgentRuntimeError: The response is not about health: no such route, no permission, a web page.
    """
    value = json_codec.load_or_text(body)
    if status != 503 and not 200 <= status < 300:
        raise error_of(status, headers, value, unix_now=unix_now)
    _refuse_page(status, headers, value)
    said = value if isinstance(value, dict) else {"status": value}
    health = models.PingStatus.UNHEALTHY if status == 503 else _ping_status(said.get("status"))
    try:
        return models.PingResponse.model_validate({**said, "status": health})
    except ValueError:
        return models.PingResponse(status=health)


def _ping_status(word: Any) -> models.PingStatus:
    said = str(word).strip().lower()
    if said in _BUSY_WORDS:
        return models.PingStatus.HEALTHY_BUSY
    return models.PingStatus.UNHEALTHY if said in _UNHEALTHY_WORDS else models.PingStatus.HEALTHY


def _quoted(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else ""
    return text if len(text) <= _MAX_QUOTED_CHARS else text[:_MAX_QUOTED_CHARS] + "…"


def _only_request_id(headers: Mapping[str, str]) -> dict[str, Any] | None:
    request_id = request_id_of(headers)
    return None if request_id is None else {"request_id": request_id}
