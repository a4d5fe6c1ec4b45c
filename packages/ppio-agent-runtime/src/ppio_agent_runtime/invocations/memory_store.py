"""The store in memory: keeps finished invocations, and shares memory among the logs of running ones."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from .kept_log import FIRST_BYTES
from .store import REMEMBERED_KEYS

if TYPE_CHECKING:
    from .store import KeyScope, StoredInvocation

_COST_BYTES: Final = 2048
"""Memory for an invocation besides its events and its body."""
_SWEEP_SECONDS: Final = 2.0
_SLACK_SECONDS: Final = 2.0
LEAST_LOG_BYTES: Final = 64 * 1024
"""How much a running log may hold however many there are."""
_LEAST_GROWTH_BYTES: Final = 4 * 1024
"""By how much a log may grow before it asks again if memory is short; asking more often would slow fast streams."""
_MOST_GROWTH_BYTES: Final = 256 * 1024
"""By how much at most, because others can't use what one was granted."""


class MemoryShare:
    """One running log's share of the memory; see `kept_log.Share`.

    Running logs share one half of the memory; each gets `LEAST_LOG_BYTES` in any case.
    """

    __slots__ = ("_counted", "_is_over", "_store")

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._counted = FIRST_BYTES
        self._is_over = False
        store.running_logs += 1
        store.count_running(FIRST_BYTES)

    def ask(self, held_bytes: int) -> tuple[int, int]:
        """See `kept_log.Share`."""
        if self._is_over:
            return 0, 0
        store = self._store
        others_bytes = store.running_bytes - self._counted
        half = store.max_bytes // 2
        share = min(half // store.running_logs, half - others_bytes)
        most = min(store.max_log_bytes, max(LEAST_LOG_BYTES, share))
        free = store.max_bytes - store.finished_bytes - others_bytes - held_bytes
        growth = min(_MOST_GROWTH_BYTES, max(_LEAST_GROWTH_BYTES, free // (4 * store.running_logs)))
        growth = max(0, min(most - held_bytes, growth))
        counted, self._counted = self._counted, held_bytes + growth
        store.count_running(self._counted - counted)
        return most, growth

    def release(self) -> None:
        """See `kept_log.Share`."""
        if not self._is_over:
            self._is_over = True
            self._store.running_logs -= 1
            self._store.count_running(-self._counted)


class FixedShare:
    """A share of fixed size."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def ask(self, held_bytes: int) -> tuple[int, int]:
        """See `kept_log.Share`."""
        return self._max_bytes, max(0, self._max_bytes - held_bytes)

    def release(self) -> None:
        """See `kept_log.Share`."""


class MemoryStore:
    """Finished invocations in memory, bounded in count, bytes and age. The oldest are dropped first.

    They have the bytes that the logs of running ones leave, each of which counts with what it may grow by before it
    asks again. Age counts only while the process runs: what a paused sandbox held is still there when it wakes.
    Of those that make room for others, the idempotency keys are remembered; see `StoreBounds`.

    Args:
        max_invocations: How many are kept.
        max_age_seconds: How long they are kept.
        max_bytes: Memory for them and the running logs together.
        max_log_bytes: Memory for one running log.

    Attributes:
        finished_bytes: Memory of finished invocations.
        running_bytes: Memory granted to running logs.
        running_logs: How many running logs there are.
    """

    def __init__(self, max_invocations: int, max_age_seconds: float, max_bytes: int, max_log_bytes: int) -> None:
        self._most = max_invocations
        self._most_seconds = max_age_seconds
        self._by_id: dict[str, StoredInvocation] = {}
        self._by_age: deque[tuple[StoredInvocation, float, int]] = deque()  # with time and bytes
        self._by_key: dict[KeyScope, StoredInvocation] = {}
        self._evicted_keys: dict[int, float] = {}  # by their hash: since when; 130 bytes each
        self.max_bytes = max_bytes
        self.max_log_bytes = max_log_bytes
        self.finished_bytes: int = 0
        self.running_bytes: int = 0
        self.running_logs = 0
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at = time.monotonic()
        self._slept_seconds = 0.0

    def __len__(self) -> int:
        return len(self._by_id)

    def put(self, stored: StoredInvocation) -> None:
        """Add a finished invocation; the oldest are dropped if limits are exceeded."""
        now = self._now()
        cost = stored.held_bytes() + _COST_BYTES
        self._by_id[stored.id] = stored
        self._by_age.append((stored, now, cost))
        if stored.scope is not None:
            self._by_key[stored.scope] = stored
        self.finished_bytes += cost
        self._sweep(now)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep_again)

    def find(self, invocation_id: str) -> StoredInvocation | None:
        """Return the invocation with this ID."""
        self._sweep()
        return self._by_id.get(invocation_id)

    def find_by_key(self, scope: KeyScope) -> StoredInvocation | None:
        """Return the invocation with this idempotency key."""
        self._sweep()
        return self._by_key.get(scope)

    def has_evicted(self, scope: KeyScope) -> bool:
        """Return whether the invocation of this idempotency key was kept, and evicted to free memory."""
        return hash(scope) in self._evicted_keys

    def share(self) -> MemoryShare:
        """Return the share of a new log."""
        return MemoryShare(self)

    def count_running(self, delta_bytes: int) -> None:
        """Add to the memory granted to running logs; finished invocations make room for it."""
        self.running_bytes += delta_bytes
        if delta_bytes > 0 and self._is_exceeded():
            self._sweep()

    def _is_exceeded(self) -> bool:
        return self.running_bytes + self.finished_bytes > self.max_bytes

    def _sweep(self, now: float | None = None) -> None:
        """Drop invocations that are too old, too many or too large, oldest first."""
        oldest_allowed = (self._now() if now is None else now) - self._most_seconds
        while self._by_age:
            entry = self._by_age[0]
            if not (len(self._by_age) > self._most or entry[1] < oldest_allowed or self._is_exceeded()):
                break
            self._drop(*self._by_age.popleft())
        while self._evicted_keys:
            key, since = next(iter(self._evicted_keys.items()))
            if since >= oldest_allowed and len(self._evicted_keys) <= REMEMBERED_KEYS:
                break
            del self._evicted_keys[key]

    def _drop(self, stored: StoredInvocation, since: float, cost: int) -> None:
        del self._by_id[stored.id]
        self.finished_bytes -= cost
        if stored.scope is not None and self._by_key.get(stored.scope) is stored:
            del self._by_key[stored.scope]
            self._evicted_keys[hash(stored.scope)] = since

    def _sweep_again(self) -> None:
        self._timer = None
        self._sweep()
        if self._by_id or self._evicted_keys:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep_again)

    def _now(self) -> float:
        """Return how many seconds the process has been running, without pauses; those show as gaps between sweeps."""
        now = time.monotonic()
        gap, self._looked_at = now - self._looked_at, now
        if gap > _SWEEP_SECONDS + _SLACK_SECONDS and (self._by_id or self._evicted_keys):
            self._slept_seconds += gap - _SWEEP_SECONDS
        return now - self._slept_seconds
