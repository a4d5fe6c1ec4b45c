"""`RateLimiter`: counts requests per key in a sliding window, says how many are left, and outlives its storage.

The strategy is the sliding window counter of `limits`: a key costs two numbers whatever its limit is (a moving window
keeps the time of each request), Redis decides in one atomic script, and unlike a fixed window it does not let a caller
make twice as many requests around the turn of a window. What it pays is that the previous window is taken as evenly
spread. The response fields are those of draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import InvocationError, RateLimitedError, UnavailableError

from ._rate_limit import MEMORY_SCHEME, RateLimit, RateLimitKey, StorageFailure

if TYPE_CHECKING:
    from limits.aio.storage import Storage

    from ._context import Headers

logger = logging.getLogger("ppio_agent_runtime")

_STORAGE_SECONDS: Final = 1.0
"""How long one decision may take; more, and the storage counts as gone."""
_RETRY_STORAGE_SECONDS: Final = 1.0
"""How often a storage that is gone is tried again: by one request, while all others are decided without it."""


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """What the limit says about one request.

    Attributes:
        allowed: It may go on, and has been counted.
        remaining: Requests that the key has left now.
        reset_after: Seconds until it has more.
        known: The storage answered; otherwise the three above say only what `on_storage_failure` decided.
    """

    allowed: bool
    remaining: int
    reset_after: float
    known: bool = True


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
        from limits import RateLimitItemPerSecond  # 25 ms and 2 MB that only limited agents pay

        from ._limit_storage import open_storage

        self.rate_limit = rate_limit
        self.storage_is_gone = False
        self._item = RateLimitItemPerSecond(rate_limit.max_requests, rate_limit.window_seconds, namespace="rate")
        self._try_again_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        policy = f'"{rate_limit.key}";q={rate_limit.max_requests};w={rate_limit.window_seconds}'
        self._policy = (b"ratelimit-policy", policy.encode())
        self._fields = f'"{rate_limit.key}";r=%d;t=%d'.encode()
        self._in_memory = rate_limit.scheme == MEMORY_SCHEME
        self._use(open_storage(rate_limit))

    def _use(self, storage: Storage) -> None:
        from limits.aio.strategies import SlidingWindowCounterRateLimiter

        self._storage = storage
        self._strategy = SlidingWindowCounterRateLimiter(storage)
        self._hit: Callable[..., Awaitable[bool]] = self._strategy.hit
        self._stats: Callable[..., Awaitable[Any]] = self._strategy.get_window_stats

    async def hit(self, key: str) -> RateLimitState:
        """Count one request of `key` if it fits, and return what the limit says. Never raises for a storage."""
        if self._in_memory:
            return await self._ask(key)
        if self.storage_is_gone and time.monotonic() < self._try_again_at:
            return self._without_storage()
        self._belong_to(asyncio.get_running_loop())
        self._try_again_at = time.monotonic() + _RETRY_STORAGE_SECONDS
        try:
            async with asyncio.timeout(_STORAGE_SECONDS):
                state = await self._ask(key)
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
        from ._limit_storage import close_storage

        await close_storage(self._storage)

    async def _ask(self, key: str) -> RateLimitState:
        allowed = await self._hit(self._item, key)
        stats = await self._stats(self._item, key)
        return RateLimitState(allowed, stats.remaining, max(0.0, stats.reset_time - time.time()))

    def _belong_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make new connections for another event loop than before: a connection works on the loop that opened it."""
        if self._loop is not None and self._loop is not loop:
            from ._limit_storage import open_storage

            self._use(open_storage(self.rate_limit))
        self._loop = loop

    def _without_storage(self) -> RateLimitState:
        allowed = self.rate_limit.on_storage_failure == "open"
        return RateLimitState(allowed, 0, _RETRY_STORAGE_SECONDS, known=False)

    def _lost(self, error: Exception) -> None:
        if self.storage_is_gone:
            return
        self.storage_is_gone = True
        logger.error(
            "The rate limit's storage %s cannot be reached (%s). Until it answers, %s.",
            self.rate_limit.place,
            type(error).__name__,
            "requests are not limited" if self.rate_limit.on_storage_failure == "open" else "all requests get 503",
        )
