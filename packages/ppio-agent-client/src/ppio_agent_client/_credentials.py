"""What a caller can show the platform: a key, something that fetches one that ends, somebody who signs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A key that ends.

    Attributes:
        token: What is shown.
        expires_at: When it ends: a datetime with its zone, or unix seconds; None where nobody knows.
    """

    token: str = field(repr=False)
    expires_at: datetime | float | None = None


Fetched = AccessToken | tuple[str, datetime | float | None] | str
"""What a callable credential gives: a token with its end, as one object or as a pair, or without one."""
Credential = str | Callable[[], Fetched | Awaitable[Fetched]]
"""A key, or a callable that fetches one; a coroutine function is for the async client only."""


class RequestSigner(Protocol):
    """Signs requests in place of an API key. Pure: the time and the nonce are given."""

    def sign(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, created: int, nonce: str
    ) -> dict[str, str]:
        """Return the headers that one attempt needs on top of its own.

        Args:
            method: In upper case.
            url: The whole address.
            headers: What the request carries already, names in any case.
            body: The whole body.
            created: Now, in unix seconds.
            nonce: 22 characters that no other request has.
        """
        ...
