"""Counts requests in Redis, for all replicas together. Only this file imports `limits`, from the extra `[redis]`.

The strategy is the library's sliding window counter: a key needs two numbers whatever its limit is (a moving window
stores the time of each request), Redis decides in one atomic script, and unlike a fixed window it doesn't allow twice
as many requests around the end of a window.
"""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import ConfigurationError

if TYPE_CHECKING:
    from ..config import RateLimit

_COMMAND_SECONDS: Final = 0.5
"""How long Redis may take to connect, and to respond to one command."""


class RedisStorage:
    """The counts of one limit.

    Raises:
        ConfigurationError: The extra `[redis]` is not installed, or the address is invalid.
    """

    def __init__(self, rate_limit: RateLimit) -> None:
        self._rate_limit = rate_limit
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connect()

    async def hit(self, key: str) -> tuple[bool, int, int, float]:
        """Count one request of `key` if the limit allows it.

        Returns:
            Whether it does, the counts of the previous and of the current window, and the seconds this one has left.

        Raises:
            Exception: Whatever the Redis client raises.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            self._connect()  # a connection only works on the loop that opened it
        self._loop = loop
        window = self._rate_limit.window_seconds
        allowed = await self._strategy.hit(self._item, key)
        # Not the strategy's get_window_stats: within the first millisecond of a window it returns 0 for its length.
        # The count of the current window is kept for two windows, so that it can become the previous one.
        previous, _, current, life = await self._storage.get_sliding_window(self._item.key_for(key), window)
        return allowed, previous, current, max(0.0, life - window)

    async def close(self) -> None:
        """Close the connections, on the event loop that used them."""
        await self._storage.bridge.get_connection().aclose()

    def _connect(self) -> None:
        if find_spec("limits") is None or find_spec("redis") is None:
            raise ConfigurationError(
                f"A rate limit in {self._rate_limit.scheme}:// needs an extra: pip install 'ppio-agent-runtime[redis]'"
            )
        from limits import RateLimitItemPerSecond
        from limits.aio.strategies import SlidingWindowCounterRateLimiter
        from limits.errors import ConfigurationError as LimitsConfigurationError
        from limits.storage import storage_from_string
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        limit = self._rate_limit
        options: dict[str, Any] = {
            "implementation": "redispy",
            "key_prefix": "ppio-agent",
            "socket_timeout": _COMMAND_SECONDS,
            "socket_connect_timeout": _COMMAND_SECONDS,
            # One retry, for a pooled connection that Redis closed meanwhile; the client's default waits for seconds.
            "retry": Retry(NoBackoff(), 1),
        }
        try:
            self._storage: Any = storage_from_string(f"async+{limit.storage_uri}", **options)
        except (LimitsConfigurationError, ValueError) as error:
            # Not chained: the library's message may repeat the address with its password.
            raise ConfigurationError(
                f"The rate limit's storage {limit.place} cannot be used ({type(error).__name__}); its storage_uri "
                "should look like redis://user:password@host:6379/0."
            ) from None
        self._strategy = SlidingWindowCounterRateLimiter(self._storage)
        self._item = RateLimitItemPerSecond(limit.max_requests, limit.window_seconds, namespace="rate")
