"""What is kept of invocations: plain data behind a few async verbs, in memory here, elsewhere in other modules."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

from ..errors import ErrorResponse
from ..http.sse import event_block
from .event_log import FIRST_BYTES, HeldEvents

if TYPE_CHECKING:
    from ..asgi import Headers

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Form = Literal["value", "stream", "response"]
"""What a handler made."""
INTERRUPTED: Final = "Interrupted"
"""Error type, and form, of an invocation whose process ended before it did."""
_COST_BYTES: Final = 2048
"""What an invocation costs in memory besides its events and its body."""
_SWEEP_SECONDS: Final = 2.0
_SLACK_SECONDS: Final = 2.0
LEAST_LOG_BYTES: Final = 64 * 1024
"""What a running log may hold however many there are."""
_LEAST_GROWTH_BYTES: Final = 4 * 1024
"""By how much a log may grow before it asks again where memory is short: asking costs a fast stream time."""
_MOST_GROWTH_BYTES: Final = 256 * 1024
"""By how much at most: what one was given and does not use, others lack."""


class KeyScope(NamedTuple):
    """Whose idempotency key it is."""

    caller: str
    session: str
    key: str


@dataclass(slots=True, frozen=True)
class Answer:
    """What an invocation is answered with once it is over, however often somebody asks.

    Attributes:
        status: HTTP status.
        envelope: The answer as JSON, without its result.
        value: The result as JSON, where the handler made a value.
        headers: Further response headers; of a response object of the handler all of them.
        body: Of a response object of the handler, if it can be sent again.
    """

    status: int
    envelope: bytes
    value: bytes | None = None
    headers: Headers = field(default_factory=list)
    body: bytes | None = None

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return len(self.envelope) + len(self.value or b"") + len(self.body or b"")


@dataclass(slots=True, kw_only=True)
class StoredInvocation:
    """An invocation as plain data.

    Attributes:
        scope: Of its idempotency key, if it was asked with one.
        fingerprint: Digest of its body, to tell another request under the same key.
        form: What the handler made; None where nothing came of it.
        interrupted: Its process ended before it did; how many events there were is not known.
        answer: What it is answered with, once it is over.
        events: What it said; None where that follows from the answer.
    """

    id: str
    scope: KeyScope | None
    fingerprint: bytes
    state: State
    form: Form | None
    request_id: str
    session_id: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    interrupted: bool = False
    answer: Answer | None = None
    events: HeldEvents | None = None

    def held_bytes(self) -> int:
        """Return how many bytes its answer and its events take."""
        events = 0 if self.events is None else sum(len(block) for _, block in self.events.blocks)
        return events + (0 if self.answer is None else self.answer.size)


class InvocationStore(Protocol):
    """Keeps invocations. All verbs may take a while; failures of the store are its own to log."""

    async def open(self) -> None:
        """Get ready, and mark what was running when the store was used last as interrupted.

        Raises:
            ConfigurationError: It cannot be used.
        """

    async def close(self) -> None:
        """Keep what is waiting to be kept, and let go."""

    async def save(self, stored: StoredInvocation) -> None:
        """Keep an invocation, over what there was of it; returns when a crash cannot lose it any more."""

    async def delete(self, invocation_id: str) -> None:
        """Forget an invocation."""

    async def get(self, invocation_id: str) -> StoredInvocation | None:
        """Return the finished invocation of this id."""

    async def get_by_key(self, scope: KeyScope) -> StoredInvocation | None:
        """Return the finished invocation that was asked for under this idempotency key."""


def interrupted(stored: StoredInvocation) -> StoredInvocation:
    """Return what an invocation becomes whose process died while it ran."""
    problem = ErrorResponse(500, "The agent's process ended while the invocation was running.", INTERRUPTED)
    stored.state, stored.form, stored.interrupted = "failed", None, True
    stored.finished_at = time.time()
    envelope = problem.envelope(stored.request_id, stored.session_id)
    stored.answer = Answer(problem.status, envelope)
    stored.events = closing_events(envelope, 1)
    return stored


def closing_events(envelope: bytes, number: int) -> HeldEvents:
    """Return what is held of an interrupted invocation: its end, as the event of this number."""
    return HeldEvents([(number, event_block(b"error", number, envelope))], number, only_text=True)


class MemoryShare:
    """One running log's part of the memory: of one half that the running ones share, and `LEAST_LOG_BYTES` in any case.

    See `event_log.Share`.
    """

    __slots__ = ("_counted", "_is_over", "_store")

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._counted = FIRST_BYTES
        self._is_over = False
        store.running_logs += 1
        store.count_running(FIRST_BYTES)

    def ask(self, held_bytes: int) -> tuple[int, int]:
        """See `event_log.Share`."""
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
        """See `event_log.Share`."""
        if not self._is_over:
            self._is_over = True
            self._store.running_logs -= 1
            self._store.count_running(-self._counted)


class FixedShare:
    """The share of a log that shares with no other."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def ask(self, held_bytes: int) -> tuple[int, int]:
        """See `event_log.Share`."""
        return self._max_bytes, max(0, self._max_bytes - held_bytes)

    def release(self) -> None:
        """See `event_log.Share`."""


class MemoryStore:
    """Finished invocations in memory, bounded in count, bytes and age. The oldest go first.

    They have the bytes that the logs of running ones leave, each of which counts with what it may grow by before it
    asks again. Age counts only while the process runs: what a paused
    sandbox held is still there when it wakes.

    Args:
        max_invocations: How many.
        max_age_seconds: For how long.
        max_bytes: For them and the logs of running ones together.
        max_log_bytes: For one running log.

    Attributes:
        finished_bytes: What is held of those that are over.
        running_bytes: What the logs of running ones may hold.
        running_logs: How many of these there are.
    """

    def __init__(self, max_invocations: int, max_age_seconds: float, max_bytes: int, max_log_bytes: int) -> None:
        self._most = max_invocations
        self._most_seconds = max_age_seconds
        self._by_id: dict[str, StoredInvocation] = {}
        self._by_age: deque[tuple[StoredInvocation, float, int]] = deque()  # since when, and what it costs
        self._by_key: dict[KeyScope, StoredInvocation] = {}
        self.max_bytes = max_bytes
        self.max_log_bytes = max_log_bytes
        self.finished_bytes = 0
        self.running_bytes = 0
        self.running_logs = 0
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at = time.monotonic()
        self._slept_seconds = 0.0

    def __len__(self) -> int:
        return len(self._by_id)

    async def open(self) -> None:
        """See `InvocationStore`."""

    async def close(self) -> None:
        """See `InvocationStore`."""

    async def save(self, stored: StoredInvocation) -> None:
        """See `InvocationStore`. One that is not over is held by whoever works for it."""
        if stored.answer is not None:
            await self.delete(stored.id)
            self.put(stored)

    async def delete(self, invocation_id: str) -> None:
        """See `InvocationStore`."""
        for entry in self._by_age:
            if entry[0].id == invocation_id:
                self._by_age.remove(entry)
                return self._drop(*entry)

    async def get(self, invocation_id: str) -> StoredInvocation | None:
        """See `InvocationStore`."""
        return self.find(invocation_id)

    async def get_by_key(self, scope: KeyScope) -> StoredInvocation | None:
        """See `InvocationStore`."""
        return self.find_by_key(scope)

    def put(self, stored: StoredInvocation) -> None:
        """Hold an invocation that is over and not held yet; the oldest go where bounds are passed."""
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
        """Return the invocation of this id."""
        self._sweep()
        return self._by_id.get(invocation_id)

    def find_by_key(self, scope: KeyScope) -> StoredInvocation | None:
        """Return the invocation that was asked for under this idempotency key."""
        self._sweep()
        return self._by_key.get(scope)

    def share(self) -> MemoryShare:
        """Return the share of a log that begins."""
        return MemoryShare(self)

    def count_running(self, delta_bytes: int) -> None:
        """Add to what the logs of running invocations may hold; finished ones make room for it."""
        self.running_bytes += delta_bytes
        if delta_bytes > 0 and self._is_exceeded():
            self._sweep()

    def _is_exceeded(self) -> bool:
        return self.running_bytes + self.finished_bytes > self.max_bytes

    def _sweep(self, now: float | None = None) -> None:
        """Let invocations go that are too old, too many or too large, the oldest first."""
        oldest_allowed = (self._now() if now is None else now) - self._most_seconds
        while self._by_age:
            entry = self._by_age[0]
            if not (len(self._by_age) > self._most or entry[1] < oldest_allowed or self._is_exceeded()):
                return
            self._drop(*self._by_age.popleft())

    def _drop(self, stored: StoredInvocation, _since: float, cost: int) -> None:
        del self._by_id[stored.id]
        self.finished_bytes -= cost
        if stored.scope is not None and self._by_key.get(stored.scope) is stored:
            del self._by_key[stored.scope]

    def _sweep_again(self) -> None:
        self._timer = None
        self._sweep()
        if self._by_id:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep_again)

    def _now(self) -> float:
        """Return for how many seconds the process has been running. While something is held, somebody looks often."""
        now = time.monotonic()
        gap, self._looked_at = now - self._looked_at, now
        if gap > _SWEEP_SECONDS + _SLACK_SECONDS and self._by_id:
            self._slept_seconds += gap - _SWEEP_SECONDS
        return now - self._slept_seconds
