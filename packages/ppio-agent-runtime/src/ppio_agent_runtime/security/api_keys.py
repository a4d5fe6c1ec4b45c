"""API keys, and the error for callers whose credentials are not accepted."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Literal

from ppio_agent_models import AuthenticationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..asgi import Headers

Reason = Literal["missing", "wrong", "malformed", "incomplete", "expired", "replayed", "digest"]
"""Why a request is refused, as a class of reasons: it never tells what would have been right."""


class RefusedError(AuthenticationError):
    """A request whose credentials are not accepted.

    Attributes:
        reason: The class of the reason.
    """

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message, error_type=AuthenticationError.__name__)
        self.reason: Reason = reason


class ApiKeys:
    """The accepted API keys, as digests: comparing takes the same time whatever is sent, and wherever it differs."""

    def __init__(self, keys: Iterable[str]) -> None:
        digests = [hashlib.sha256(key.encode()).digest() for key in keys]
        self._keys = [(digest, f"key-{digest.hex()[:12]}") for digest in digests]

    def __bool__(self) -> bool:
        return bool(self._keys)

    @staticmethod
    def given(headers: Headers) -> list[bytes]:
        """Return the keys that a request carries."""
        found: list[bytes] = []
        for name, value in headers:
            if name == b"x-api-key":
                found.append(value.strip())
            elif name == b"authorization" and value[:7].lower() == b"bearer ":
                found.append(value[7:].strip())
        return found

    def find(self, headers: Headers) -> str | None:
        """Return the id of the key in these headers, or None. Every configured key is compared, after a match too."""
        found = None
        if self._keys:
            for key in self.given(headers):
                digest = hashlib.sha256(key).digest()
                for known, key_id in self._keys:
                    if hmac.compare_digest(digest, known):
                        found = key_id
        return found
