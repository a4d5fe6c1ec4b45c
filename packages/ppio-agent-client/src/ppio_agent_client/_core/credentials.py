"""How long a fetched credential is good, what it looks like in a header, and the keys of sessions and agents."""

from __future__ import annotations

import base64
import hmac
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from ppio_agent_models import ConfigurationError

from .._headers import checked_token
from .._settings import AccessToken
from . import json_codec

RENEW_BEFORE_SECONDS: Final = 60.0
"""How long before its end a credential is renewed; a fifth of its life where that is less."""
ASK_AGAIN_SECONDS: Final = 5.0
"""How long a credential that is still good is used after it could not be renewed, before that is tried again."""

KEYS_VARIABLE: Final = "PPIO_AGENT_API_KEYS"
"""Where an agent of this SDK finds the keys that it accepts."""

_EARLIEST_DATE: Final = 1e9
"""Unix seconds of 2001: what is less was meant as a duration."""
_SESSION_TOKEN_LABEL: Final = b"ppio-agent-session-token-1\0"
"""Keeps what is derived here apart from whatever else a secret may sign."""


@dataclass(frozen=True, slots=True)
class KeptToken:
    """A fetched credential, and when another should be fetched and it must not be used any more, in unix seconds."""

    token: str = field(repr=False)
    renew_at: float
    ends_at: float

    def used_on(self, *, unix_now: float) -> KeptToken:
        """Return it with a later time to renew it: just now that did not work."""
        return replace(self, renew_at=min(unix_now + ASK_AGAIN_SECONDS, self.ends_at))


def kept_token(fetched: object, *, unix_now: float) -> KeptToken:
    """Return what a callable credential gave, with the times when it is renewed and ends.

    Raises:
        ConfigurationError: It is none of the forms of `Fetched`. The message never shows it.
    """
    if isinstance(fetched, AccessToken):
        token, end = fetched.token, fetched.expires_at
    elif isinstance(fetched, tuple) and len(fetched) == 2:
        token, end = fetched
    else:
        token, end = fetched, None  # type: ignore[assignment]  # checked next
    if not isinstance(token, str):
        raise ConfigurationError(
            "a callable api_key returns an AccessToken, a pair of token and expiry, or a token as str, "
            f"not {type(fetched).__qualname__}"
        )
    token = checked_token(token) or ""
    ends_at = _unix_seconds(end)
    margin = min(RENEW_BEFORE_SECONDS, max(ends_at - unix_now, 0.0) / 5)
    return KeptToken(token, ends_at - margin, ends_at)


def _unix_seconds(end: object) -> float:
    if end is None:
        return math.inf
    if isinstance(end, datetime):
        if end.tzinfo is None:
            raise ConfigurationError("the expiry of a token is a datetime with its zone; this one has none")
        return end.timestamp()
    if not isinstance(end, int | float) or isinstance(end, bool) or math.isnan(end):
        raise ConfigurationError(f"the expiry of a token is a datetime, unix seconds or None, not {end!r}")
    if end < _EARLIEST_DATE:
        raise ConfigurationError(f"the expiry of a token is a date in unix seconds; {end:g} looks like a duration")
    return float(end)


def key_headers(key: str, *, bearer: bool) -> dict[str, str]:
    """Return the header that shows a key.

    Raises:
        ConfigurationError: It has characters that no header can carry.
    """
    key = checked_token(key, "api_key") or ""
    return {"Authorization": f"Bearer {key}"} if bearer else {"X-API-KEY": key}


def session_token(secret: str, session_id: str) -> str:
    """Return the token of a session: 43 characters of the URL-safe alphabet, the same in every process.

    It is all that an agent learns of the secret, and says nothing about it (HMAC, RFC 2104).
    """
    message = _SESSION_TOKEN_LABEL + session_id.encode("utf-8", "surrogatepass")
    mac = hmac.digest(secret.encode("utf-8", "surrogatepass"), message, "sha256")
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def with_session_key(token: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of an agent that accepts `token`, besides the keys that its owner gave it."""
    others = variables.get(KEYS_VARIABLE, "")
    try:
        listed = json_codec.load(others) if others.lstrip().startswith("[") else others.split(",")
    except ValueError:
        listed = [others]
    keys = [key.strip() for key in listed if isinstance(key, str) and key.strip()]
    return {**variables, KEYS_VARIABLE: ",".join([token, *keys])}
