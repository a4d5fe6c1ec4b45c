"""Invocations on the wire: the calls that begin them, those about them, and what the answers say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

import ppio_agent_models as models
from ppio_agent_models import (
    IDEMPOTENCY_KEY_HEADER,
    IDEMPOTENCY_REPLAYED_HEADER,
    INVOCATION_ID_HEADER,
    JSON_MEDIA_TYPE,
    LAST_EVENT_ID_HEADER,
    MAX_IDEMPOTENCY_KEY_CHARS,
    ON_DISCONNECT_HEADER,
    PROTOCOL_HEADER,
    PROTOCOL_VERSION,
    SSE_MEDIA_TYPE,
    TIMEOUT_HEADER,
    ConfigurationError,
    EventsEvictedError,
    InvocationError,
)

from .json_codec import load
from .requests import Call, Request, invocation
from .responses import error_from_envelope, response_of

OnDisconnect = Literal["cancel", "continue"]
"""What becomes of an invocation when its caller is gone."""

About = Callable[[str, Mapping[str, str], str], Call]
"""Makes a call about an invocation, from the agent's address, the headers for it, and the invocation's id."""

LONGEST_WAIT_SECONDS = 30.0
"""How long the agent is asked to hold one look at an invocation; gateways cut at 30 s and later."""


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How a call is made, besides its request.

    Attributes:
        key: The `Idempotency-Key` of the call and all its retries.
        on_disconnect: None for the server's own way, which is to wait for the caller's return.
    """

    key: str
    on_disconnect: OnDisconnect | None = None

    @property
    def survives(self) -> bool:
        """Whether the invocation outlives its connection."""
        return self.on_disconnect != "cancel"


def call_options(key: str, on_disconnect: OnDisconnect | None) -> CallOptions:
    """Return the options that a caller wants.

    Raises:
        ConfigurationError: The key cannot travel in a header, or the other word is none of the two.
    """
    if not (key and key.isascii() and key.isprintable()):
        raise ConfigurationError("an idempotency key is printable ASCII, at least one character")
    if len(key) > MAX_IDEMPOTENCY_KEY_CHARS:
        raise ConfigurationError(
            f"an idempotency key has at most {MAX_IDEMPOTENCY_KEY_CHARS} characters, not {len(key)}"
        )
    if on_disconnect not in {None, "cancel", "continue"}:
        raise ConfigurationError(f"on_disconnect is 'cancel' or 'continue', not {on_disconnect!r}")
    return CallOptions(key, on_disconnect)


def invoke_call(url: str, headers: Mapping[str, str], request: Request, options: CallOptions, *, stream: bool) -> Call:
    """Return the call that asks the agent and waits for what it says."""
    further = {IDEMPOTENCY_KEY_HEADER: options.key}
    if options.on_disconnect is not None:
        further[ON_DISCONNECT_HEADER] = options.on_disconnect
    return invocation(url, {**headers, **further}, request, stream=stream)


def submit_call(
    url: str, headers: Mapping[str, str], request: Request, options: CallOptions, timeout: float | None
) -> Call:
    """Return the call that hands work in and does not wait for it (RFC 7240, section 4.1).

    Args:
        timeout: Longest time of the work, in seconds; what the request says unless given.
    """
    call = invoke_call(url, {**headers, "Prefer": "respond-async"}, request, options, stream=False)
    if timeout is not None:
        call.headers[TIMEOUT_HEADER] = f"{timeout:g}"
    return call


def status_call(url: str, headers: Mapping[str, str], invocation_id: str, wait_seconds: float = 0) -> Call:
    """Return the call that looks at an invocation, and waits for its end for so long."""
    wait = f"?wait={wait_seconds:.3f}" if wait_seconds else ""
    return _about("GET", url, headers, invocation_id, wait, JSON_MEDIA_TYPE)


def events_call(url: str, headers: Mapping[str, str], invocation_id: str, after: int) -> Call:
    """Return the call that reads the events after number `after`."""
    call = _about("GET", url, headers, invocation_id, "/events", SSE_MEDIA_TYPE)
    call.headers["Accept-Encoding"] = "identity"
    if after:
        call.headers[LAST_EVENT_ID_HEADER] = str(after)
    return call


def cancel_call(url: str, headers: Mapping[str, str], invocation_id: str) -> Call:
    """Return the call that cancels an invocation."""
    return _about("DELETE", url, headers, invocation_id, "", JSON_MEDIA_TYPE)


def _about(method: str, url: str, headers: Mapping[str, str], invocation_id: str, rest: str, media_type: str) -> Call:
    sent = {**headers, "Accept": media_type, PROTOCOL_HEADER: PROTOCOL_VERSION}
    return Call(method, f"{url}/invocations/{quote(invocation_id, safe='')}{rest}", sent)


def resource_of(status: int, headers: Mapping[str, str], body: bytes, *, unix_now: float) -> models.InvocationResource:
    """Return the invocation that an answer describes.

    Raises:
        PPIOAgentRuntimeError: The answer is an error, or about something else.
    """
    if not 200 <= status < 300:
        response_of(status, headers, body, unix_now=unix_now)
    try:
        return models.InvocationResource.model_validate(load(body))
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
    return response.known_as(resource.invocation_id)


def invocation_id_of(headers: Mapping[str, str]) -> str | None:
    """Return what an answer calls its invocation."""
    return headers.get(INVOCATION_ID_HEADER.lower()) or None


def was_replayed(headers: Mapping[str, str]) -> bool:
    """Tell whether an earlier request with the same key has caused this answer."""
    return headers.get(IDEMPOTENCY_REPLAYED_HEADER.lower(), "").strip().lower() == "true"


def checked_invocation_id(invocation_id: object) -> str:
    """Return `invocation_id` if it can be one.

    Raises:
        ConfigurationError: It is empty, or no text.
    """
    if not isinstance(invocation_id, str) or not invocation_id:
        raise ConfigurationError(f"an invocation id is a str that is not empty, not {invocation_id!r}")
    return invocation_id
