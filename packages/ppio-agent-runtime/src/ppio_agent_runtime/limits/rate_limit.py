"""Counts requests per key in a sliding window, and handles failures of the storage.

For replicas, the library `limits` counts in Redis with its sliding window counter. For one process, the same algorithm
is here: the library's memory storage scans all its keys on the event loop with every request (12 ms at 100,000 keys),
has no limit for their number, and takes 20 us where this takes 1.

The response fields are those of draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from ppio_agent_models import InvocationError, RateLimitedError, UnavailableError

from ..config import MEMORY_SCHEME
from ..observability.logging import logger

if TYPE_CHECKING:
    from ..asgi import Headers
    from ..config import RateLimit
    from ..context import RequestContext
    from .redis_storage import RedisStorage

MAX_KEYS: Final = 20_000
"""How many keys are counted in memory; beyond that, the least recently used one is dropped."""
_STORAGE_SECONDS: Final = 1.0
"""How long one decision may take, before the storage counts as unreachable."""
_RETRY_STORAGE_SECONDS: Final = 2.0
"""How long an unreachable storage is not used, before one request tries it again."""


class RateLimitState(NamedTuple):
    """The state of a limit after one request.

    Attributes:
        allowed: The request is allowed, and has been counted.
        remaining: Requests that the key has left now.
        reset_after: Seconds until it has more.
        known: The storage responded; otherwise the three above are what `on_storage_failure` decides.
    """

    allowed: bool
    remaining: int
    reset_after: float
    known: bool = True


class RateLimitCounter:
    """Counts requests for a rate limit: `max_requests` in any `window_seconds`, for each key.

    Args:
        limit: The rate limit.

    Attributes:
        storage_is_gone: Redis could not be reached on the last attempt.

    Raises:
        ConfigurationError: The extra `[redis]` is not installed, or the storage's address is invalid.
    """

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self.storage_is_gone: bool = False
        self._try_again_at = 0.0
        self._redis: RedisStorage | None = None
        self._windows = SlidingWindows(limit.max_requests, limit.window_seconds)
        if limit.scheme != MEMORY_SCHEME:
            from .redis_storage import RedisStorage

            self._redis = RedisStorage(limit)

    def key_of(self, context: RequestContext, address: str) -> str:
        """Return the key under which a request is counted; it is short, and contains no credential.

        With `api_key`, that is the API key that authenticated it. If the service checks no keys, because a gateway in
        front of it does, it is the credential that the request carries.
        """
        value: str | None = None
        if self.limit.key == "session":
            value = context.session_id
        elif self.limit.key == "api_key":
            sent = (context.header_values(name) for name in (b"authorization", b"x-api-key"))
            value = context.key_id if context.key_id is not None else next((given[0] for given in sent if given), None)
        if value is None:
            return f"client:{address}"
        return f"{self.limit.key}:{blake2b(value.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"

    @property
    def needs_storage(self) -> bool:
        """Whether it counts in Redis, so `hit` has to be awaited."""
        return self._redis is not None

    def try_hit(self, key: str) -> RateLimitState | None:
        """Count one request of `key` as `hit` does; if that has to be awaited, count nothing and return None."""
        return self._state(*self._windows.hit(key)) if self._redis is None else None

    async def hit(self, key: str) -> RateLimitState:
        """Count one request of `key` if it is allowed, and return the state. Never raises for a failed storage."""
        if self._redis is None:
            return self._state(*self._windows.hit(key))
        now = time.monotonic()
        if self.storage_is_gone and now < self._try_again_at:
            return self._without_storage()
        self._try_again_at = now + _STORAGE_SECONDS + _RETRY_STORAGE_SECONDS
        try:
            async with asyncio.timeout(_STORAGE_SECONDS):
                counts = await self._redis.hit(key)
        except Exception as error:  # noqa: BLE001  # a counter that fails must not fail the agent
            return self._without_storage(error)
        if self.storage_is_gone:
            self.storage_is_gone = False
            logger.warning("The rate limit's storage %s is available again.", self.limit.place)
        return self._state(*counts)

    def response_headers(self, state: RateLimitState) -> Headers:
        """Return the response fields `RateLimit-Policy` and `RateLimit`; none while the storage is unreachable."""
        if not state.known:
            return []
        policy = f'"{self.limit.key}";q={self.limit.max_requests};w={self.limit.window_seconds}'
        limit = f'"{self.limit.key}";r={state.remaining};t={math.ceil(state.reset_after)}'
        return [(b"ratelimit-policy", policy.encode()), (b"ratelimit", limit.encode())]

    def refusal(self, state: RateLimitState) -> InvocationError:
        """Return the error for a request that is not allowed: RateLimitedError, or UnavailableError without storage."""
        if not state.known:
            return UnavailableError(
                "The rate limit's storage cannot be reached, and no request is accepted without it.",
                retry_after=_RETRY_STORAGE_SECONDS,
            )
        return RateLimitedError(
            f"Too many requests: the limit is {self.limit.max_requests} in {self.limit.window_seconds} s for each "
            f"{self.limit.key.replace('_', ' ')}.",
            retry_after=max(1, math.ceil(state.reset_after)),
        )

    async def close(self) -> None:
        """Close the connections to the storage, on the event loop that used it. It may be used again afterwards."""
        if self._redis is not None:
            await self._redis.close()

    def _state(self, allowed: bool, previous: int, current: int, left: float) -> RateLimitState:
        """Return the state of a key from the counts of two windows, of which the current one has `left` seconds left.

        The previous window counts by the part that is less than one window length ago, assuming that its requests were
        spread evenly.
        """
        most, seconds = self.limit.max_requests, self.limit.window_seconds
        if not previous:
            return RateLimitState(allowed, max(0, most - current), left if current else 0.0)
        weighted = int(previous * left / seconds) + current
        return RateLimitState(allowed, max(0, most - weighted), left % (seconds / previous))

    def _without_storage(self, error: Exception | None = None) -> RateLimitState:
        if error is not None:
            self._try_again_at = time.monotonic() + _RETRY_STORAGE_SECONDS
            if not self.storage_is_gone:
                logger.error(
                    "The rate limit's storage %s cannot be reached (%s). Until it responds, %s.",
                    self.limit.place,
                    type(error).__name__,
                    "requests are not limited" if self.limit.on_storage_failure == "open" else "all requests get 503",
                )
            self.storage_is_gone = True
        return RateLimitState(self.limit.on_storage_failure == "open", 0, _RETRY_STORAGE_SECONDS, known=False)


class _Window:
    """The counts of one key: of the current window, and of the previous one."""

    __slots__ = ("begins", "count", "previous")

    def __init__(self, begins: float) -> None:
        self.begins = begins
        self.count = 0
        self.previous = 0


class SlidingWindows:
    """The windows of many keys. The first window of a key begins with its first request, as in Redis.

    It is not bound to an event loop.

    Args:
        limit: How many requests one key may send.
        window_seconds: Length of a window.
        max_keys: How many keys are kept.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self, limit: int, window_seconds: int, max_keys: int = MAX_KEYS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._window_seconds = window_seconds
        self._max_keys = max_keys
        self._clock = clock
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def hit(self, key: str) -> tuple[bool, int, int, float]:
        """Count one request of `key` if the limit allows it.

        Returns:
            Whether it does, the counts of the previous and of the current window, and the seconds this one has left.
        """
        now = self._clock()
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(now)
            self._forget(now)
        else:
            self._windows.move_to_end(key)
            if now - window.begins >= self._window_seconds:
                self._turn(window, now)
        left = self._window_seconds - (now - window.begins)
        allowed = int(window.previous * left / self._window_seconds) + window.count < self._limit
        if allowed:
            window.count += 1
        return allowed, window.previous, window.count, left

    def _turn(self, window: _Window, now: float) -> None:
        if now - window.begins >= 2 * self._window_seconds:
            window.begins, window.previous = now, 0
        else:
            window.begins, window.previous = window.begins + self._window_seconds, window.count
        window.count = 0

    def _forget(self, now: float) -> None:
        """Drop expired keys, at most two for each new one, and the oldest key beyond the limit."""
        for _ in range(2):
            oldest = next(iter(self._windows))
            over = now - self._windows[oldest].begins >= 2 * self._window_seconds
            if over or len(self._windows) > self._max_keys:
                del self._windows[oldest]
