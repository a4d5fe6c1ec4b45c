"""Turns an HTTP response into a result, or into the exception that says what went wrong."""

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
_REFUSALS = frozenset({"RateLimitedError", "UnavailableError", "DrainingError", "SessionBusyError"})
_BUSY_WORDS = frozenset({"healthybusy", "busy", "working"})
_UNHEALTHY_WORDS = frozenset({"unhealthy", "down", "error", "false"})


def response_of(status: int, headers: Mapping[str, str], body: bytes, *, unix_now: float) -> models.InvocationResponse:
    """Return what an agent answered.

    A successful body that is no envelope, from an agent of another make, becomes the result as it is. Headers are found
    by lower-case names; `unix_now` is for a `Retry-After` that is a date.

    Raises:
        PPIOAgentRuntimeError: The answer is an error; the class says which.
    """
    value = json_codec.load_or_text(body)
    if not 200 <= status < 300:
        raise error_of(status, headers, value, unix_now=unix_now)
    envelope = envelope_of(value)
    if envelope is None:
        return models.InvocationResponse(result=value, metadata=_only_request_id(headers))
    if envelope.status == "error":
        raise error_of(status, headers, value, unix_now=unix_now)
    return envelope


def resource_of(status: int, headers: Mapping[str, str], body: bytes, *, unix_now: float) -> models.InvocationResource:
    """Return the invocation that an answer describes.

    Raises:
        PPIOAgentRuntimeError: The answer is an error, or about something else.
    """
    if not 200 <= status < 300:
        response_of(status, headers, body, unix_now=unix_now)
    try:
        return models.InvocationResource.model_validate(json_codec.load(body))
    except ValueError as error:
        raise InvocationError(
            f"the agent answered {status} with something that is no invocation; only agents of protocol "
            f"{PROTOCOL_VERSION} take work in the background, others take invoke()"
        ) from error


def result_of(resource: models.InvocationResource) -> models.InvocationResponse:
    """Return what a finished invocation came to.

    Raises:
        EventsEvictedError: It was a stream, and is not held as one value.
        PPIOAgentRuntimeError: It failed or was cancelled; the class says why.
    """
    if resource.first_event_id is not None:
        raise EventsEvictedError(
            f"invocation {resource.invocation_id} said more than its agent holds, so there is no result; what is held "
            f"can be read with events(after={resource.first_event_id - 1})",
            first_event_id=resource.first_event_id,
        )
    response = resource.response or models.InvocationResponse(status="error")
    if response.status == "error":
        raise error_from_envelope(response.model_dump(), None, {})
    return response._known_as(resource.invocation_id)


def invocation_id_of(headers: Mapping[str, str]) -> str | None:
    """Return what an answer calls its invocation."""
    return headers.get(INVOCATION_ID_HEADER.lower()) or None


def instance_of(headers: Mapping[str, str]) -> str | None:
    """Return which instance of the agent answered; None where it does not say."""
    return headers.get(INSTANCE_HEADER.lower()) or None


def speaks_protocol(headers: Mapping[str, str]) -> bool:
    """Tell whether who sent these headers speaks protocol 1."""
    return headers.get(PROTOCOL_HEADER.lower()) == PROTOCOL_VERSION


def was_replayed(headers: Mapping[str, str]) -> bool:
    """Tell whether an earlier request with the same key has caused this answer."""
    return headers.get(IDEMPOTENCY_REPLAYED_HEADER.lower(), "").strip().lower() == "true"


def envelope_of(value: Any) -> models.InvocationResponse | None:
    """Return the envelope that `value` is, or None."""
    if not isinstance(value, dict) or value.get("status") not in ("success", "error"):
        return None
    if "result" not in value and "error" not in value and "duration" not in value:
        return None
    try:
        return models.InvocationResponse.model_validate(value)
    except ValueError:
        return None


def error_of(status: int, headers: Mapping[str, str], value: Any, *, unix_now: float) -> PPIOAgentRuntimeError:
    """Return the exception for an error answer whose decoded body is `value`; some are not the agent's."""
    if not isinstance(value, dict) and not speaks_protocol(headers) and (other := _who_else(status, headers, value)):
        told = {"error": other, "error_type": None}
        if status // 100 == 3 or status in _GATEWAYS:
            return NetworkError(other, status_code=status, request_id=request_id_of(headers))
        return error_from_envelope(told, status, headers, unix_now=unix_now)
    envelope = value if isinstance(value, dict) else {"error": _quoted(value)}
    return error_from_envelope(envelope, status, headers, unix_now=unix_now)


def _who_else(status: int, headers: Mapping[str, str], value: Any) -> str:
    """Return what somebody before the agent has answered, in words of ours; nothing where it may be the agent's."""
    server = headers.get("server", "")
    who = f"a gateway or proxy before the agent ({server})" if _SERVER.fullmatch(server) else _SOMEBODY
    if status // 100 == 3:
        location = headers.get("location", "")
        to = f" and sends to {_without_credentials(location)!r}" if location else ""
        return f"{who} answered {status}{to}; redirects are not followed, so give that address if it is right"
    if status == 407:
        return f"{who} answered 407 and wants credentials: ClientConfig(proxy='http://user:password@host:port')"
    if status in _GATEWAYS:
        return f"{who} answered {status}: it does not reach the agent, or lost it"
    is_page = isinstance(value, str) and value.lstrip()[:1] == "<"
    return f"{who} answered {status} with a web page; is the address right?" if is_page else ""


def _without_credentials(address: str) -> str:
    shown = re.sub(r"(?<=//)[^/?#]*@|[?#].*", "", address)
    return shown if len(shown) <= _MAX_QUOTED_CHARS else shown[:_MAX_QUOTED_CHARS] + "…"


def error_from_envelope(
    envelope: Mapping[str, Any], status: int | None, headers: Mapping[str, str], *, unix_now: float | None = None
) -> PPIOAgentRuntimeError:
    """Return the exception that an error envelope stands for: the class of its `error_type`, else of its status.

    The envelope is a JSON object, ours or another server's; `status` is None when it came inside a stream, `unix_now`
    where there can be no `Retry-After`.
    """
    name = envelope.get("error_type")
    error_type = name if isinstance(name, str) and name else None
    kind = ERROR_TYPES.get(error_type or "") or _class_of(status, error_type)
    told = _told_in(envelope)
    if status is None or 200 <= status < 300:
        # Inside a stream, or looked at later, no status line carries what the agent chose.
        own = told.get("status_code")
        status = own if isinstance(own, int) else None
    error = kind(
        _sentence(envelope, status),
        status_code=status,
        error_type=error_type,
        request_id=request_id_of(headers, envelope),
        retry_after=None if unix_now is None else retry_after_of(headers, unix_now=unix_now),
        retryable=is_refusal(headers, envelope),
    )
    first = told.get("first_event_id")
    if isinstance(error, EventsEvictedError) and isinstance(first, int):
        error.first_event_id = first
    return error


def is_refusal(headers: Mapping[str, str], envelope: Any) -> bool:
    """Tell whether an error answer says that the agent refused new work, so that none of its code has run.

    Its runtime then says when to come again. It does not where a drain has cut a run; and what an agent's own code
    says, whatever it calls it, has `metadata.status_code`. Others may put anything into an answer, after they ran too.
    """
    if not speaks_protocol(headers) or "retry-after" not in headers or not isinstance(envelope, dict):
        return False
    return envelope.get("error_type") in _REFUSALS and "status_code" not in _told_in(envelope)


def _told_in(envelope: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an error envelope says for programs; other servers say it beside the sentence."""
    metadata = envelope.get("metadata")
    return {**envelope, **metadata} if isinstance(metadata, dict) else envelope


def _class_of(status: int | None, error_type: str | None) -> type[PPIOAgentRuntimeError]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if error_type is not None:
        return AgentError  # only an agent that chose its own name has one that is not in the tree
    if status is not None and 400 <= status < 500:
        return RequestError
    return HandlerError if status in {None, 500} else InvocationError


def _sentence(envelope: Mapping[str, Any], status: int | None) -> str:
    """Return what the server says about the error, whatever its dialect, or its status in words."""
    for field in ("error", "message", "detail"):
        said = envelope.get(field)
        if isinstance(said, dict):
            said = said.get("message")
        if isinstance(said, str) and said.strip():
            return said
    if status is None:
        return "the agent failed and did not say why"
    return f"the agent answered {status} and did not say why"


def request_id_of(headers: Mapping[str, str], envelope: Mapping[str, Any] | None = None) -> str | None:
    """Return the id to quote when asking about a call: from the header, else from the envelope's metadata."""
    from_header = headers.get(REQUEST_ID_HEADER.lower()) or headers.get("x-request-id")
    if from_header:
        return from_header
    metadata = (envelope or {}).get("metadata")
    found = metadata.get("request_id") if isinstance(metadata, dict) else (envelope or {}).get("request_id")
    return found if isinstance(found, str) else None


def retry_after_of(headers: Mapping[str, str], *, unix_now: float) -> float | None:
    """Return how long the server asks to wait, in seconds: a number or a date (RFC 9110, section 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        from email.utils import parsedate_to_datetime  # a rare form, and not a small module

        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        # A date without a zone is in UTC: HTTP knows no other (RFC 9110, section 5.6.7).
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.fromtimestamp(unix_now, UTC)).total_seconds()
    return max(seconds, 0.0) if seconds < float("inf") else None


def ping_of(status: int, headers: Mapping[str, str], body: bytes, *, unix_now: float) -> models.PingResponse:
    """Return the health of an agent. 503 is Unhealthy; any 200 that does not say otherwise is Healthy.

    Raises:
        PPIOAgentRuntimeError: The answer is about something else than health: no such route, no permission.
    """
    value = json_codec.load_or_text(body)
    if status != 503 and not 200 <= status < 300:
        raise error_of(status, headers, value, unix_now=unix_now)
    said = value if isinstance(value, dict) else {"status": value}
    feeling = models.PingStatus.UNHEALTHY if status == 503 else _feeling(said.get("status"))
    try:
        return models.PingResponse.model_validate({**said, "status": feeling})
    except ValueError:
        return models.PingResponse(status=feeling)


def _feeling(word: Any) -> models.PingStatus:
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
