"""`RateLimiter`: counts requests per key in a sliding window, says how many are left, and outlives its storage.

The response fields are those of draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING, Final

from ppio_agent_models import InvocationError, RateLimitedError, UnavailableError

from .._settings.rate_limit import MEMORY_SCHEME, RateLimit, RateLimitKey, StorageFailure
from .sliding_window import RateLimitState, SlidingWindows

if TYPE_CHECKING:
    from .._asgi import Headers
    from .redis_counts import RedisCounts

logger = logging.getLogger("ppio_agent_runtime")

_STORAGE_SECONDS: Final = 1.0
"""How long one decision may take; more, and the storage counts as gone."""
_RETRY_STORAGE_SECONDS: Final = 2.0
"""How long a storage that is gone is left alone before one request tries it again, all others going without it."""


class RateLimiter:
    """A limit of `max_requests` in any `window_seconds`, for each key on its own.

    The service makes its own from `AgentConfig.rate_limit`; an agent can use more of them for its own ends.

    Args:
        max_requests: Requests that one key may make.
        window_seconds: In a span of so many seconds.
        key: What the keys are; names the policy in the response fields.
        storage_uri: See `RateLimit`.
        on_storage_failure: See `RateLimit`.

    Attributes:
        rate_limit: The limit.
        storage_is_gone: Redis could not be reached when it was last asked.

    Raises:
        ConfigurationError: A value is wrong, or the extra `[redis]` is not installed.
    """

    def __init__(
        self,
        max_requests: int = 100,
        window_seconds: int = 60,
        *,
        key: RateLimitKey = "client",
        storage_uri: str = "memory://",
        on_storage_failure: StorageFailure = "open",
    ) -> None:
        self._set_up(RateLimit(max_requests, window_seconds, key, storage_uri, on_storage_failure))

    @classmethod
    def of(cls, rate_limit: RateLimit) -> RateLimiter:
        """Return a limiter for `rate_limit`."""
        limiter = cls.__new__(cls)
        limiter._set_up(rate_limit)
        return limiter

    def _set_up(self, rate_limit: RateLimit) -> None:
        self.rate_limit = rate_limit
        self.storage_is_gone = False
        self._try_again_at = 0.0
        policy = f'"{rate_limit.key}";q={rate_limit.max_requests};w={rate_limit.window_seconds}'
        self._policy = (b"ratelimit-policy", policy.encode())
        self._fields = f'"{rate_limit.key}";r=%d;t=%d'.encode()
        self._redis: RedisCounts | None = None
        self._windows = SlidingWindows(rate_limit.max_requests, rate_limit.window_seconds)
        if rate_limit.scheme != MEMORY_SCHEME:
            from .redis_counts import RedisCounts

            self._redis = RedisCounts(rate_limit)

    @property
    def needs_storage(self) -> bool:
        """It counts in Redis, which has to be waited for."""
        return self._redis is not None

    def hit_at_once(self, key: str) -> RateLimitState | None:
        """Count one request of `key` as `hit` does; None where that has to be waited for, and nothing is counted."""
        return self._windows.hit(key) if self._redis is None else None

    async def hit(self, key: str) -> RateLimitState:
        """Count one request of `key` if it fits, and return what the limit says. Never raises for a storage."""
        if self._redis is None:
            return self._windows.hit(key)
        now = time.monotonic()
        if self.storage_is_gone and now < self._try_again_at:
            return self._without_storage()
        self._try_again_at = now + _STORAGE_SECONDS + _RETRY_STORAGE_SECONDS
        try:
            async with asyncio.timeout(_STORAGE_SECONDS):
                state = await self._redis.hit(key)
        except Exception as error:  # noqa: BLE001  # a counter that fails must not fail the agent
            self._lost(error)
            return self._without_storage()
        if self.storage_is_gone:
            self.storage_is_gone = False
            logger.warning("The rate limit's storage %s answers again.", self.rate_limit.place)
        return state

    def response_headers(self, state: RateLimitState) -> Headers:
        """Return the response fields `RateLimit-Policy` and `RateLimit`; none while the storage is gone."""
        if not state.known:
            return []
        return [self._policy, (b"ratelimit", self._fields % (state.remaining, math.ceil(state.reset_after)))]

    def refusal(self, state: RateLimitState) -> InvocationError:
        """Return the error for a request that is not allowed: RateLimitedError, or UnavailableError without storage."""
        if not state.known:
            return UnavailableError(
                "The rate limit's storage cannot be reached, and nobody is let in without it.",
                retry_after=_RETRY_STORAGE_SECONDS,
            )
        limit = self.rate_limit
        return RateLimitedError(
            f"Too many requests: the limit is {limit.max_requests} in {limit.window_seconds} s for each "
            f"{limit.key.replace('_', ' ')}.",
            retry_after=max(1, math.ceil(state.reset_after)),
        )

    async def close(self) -> None:
        """Close the connections to the storage, on the event loop that used it. It may be used again afterwards."""
        if self._redis is not None:
            await self._redis.close()

    def _without_storage(self) -> RateLimitState:
        allowed = self.rate_limit.on_storage_failure == "open"
        return RateLimitState(allowed, 0, _RETRY_STORAGE_SECONDS, known=False)

    def _lost(self, error: Exception) -> None:
        self._try_again_at = time.monotonic() + _RETRY_STORAGE_SECONDS
        if self.storage_is_gone:
            return
        self.storage_is_gone = True
        logger.error(
            "The rate limit's storage %s cannot be reached (%s). Until it answers, %s.",
            self.rate_limit.place,
            type(error).__name__,
            "requests are not limited" if self.rate_limit.on_storage_failure == "open" else "all requests get 503",
        )
