"""Checks, encodes and merges values for headers from callers; they can't replace headers that the SDK sets."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from ppio_agent_models import (
    AGENTCORE_REQUEST_ID_HEADER,
    AGENTCORE_SESSION_ID_HEADER,
    AGENTCORE_USER_ID_HEADER,
    IDEMPOTENCY_KEY_HEADER,
    LAST_EVENT_ID_HEADER,
    MAX_SESSION_ID_CHARS,
    ON_DISCONNECT_HEADER,
    PROTOCOL_HEADER,
    SESSION_ID_HEADER,
    TIMEOUT_HEADER,
    USER_ID_HEADER,
    ConfigurationError,
)

from ._version import __version__

logger = logging.getLogger("ppio_agent_client")

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
USER_AGENT: Final = f"ppio-agent-client/{__version__}"
_NO_TOKEN: Final = re.compile(r"[^!-~]")
_UNWRITABLE: Final = re.compile(r"[^\t -~]")
_UNPRINTABLE: Final = re.compile(r"[^ -~]")
_INSTEAD: Final = {
    SESSION_ID_HEADER: "session_id=",
    AGENTCORE_SESSION_ID_HEADER: "session_id=",
    USER_ID_HEADER: "user_id=",
    AGENTCORE_USER_ID_HEADER: "user_id=",
    AGENTCORE_REQUEST_ID_HEADER: "X-PPIO-Request-Id",
    TIMEOUT_HEADER: "the request's timeout",
    IDEMPOTENCY_KEY_HEADER: "idempotency_key=",
    ON_DISCONNECT_HEADER: "on_disconnect=",
    LAST_EVENT_ID_HEADER: "events(after=)",
    "Prefer": "submit()",
    "Authorization": "token= or auth= of attach()",
    "Signature": "auth= of attach()",
    "Signature-Input": "auth= of attach()",
    "Content-Digest": "auth= of attach()",
}
"""Headers that are set by an argument instead, which applies to every attempt."""
_OURS: Final = (PROTOCOL_HEADER, "PPIO-Agent-Instance", "PPIO-Agent-Events", "Accept", "Host", "Connection", "Upgrade")
_BODYS: Final = ("Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding", "Expect", "TE", "Trailer")
_RESERVED: Final = {name.lower(): f"; use {instead}" for name, instead in _INSTEAD.items()} | {
    name.lower(): "" for name in (*_OURS, *_BODYS)
}


def checked_headers(headers: Mapping[str, str] | None, *, allowed: str = "") -> dict[str, str]:
    """Return the caller's headers, after checking that they may be sent. Messages never show a value.

    Args:
        allowed: The name of a reserved header that is allowed here.

    Raises:
        ConfigurationError: One is set by the SDK itself, or can't be sent.
    """
    if headers is not None and not isinstance(headers, Mapping):
        raise ConfigurationError(f"headers are a dict of names and values, not {type(headers).__qualname__}")
    checked = {}
    for name, value in (headers or {}).items():
        if not _NAME.fullmatch(str(name)):
            raise ConfigurationError(f"{name!r} cannot be the name of a header (RFC 9110, section 5.1)")
        if name.lower() in _RESERVED and name.lower() != allowed.lower():
            raise ConfigurationError(f"the header {name} is set by the SDK{_RESERVED[name.lower()]}")
        if not isinstance(value, str):
            raise ConfigurationError(f"the value of the header {name} is a str, not {type(value).__qualname__}")
        checked[name] = without_space(value, f"the header {name}")
        if bad := _UNWRITABLE.search(checked[name]):
            raise ConfigurationError(
                f"the header {name} cannot be sent: character {bad.start() + 1} of its value is not printable ASCII"
            )
    return checked


def checked_user_id(user_id: str | None) -> str | None:
    """Return `user_id` if it can travel in its header, see `checked_text`."""
    return None if user_id is None else checked_text(user_id, "a user id")


def checked_text(value: object, what: str) -> str:
    """Return `value` if it can stand in a header as it is: printable ASCII, with no space around it.

    Raises:
        ConfigurationError: It can't; the message names the first character that is wrong.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"{what} is a str, not {type(value).__qualname__}")
    if not value:
        raise ConfigurationError(f"{what} has at least one character")
    if bad := _UNPRINTABLE.search(value):
        raise ConfigurationError(
            f"{what} is printable ASCII, and character {bad.start() + 1} of this one is {unicode_name(bad[0])}"
        )
    if value.strip() != value:
        raise ConfigurationError(f"{what} has no space at its start or end: {value!r}")
    return value


def unicode_name(character: str) -> str:
    """Return how a character is called, as it may be invisible: `U+000A`, or `U+00E4 (ä)`."""
    return f"U+{ord(character):04X}" + (f" ({character})" if character.isprintable() and character != " " else "")


def merged(*headers: Mapping[str, str]) -> dict[str, str]:
    """Return the merged headers; for equal names, ignoring case, the last one wins."""
    found: dict[str, tuple[str, str]] = {}
    for each in headers:
        found.update((name.lower(), (name, value)) for name, value in each.items())
    return dict(found.values())


def session_headers(
    session_id: str, *extra: Mapping[str, str], token: str | None = None, user_id: str | None = None
) -> dict[str, str]:
    """Return the headers of every request of a session; in `extra`, later ones win."""
    headers = merged({"User-Agent": USER_AGENT}, *extra, {SESSION_ID_HEADER: encoded_session_id(session_id)})
    if user_id is not None:
        headers[USER_ID_HEADER] = user_id
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return headers


def encoded_session_id(session_id: str) -> str:
    """Return a session ID encoded for its header: percent-encoded UTF-8 (RFC 3986, section 2.1)."""
    return quote(session_id, safe="", errors="surrogatepass")


def checked_session_id(session_id: object) -> str:
    """Return `session_id` if it can be one.

    Raises:
        ConfigurationError: It is empty, too long, or not a string.
    """
    if not isinstance(session_id, str) or not 1 <= len(session_id) <= MAX_SESSION_ID_CHARS:
        what = f"{len(session_id)} characters" if isinstance(session_id, str) else type(session_id).__qualname__
        raise ConfigurationError(f"a session ID must be a str of 1 to {MAX_SESSION_ID_CHARS} characters, not {what}")
    return session_id


def checked_token(token: object, what: str = "token") -> str | None:
    """Return `token` if it can stand in a header (RFC 6750, section 2.1). The message never shows it.

    White space around it is removed with a warning, because files with secrets often end with a newline.

    Raises:
        ConfigurationError: It is empty, or has characters that are not allowed in a header.
    """
    if token is None:
        return None
    if not isinstance(token, str):
        raise ConfigurationError(f"the {what} is a str, not {type(token).__qualname__}")
    stripped = without_space(token, f"the {what}")
    if not stripped:
        raise ConfigurationError(f"the {what} is empty")
    if stripped.lower().startswith("bearer "):
        raise ConfigurationError(f"the {what} is given without the word in front, {stripped[:6]!r}: the SDK adds it")
    if stripped[0] == stripped[-1] and stripped[0] in "'\"":
        raise ConfigurationError(f"the {what} stands between quotation marks; leave them out")
    if bad := _NO_TOKEN.search(stripped):
        kind = "a space" if bad[0] == " " else "not printable ASCII"
        raise ConfigurationError(
            f"the {what} cannot stand in a header: character {bad.start() + 1} of {len(stripped)} is {kind}"
        )
    return stripped


def without_space(secret: str, what: str) -> str:
    """Return a secret without white space around it, and log a warning if there was some."""
    stripped = secret.strip()
    if stripped and stripped != secret:
        logger.warning("%s has white space around it, such as the newline at the end of a file; it is removed", what)
    return stripped
