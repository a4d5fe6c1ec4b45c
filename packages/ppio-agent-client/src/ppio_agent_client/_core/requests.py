"""What a call to an agent looks like on the wire, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Union
from urllib.parse import quote, urlsplit

import ppio_agent_models as models
from ppio_agent_models import (
    IDEMPOTENCY_KEY_HEADER,
    JSON_MEDIA_TYPE,
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


def invocation(url: str, headers: Mapping[str, str], request: Request, *, stream: bool) -> Call:
    """Return the call that invokes the agent at `url`.

    Args:
        url: Where the agent listens, without a trailing slash.
        headers: What every request to this agent carries.
        request: What to ask.
        stream: Ask for an event stream instead of one value.
    """
    sent = {
        **headers,
        "Content-Type": JSON_MEDIA_TYPE,
        "Accept": SSE_MEDIA_TYPE if stream else JSON_MEDIA_TYPE,
        PROTOCOL_HEADER: PROTOCOL_VERSION,
    }
    if stream:
        sent["Accept-Encoding"] = "identity"  # whoever compresses a stream holds events back
    timeout = requested_timeout(request)
    if timeout is not None:
        sent[TIMEOUT_HEADER] = f"{timeout:g}"
    return Call("POST", f"{url}/invocations", sent, body_of(request))


def ping(url: str, headers: Mapping[str, str]) -> Call:
    """Return the call that asks the agent at `url` how it feels."""
    return Call("GET", f"{url}/ping", {**headers, "Accept": JSON_MEDIA_TYPE})


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
