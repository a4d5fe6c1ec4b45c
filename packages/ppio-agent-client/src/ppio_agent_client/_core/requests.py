"""The HTTP requests of calls to an agent, as plain data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Literal, TypedDict
from urllib.parse import SplitResult, quote, urlsplit

import ppio_agent_models as models
from ppio_agent_models import (
    EVENTS_HEADER,
    IDEMPOTENCY_KEY_HEADER,
    INSTANCE_HEADER,
    JSON_MEDIA_TYPE,
    LAST_EVENT_ID_HEADER,
    MAX_IDEMPOTENCY_KEY_CHARS,
    ON_DISCONNECT_HEADER,
    PROTOCOL_HEADER,
    PROTOCOL_VERSION,
    SESSION_ID_HEADER,
    SSE_MEDIA_TYPE,
    TIMEOUT_HEADER,
    USER_ID_HEADER,
    ConfigurationError,
)

from .._headers import (
    checked_headers,
    checked_session_id,
    checked_text,
    checked_user_id,
    encoded_session_id,
    merged,
    unicode_name,
    without_space,
)
from .request_body import Request, body_of, requested_timeout, text_in

OnDisconnect = Literal["cancel", "continue"]
"""What happens to an invocation when its caller disconnects; by default the agent waits for a resumption."""
LONGEST_WAIT_SECONDS = 30.0
"""Longest `wait` of a status request; gateways time out after 30 s or more."""


def load_models() -> None:
    """Import the models of requests and responses, so that the first call doesn't wait for the import of pydantic."""
    for name in ("InvocationRequest", "PingResponse", "SandboxConfig", "AgentTemplate"):
        getattr(models, name)


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request."""

    method: str
    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    was_moved: bool = False
    """Another instance than the one it named has refused it."""

    @property
    def where(self) -> str:
        """Method and URL, for messages."""
        return f"{self.method} {self.url}"

    @property
    def is_safe(self) -> bool:
        """Whether it may be sent twice (idempotent, RFC 9110, section 9.2)."""
        return self.method != "POST"

    @property
    def instance(self) -> str | None:
        """The instance of the agent that may handle it; None for any."""
        return self.headers.get(INSTANCE_HEADER)

    @property
    def may_repeat(self) -> bool:
        """Whether it may be sent again although it may have arrived.

        It may if it is idempotent, or finds the invocation that it started: it has an idempotency key, names the
        instance that knows the key, and isn't cancelled with its connection.
        """
        keyed = IDEMPOTENCY_KEY_HEADER in self.headers and self.headers.get(ON_DISCONNECT_HEADER) != "cancel"
        return self.is_safe or (keyed and self.instance is not None)

    def for_instance(self, instance: str | None) -> Call:
        """Return the same call for another instance of the agent, or for any."""
        headers = {name: value for name, value in self.headers.items() if name != INSTANCE_HEADER}
        if instance is not None:
            headers[INSTANCE_HEADER] = instance
        return replace(self, headers=headers, was_moved=True)


@dataclass(slots=True)
class Peer:
    """The agent, as shared by all connections to it.

    Attributes:
        url: Its URL, without a trailing slash.
        headers: Headers of every request to it.
        speaks_protocol: Whether it uses protocol 1; None if unknown.
        instance: The instance that responded last; None if unknown, or if several respond in turn.
        is_several: Several instances respond in turn, as behind a load balancer.
    """

    url: str
    headers: dict[str, str] = field(repr=False)
    speaks_protocol: bool | None = None
    instance: str | None = None
    is_several: bool = False

    def with_headers(self, headers: Mapping[str, str]) -> Peer:
        """Return the agent for one call, whose requests have further headers."""
        return replace(self, headers=merged(self.headers, headers)) if headers else self


class CallArguments(TypedDict, total=False):
    """The arguments that all calls have. See `SandboxSession.invoke`."""

    idempotency_key: str | None
    on_disconnect: OnDisconnect | None
    headers: Mapping[str, str] | None
    user_id: str | None


About = Callable[[Peer, str], Call]
"""Makes a call about an invocation, from its agent and its ID."""


@dataclass(frozen=True, slots=True)
class CallOptions:
    """The options of a call: one idempotency key for all attempts, behaviour on disconnect, headers, session."""

    key: str
    on_disconnect: OnDisconnect | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Headers of every request of this call, besides those of its session."""
    session_id: str | None = None
    """The session that the request names, if any."""

    @property
    def survives(self) -> bool:
        """Whether the invocation continues without its connection."""
        return self.on_disconnect != "cancel"


def call_options(
    key: str,
    on_disconnect: OnDisconnect | None,
    request: Request = None,
    headers: Mapping[str, str] | None = None,
    user_id: str | None = None,
) -> CallOptions:
    """Return the options of a call; its request may name a session and a user as well.

    Raises:
        ConfigurationError: The key can't be sent in a header, a header is reserved or can't be sent, or
            `on_disconnect` has an unknown value.
    """
    if len(checked_text(key, "an idempotency key")) > MAX_IDEMPOTENCY_KEY_CHARS:
        raise ConfigurationError(
            f"an idempotency key must have at most {MAX_IDEMPOTENCY_KEY_CHARS} characters, not {len(key)}"
        )
    if on_disconnect not in {None, "cancel", "continue"}:
        raise ConfigurationError(f"on_disconnect must be 'cancel' or 'continue', not {on_disconnect!r}")
    named = {}
    if (session_id := text_in(request, "session_id")) is not None:
        named[SESSION_ID_HEADER] = encoded_session_id(checked_session_id(session_id))
    if (user := checked_user_id(user_id) or text_in(request, "user_id")) is not None:
        named[USER_ID_HEADER] = checked_user_id(user) or ""
    return CallOptions(key, on_disconnect, checked_headers(headers) | named, session_id)


def invoke_call(peer: Peer, request: Request, options: CallOptions, *, stream: bool, typed: bool = False) -> Call:
    """Return the call that invokes the agent, and waits for an event stream, typed or not, or for one value."""
    sent = {
        **peer.headers,
        IDEMPOTENCY_KEY_HEADER: options.key,
        "Content-Type": JSON_MEDIA_TYPE,
        "Accept": SSE_MEDIA_TYPE if stream else JSON_MEDIA_TYPE,
        PROTOCOL_HEADER: PROTOCOL_VERSION,
    }
    if peer.instance is not None:
        sent[INSTANCE_HEADER] = peer.instance
    if options.on_disconnect is not None:
        sent[ON_DISCONNECT_HEADER] = options.on_disconnect
    if typed:
        sent[EVENTS_HEADER] = "1"
    if stream:
        sent["Accept-Encoding"] = "identity"  # compression would delay events
    timeout = requested_timeout(request)
    if timeout is not None:
        sent[TIMEOUT_HEADER] = f"{timeout:g}"
    return Call("POST", f"{peer.url}/invocations", sent, body_of(request))


def submit_call(peer: Peer, request: Request, options: CallOptions, timeout: object) -> Call:
    """Return the call that hands work in and does not wait for it (RFC 7240, section 4.1).

    `timeout` is the longest time of the work, in seconds; what the request says unless given.

    Raises:
        ConfigurationError: It is no number above 0.
    """
    call = invoke_call(peer, request, options, stream=False)
    call.headers["Prefer"] = "respond-async"
    if timeout is not None:
        if not isinstance(timeout, int | float) or not timeout > 0:
            raise ConfigurationError(f"the timeout of submitted work is a number of seconds above 0, not {timeout!r}")
        call.headers[TIMEOUT_HEADER] = f"{timeout:g}"
    return call


def status_call(peer: Peer, invocation_id: str, wait_seconds: float = 0) -> Call:
    """Return the call that gets an invocation, after waiting up to `wait_seconds` for its end."""
    wait = f"?wait={wait_seconds:.3f}" if wait_seconds else ""
    return _about("GET", peer, invocation_id, wait, JSON_MEDIA_TYPE)


def events_call(peer: Peer, invocation_id: str, after: int, *, typed: bool = False) -> Call:
    """Return the call that reads the events after number `after`."""
    call = _about("GET", peer, invocation_id, "/events", SSE_MEDIA_TYPE)
    if typed:
        call.headers[EVENTS_HEADER] = "1"
    call.headers["Accept-Encoding"] = "identity"
    if after:
        call.headers[LAST_EVENT_ID_HEADER] = str(after)
    return call


def cancel_call(peer: Peer, invocation_id: str) -> Call:
    """Return the call that cancels an invocation."""
    return _about("DELETE", peer, invocation_id, "", JSON_MEDIA_TYPE)


def _about(method: str, peer: Peer, invocation_id: str, rest: str, media_type: str) -> Call:
    sent = {**peer.headers, "Accept": media_type, PROTOCOL_HEADER: PROTOCOL_VERSION}
    return Call(method, f"{peer.url}/invocations/{quote(invocation_id, safe='')}{rest}", sent)


def ping_call(peer: Peer) -> Call:
    """Return the call that gets the agent's health."""
    return Call("GET", f"{peer.url}/ping", {**peer.headers, "Accept": JSON_MEDIA_TYPE})


def checked_invocation_id(invocation_id: object) -> str:
    """Return `invocation_id` if it can be one.

    Raises:
        ConfigurationError: It is empty, not a string, or consists of dots.
    """
    if not isinstance(invocation_id, str) or not invocation_id.strip("."):
        raise ConfigurationError(f"an invocation ID must be a non-empty str, not {invocation_id!r}")
    return invocation_id


def checked_url(url: object, what: str = "an agent's address") -> str:
    """Return the base address of an agent, without a trailing slash and white space around it.

    Raises:
        ConfigurationError: It is not an http or https URL, or has credentials, a query or a fragment.
    """
    if not isinstance(url, str):
        hint = "; is a variable of the environment not set?" if url is None else ""
        raise ConfigurationError(f"{what} is a str, not {type(url).__qualname__}{hint}")
    url = without_space(url, what)
    try:
        parts = urlsplit(url)
        wrong = _wrong_with(url, parts)
    except ValueError as error:
        wrong = str(error).lower()  # of the port, or of an address in brackets
    if wrong:
        raise ConfigurationError(
            f"{what} is http://host:port or https://host, without credentials, query or fragment; {wrong}"
        )
    return url.rstrip("/")


def _wrong_with(url: str, parts: SplitResult) -> str:
    """Return what is wrong with an address, which may hold a password and isn't shown whole."""
    if not url.strip():
        return "this one is empty"
    if "@" in url:
        return "this one has credentials, which go to attach() as token= or auth="
    if bad := re.search(r"[\0-\x1f\x7f]", url):
        return f"character {bad.start() + 1} of this one is {unicode_name(bad[0])}"
    if parts.scheme not in {"http", "https"}:
        if "://" in url:
            return f"this one begins with {parts.scheme!r}"
        scheme = "http" if is_loopback(url.partition("/")[0].rpartition(":")[0] or url) else "https"
        return f"{url!r} has no scheme: did you mean {f'{scheme}://{url}'!r}?"
    if not parts.hostname:
        return "this one has no host"
    if parts.port == 0:
        return "port 0 is none to call"
    if parts.path.rstrip("/").endswith("/invocations"):
        return "this one ends with /invocations, which the SDK adds"
    return "this one has a query or a fragment" if "?" in url or "#" in url else ""


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine (RFC 1122, section 3.2.1.3; RFC 6761, section 6.3)."""
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
