"""What an operator writes about the rate limit: `RateLimit`, a structure among the settings. It limits nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from ppio_agent_models import ConfigurationError

RateLimitKey = Literal["client", "session", "api_key"]
StorageFailure = Literal["open", "closed"]

MEMORY_SCHEME = "memory"
REDIS_SCHEMES = ("redis", "rediss", "redis+unix", "redis+cluster", "redis+sentinel")

_SHORTHAND = re.compile(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*")


@dataclass(frozen=True, kw_only=False, repr=False)
class RateLimit:
    """How many requests each caller may make.

    Attributes:
        max_requests: Requests that one key may make in any span of `window_seconds`.
        window_seconds: Length of the sliding window.
        key: What is counted: `client` the peer's address (the forwarded one for peers in `forwarded_allow_ips`),
            `session` the session id, `api_key` the caller's credential. A request without session or credential
            counts for its address.
        storage_uri: `memory://` counts in this process; `redis://host:6379/0` (also `rediss`, `redis+unix`,
            `redis+cluster`, `redis+sentinel`) counts for all processes together, and needs the extra `[redis]`.
        on_storage_failure: While Redis cannot be reached, let everybody in (`open`) or nobody (`closed`, 503).

    Raises:
        ConfigurationError: A value is out of range or unknown.
    """

    max_requests: int = 100
    window_seconds: int = 60
    key: RateLimitKey = "client"
    storage_uri: str = "memory://"
    on_storage_failure: StorageFailure = "open"

    written: ClassVar[str] = "a RateLimit (in the environment: 100/60, requests per seconds, or a JSON object)"

    def __post_init__(self) -> None:
        for name in ("max_requests", "window_seconds"):
            number = getattr(self, name)
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                raise ConfigurationError(f"RateLimit.{name} must be a whole number of at least 1, not {number!r}.")
        for name, choices in (("key", ("client", "session", "api_key")), ("on_storage_failure", ("open", "closed"))):
            if getattr(self, name) not in choices:
                known = ", ".join(map(repr, choices))
                raise ConfigurationError(f"RateLimit.{name} must be one of {known}, not {getattr(self, name)!r}.")
        if self.scheme != MEMORY_SCHEME and self.scheme not in REDIS_SCHEMES:
            known = ", ".join(f"{scheme}://" for scheme in (MEMORY_SCHEME, *REDIS_SCHEMES))
            raise ConfigurationError(f"RateLimit.storage_uri must begin with one of {known}.")

    @property
    def scheme(self) -> str:
        """The part of `storage_uri` before the colon."""
        return str(self.storage_uri).partition("://")[0]

    @property
    def place(self) -> str:
        """The storage without its credentials and options, for logs."""
        address = urlsplit(self.storage_uri)
        return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"

    @classmethod
    def from_text(cls, text: str) -> RateLimit | None:
        """Return the limit that `100/60` means, or None when `text` is something else."""
        found = _SHORTHAND.fullmatch(text)
        return None if found is None else cls(int(found[1]), int(found[2]))

    def __repr__(self) -> str:
        # Not dataclass's own: the address may hold a password.
        return (
            f"RateLimit(max_requests={self.max_requests}, window_seconds={self.window_seconds}, key={self.key!r}, "
            f"storage_uri={self.place!r}, on_storage_failure={self.on_storage_failure!r})"
        )
