"""Lifetime and headers of credentials, session tokens, and the keys of agents."""

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
"""How long before its expiry a credential is renewed; a fifth of its lifetime if that is less."""
ASK_AGAIN_SECONDS: Final = 5.0
"""How long to wait after a failed renewal, while the old credential is still valid."""

KEYS_VARIABLE: Final = "PPIO_AGENT_API_KEYS"
"""The variable with the keys that an agent accepts."""

_EARLIEST_DATE: Final = 1e9
"""2001 in unix seconds; a smaller number was probably meant as a duration."""
_SESSION_TOKEN_LABEL: Final = b"ppio-agent-session-token-1\0"
"""Domain separation: a secret may also be used to sign other things."""


@dataclass(frozen=True, slots=True)
class KeptToken:
    """A fetched credential, with the times of its renewal and expiry in unix seconds."""

    token: str = field(repr=False)
    renew_at: float
    ends_at: float

    def used_on(self, *, unix_now: float) -> KeptToken:
        """Return it with a later renewal time, after a failed renewal."""
        return replace(self, renew_at=min(unix_now + ASK_AGAIN_SECONDS, self.ends_at))


def kept_token(fetched: object, *, unix_now: float) -> KeptToken:
    """Return the result of a callable credential, with the times of its renewal and expiry.

    Raises:
        ConfigurationError: It has none of the forms of `Fetched`. The message never shows it.
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
            raise ConfigurationError("the expiry of a token must be a datetime with a time zone; this one has none")
        return end.timestamp()
    if not isinstance(end, int | float) or isinstance(end, bool) or math.isnan(end):
        raise ConfigurationError(f"the expiry of a token must be a datetime, unix seconds or None, not {end!r}")
    if end < _EARLIEST_DATE:
        raise ConfigurationError(f"the expiry of a token must be in unix seconds; {end:g} looks like a duration")
    return float(end)


def key_headers(key: str, *, bearer: bool) -> dict[str, str]:
    """Return the header for a key.

    Raises:
        ConfigurationError: It has characters that are not allowed in a header.
    """
    key = checked_token(key, "api_key") or ""
    return {"Authorization": f"Bearer {key}"} if bearer else {"X-API-KEY": key}


def session_token(secret: str, session_id: str) -> str:
    """Return the token of a session: 43 characters of the URL-safe alphabet, the same in every process.

    An agent only gets this token, from which the secret can't be derived (HMAC, RFC 2104).
    """
    message = _SESSION_TOKEN_LABEL + session_id.encode("utf-8", "surrogatepass")
    mac = hmac.digest(secret.encode("utf-8", "surrogatepass"), message, "sha256")
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def with_session_key(token: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of an agent that accepts `token`, in addition to keys that are set there."""
    others = variables.get(KEYS_VARIABLE, "")
    try:
        listed = json_codec.load(others) if others.lstrip().startswith("[") else others.split(",")
    except ValueError:
        listed = [others]
    keys = [key.strip() for key in listed if isinstance(key, str) and key.strip()]
    return {**variables, KEYS_VARIABLE: ",".join([token, *keys])}
