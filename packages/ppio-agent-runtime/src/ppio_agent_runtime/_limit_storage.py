"""Where the counts of a rate limit live: in this process, bounded, or in Redis. Imports `limits`; needed by few.

The memory storage is our own, behind the interface of `limits`: the library's starts a scan over all keys with every
request, on the event loop (12 ms per request at 100,000 keys), and keeps as many keys as callers care to invent.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from importlib.util import find_spec
from typing import Any, Final

from limits.aio.storage import SlidingWindowCounterSupport, Storage
from limits.errors import ConfigurationError as LimitsConfigurationError
from limits.storage import storage_from_string

from ppio_agent_models import ConfigurationError

from ._rate_limit import MEMORY_SCHEME, RateLimit

MAX_KEYS: Final = 20_000
"""Keys that are counted in memory at most; beyond them the one that was not seen for longest is forgotten."""

_COMMAND_SECONDS: Final = 0.5
"""How long Redis may take to connect, and to answer one command."""


class _Window:
    """The counts of one key: of the window that runs, and of the one before."""

    __slots__ = ("begins", "count", "previous")

    def __init__(self, begins: float) -> None:
        self.begins = begins
        self.count = 0
        self.previous = 0


class BoundedMemoryStorage(Storage, SlidingWindowCounterSupport):
    """Counts in memory, at most `max_keys` of them, each in constant space whatever the limit is.

    The windows of a key begin with its first request, as they do in Redis. Nothing here waits, so one object serves
    every event loop, one at a time.
    """

    STORAGE_SCHEME: list[str] | None = None

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        super().__init__()
        self._max_keys = max_keys
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    @property
    def base_exceptions(self) -> type[Exception]:
        """What can go wrong with the storage itself: nothing."""
        return ValueError

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` requests of `key` if they fit into the limit."""
        now = time.monotonic()
        window = self._current(key, expiry, now)
        if window is None:
            window = self._windows[key] = _Window(now)
            self._forget(now, expiry)
        else:
            self._windows.move_to_end(key)
        left = window.begins + expiry - now
        if int(window.previous * left / expiry) + window.count + amount > limit:
            return False
        window.count += amount
        return True

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return count and life of the previous window, count and life of the running one."""
        now = time.monotonic()
        window = self._current(key, expiry, now)
        if window is None:
            return 0, 0.0, 0, 0.0
        left = window.begins + expiry - now
        return window.previous, left, window.count, left + expiry

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget `key`."""
        self._windows.pop(key, None)

    def _current(self, key: str, expiry: int, now: float) -> _Window | None:
        """Return the window of `key`, moved on to `now`; None when both of its counts are over."""
        window = self._windows.get(key)
        if window is None:
            return None
        passed = int((now - window.begins) // expiry)
        if passed >= 2:
            del self._windows[key]
            return None
        if passed == 1:
            window.begins += expiry
            window.previous, window.count = window.count, 0
        return window

    def _forget(self, now: float, expiry: int) -> None:
        """Drop the oldest keys that are over, two for each new one, and whatever is beyond the bound."""
        for _ in range(2):
            oldest = next(iter(self._windows))
            if len(self._windows) > self._max_keys or now - self._windows[oldest].begins >= 2 * expiry:
                del self._windows[oldest]

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count without a limit; the interface asks for it."""
        window = self._current(key, expiry, time.monotonic())
        if window is None:
            window = self._windows[key] = _Window(time.monotonic())
        window.count += amount
        return window.count

    async def get(self, key: str) -> int:
        """Return the count of the window that runs."""
        window = self._windows.get(key)
        return 0 if window is None else window.count

    async def get_expiry(self, key: str) -> float:
        """Return now: counts end by themselves."""
        return time.time()

    async def check(self) -> bool:
        """Say that the storage works."""
        return True

    async def reset(self) -> int | None:
        """Forget everything; return how many keys there were."""
        known = len(self._windows)
        self._windows.clear()
        return known

    async def clear(self, key: str) -> None:
        """Forget `key`."""
        self._windows.pop(key, None)


def open_storage(rate_limit: RateLimit) -> Storage:
    """Return the storage that `rate_limit` names. One in Redis belongs to the event loop that first uses it.

    Raises:
        ConfigurationError: The extra `[redis]` is not installed, or the address is not one.
    """
    if rate_limit.scheme == MEMORY_SCHEME:
        return BoundedMemoryStorage()
    if find_spec("redis") is None:
        raise ConfigurationError(
            f"A rate limit in {rate_limit.scheme}:// needs the Redis client: pip install 'ppio-agent-runtime[redis]'"
        )
    try:
        return _open_redis(rate_limit.storage_uri)
    except (LimitsConfigurationError, ValueError) as error:
        # Not chained: the library's sentence may repeat the address and the password in it.
        raise ConfigurationError(
            f"The rate limit's storage {rate_limit.place} cannot be used ({type(error).__name__}); its storage_uri "
            "should look like redis://user:password@host:6379/0."
        ) from None


def _open_redis(uri: str) -> Storage:
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    options: dict[str, Any] = {
        "implementation": "redispy",
        "key_prefix": "ppio-agent",
        "socket_timeout": _COMMAND_SECONDS,
        "socket_connect_timeout": _COMMAND_SECONDS,
        # Once more, for a pooled connection that Redis closed meanwhile; the client's own default waits for seconds.
        "retry": Retry(NoBackoff(), 1),
    }
    storage = storage_from_string(f"async+{uri}", **options)
    assert isinstance(storage, Storage)
    return storage


async def close_storage(storage: Storage) -> None:
    """Close the connections of a storage; on the event loop that used it."""
    if isinstance(storage, BoundedMemoryStorage):
        return
    connection: Any = storage
    await connection.bridge.get_connection().aclose()
