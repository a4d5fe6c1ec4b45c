"""The types of settings, without pydantic: credentials, signers, and the mark for options that aren't given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Final, Protocol

PROVIDER_GROUP: Final = "ppio_agent_client.providers"
"""Entry-point group of providers for `AgentRuntimeClient`: name to a callable that takes the `ClientConfig`."""
SYNC_PROVIDER_GROUP: Final = "ppio_agent_client.sync_providers"
"""The same for `SyncAgentRuntimeClient`."""


class NotGiven(Enum):
    """Marks an option that isn't given, where None has a meaning of its own."""

    NOT_GIVEN = "as it is"


NOT_GIVEN: Final = NotGiven.NOT_GIVEN


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A key that expires.

    Attributes:
        token: The key itself.
        expires_at: When it expires: a datetime with a time zone, or unix seconds; None if not known.
    """

    token: str = field(repr=False)
    expires_at: datetime | float | None = None


Fetched = AccessToken | tuple[str, datetime | float | None] | str
"""What a callable credential gives: a token with its end, as one object or as a pair, or without one."""
Credential = str | Callable[[], Fetched | Awaitable[Fetched]]
"""A key, or a callable that fetches one; a coroutine function is for the async client only."""


class RequestSigner(Protocol):
    """Signs requests instead of sending an API key. A pure function: time and nonce are arguments."""

    def sign(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, created: int, nonce: str
    ) -> dict[str, str]:
        """Return the headers that sign one attempt, to be added to its own.

        Args:
            method: In upper case.
            url: The full URL.
            headers: The headers that the request already has, names in any case.
            body: The whole body.
            created: Now, in unix seconds.
            nonce: 22 characters that no other request has.
        """
        ...
