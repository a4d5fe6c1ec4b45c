"""What a call to an agent looks like on the wire, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Literal, Union
from urllib.parse import quote, urlsplit

import ppio_agent_models as models
from ppio_agent_models import (
    IDEMPOTENCY_KEY_HEADER,
    JSON_MEDIA_TYPE,
    LAST_EVENT_ID_HEADER,
    MAX_IDEMPOTENCY_KEY_CHARS,
    MAX_SESSION_ID_CHARS,
    ON_DISCONNECT_HEADER,
    PROTOCOL_HEADER,
    PROTOCOL_VERSION,
    SESSION_ID_HEADER,
    SSE_MEDIA_TYPE,
    TIMEOUT_HEADER,
    ConfigurationError,
    SerializationError,
)

from .._version import __version__
from .json_codec import dump
from .limits import requested_timeout

USER_AGENT = f"ppio-agent-client/{__version__}"

Request = Union["models.InvocationRequest", Mapping[str, Any], str]  # with `|` it would need the model now
"""What a caller may ask with: the model, a JSON object, or a prompt."""
OnDisconnect = Literal["cancel", "continue"]
"""What becomes of an invocation when its caller is gone; the agent waits for the caller's return unless given."""
LONGEST_WAIT_SECONDS = 30.0
"""How long the agent is asked to hold one look at an invocation; gateways cut at 30 s and later."""


def load_models() -> None:
    """Import what requests and answers are made of; with pydantic it takes so long that no call should wait for it."""
    for name in ("InvocationRequest", "PingResponse", "SandboxConfig", "AgentTemplate"):
        getattr(models, name)


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request."""

    method: str
    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def where(self) -> str:
        """Method and address, for messages."""
        return f"{self.method} {self.url}"

    @property
    def is_safe(self) -> bool:
        """Whether sending it twice is as good as once (RFC 9110, section 9.2)."""
        return self.method != "POST"

    @property
    def has_key(self) -> bool:
        """Whether the same call finds the same invocation: it has a key, and does not end with its connection."""
        return IDEMPOTENCY_KEY_HEADER in self.headers and self.headers.get(ON_DISCONNECT_HEADER) != "cancel"


@dataclass(slots=True)
class Peer:
    """The agent at the other end, as every connection to it knows it.

    Attributes:
        url: Where it listens, without a trailing slash.
        headers: What every request to it carries.
        speaks_protocol: Whether it speaks protocol 1; None while nothing is known.
    """

    url: str
    headers: dict[str, str] = field(repr=False)
    speaks_protocol: bool | None = None


About = Callable[[Peer, str], Call]
"""Makes a call about an invocation, from its agent and its id."""


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How a call is made, besides its request: one key for all its attempts, and what follows a lost connection."""

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


def invoke_call(peer: Peer, request: Request, options: CallOptions, *, stream: bool) -> Call:
    """Return the call that asks the agent and waits for what it says: an event stream, or one value."""
    sent = {
        **peer.headers,
        IDEMPOTENCY_KEY_HEADER: options.key,
        "Content-Type": JSON_MEDIA_TYPE,
        "Accept": SSE_MEDIA_TYPE if stream else JSON_MEDIA_TYPE,
        PROTOCOL_HEADER: PROTOCOL_VERSION,
    }
    if options.on_disconnect is not None:
        sent[ON_DISCONNECT_HEADER] = options.on_disconnect
    if stream:
        sent["Accept-Encoding"] = "identity"  # whoever compresses a stream holds events back
    timeout = requested_timeout(request)
    if timeout is not None:
        sent[TIMEOUT_HEADER] = f"{timeout:g}"
    return Call("POST", f"{peer.url}/invocations", sent, body_of(request))


def submit_call(peer: Peer, request: Request, options: CallOptions, timeout: float | None) -> Call:
    """Return the call that hands work in and does not wait for it (RFC 7240, section 4.1).

    `timeout` is the longest time of the work, in seconds; what the request says unless given.
    """
    call = invoke_call(peer, request, options, stream=False)
    call.headers["Prefer"] = "respond-async"
    if timeout is not None:
        call.headers[TIMEOUT_HEADER] = f"{timeout:g}"
    return call


def status_call(peer: Peer, invocation_id: str, wait_seconds: float = 0) -> Call:
    """Return the call that looks at an invocation, and waits for its end for so long."""
    wait = f"?wait={wait_seconds:.3f}" if wait_seconds else ""
    return _about("GET", peer, invocation_id, wait, JSON_MEDIA_TYPE)


def events_call(peer: Peer, invocation_id: str, after: int) -> Call:
    """Return the call that reads the events after number `after`."""
    call = _about("GET", peer, invocation_id, "/events", SSE_MEDIA_TYPE)
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
    """Return the call that asks the agent for its health."""
    return Call("GET", f"{peer.url}/ping", {**peer.headers, "Accept": JSON_MEDIA_TYPE})


def body_of(request: Request) -> bytes:
    """Return the JSON object to send: the model's set fields, the mapping as it is, or the string as `prompt`.

    Raises:
        SerializationError: Something in it has no JSON form.
    """
    if isinstance(request, str):
        return dump({"prompt": request})
    if isinstance(request, models.InvocationRequest):
        try:
            return dump(request.to_wire())
        except ValueError:
            # An extra field that pydantic cannot turn into JSON: dump() says which one.
            return dump(request.model_dump(exclude_unset=True))
    if isinstance(request, Mapping):
        return dump(dict(request))
    raise SerializationError(
        f"a request is an InvocationRequest, a dict or a str, not {type(request).__qualname__}", status_code=None
    )


def session_headers(session_id: str, token: str | None, extra: Mapping[str, str]) -> dict[str, str]:
    """Return what every request of a session carries."""
    headers = {"User-Agent": USER_AGENT, SESSION_ID_HEADER: encoded_session_id(session_id), **extra}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return headers


def encoded_session_id(session_id: str) -> str:
    """Return a session id as it travels in a header: percent-encoded UTF-8 (RFC 3986, section 2.1)."""
    return quote(session_id, safe="", errors="surrogatepass")


def checked_session_id(session_id: object) -> str:
    """Return `session_id` if it can be one.

    Raises:
        ConfigurationError: It is empty, too long, or no text.
    """
    if not isinstance(session_id, str) or not 1 <= len(session_id) <= MAX_SESSION_ID_CHARS:
        what = f"{len(session_id)} characters" if isinstance(session_id, str) else type(session_id).__qualname__
        raise ConfigurationError(f"a session id is a str of 1 to {MAX_SESSION_ID_CHARS} characters, not {what}")
    return session_id


def checked_invocation_id(invocation_id: object) -> str:
    """Return `invocation_id` if it can be one.

    Raises:
        ConfigurationError: It is empty, or no text.
    """
    if not isinstance(invocation_id, str) or not invocation_id:
        raise ConfigurationError(f"an invocation id is a str that is not empty, not {invocation_id!r}")
    return invocation_id


def checked_url(url: str) -> str:
    """Return the base address of an agent, without a trailing slash.

    Raises:
        ConfigurationError: It is no http or https address, or has a query or fragment.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable, parts = False, urlsplit("")
    if not usable or "?" in url or "#" in url or parts.username or parts.password:
        raise ConfigurationError(
            "an agent's address is http://host:port or https://host, without credentials, query or fragment; "
            f"got scheme {parts.scheme!r} and host {parts.hostname!r}"
        )
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine (RFC 1122, section 3.2.1.3; RFC 6761, section 6.3)."""
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def checked_token(token: str | None) -> str | None:
    """Return `token` if it can stand in a header (RFC 6750, section 2.1). The message never shows it.

    Raises:
        ConfigurationError: It is empty or has characters that a header cannot carry.
    """
    if token is not None and not (token and token.isascii() and token.isprintable() and " " not in token):
        raise ConfigurationError("the token is empty or has characters that no bearer token may have")
    return token
