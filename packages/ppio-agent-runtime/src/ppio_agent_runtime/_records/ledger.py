"""Every durable invocation that is held: found by id or idempotency key, bounded in count, bytes and age."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from .allowance import LogMemory
from .record import Record, Scope

if TYPE_CHECKING:
    from ..config import AgentConfig
    from .allowance import Allowance

_SWEEP_SECONDS = 2.0
_SLACK_SECONDS = 2.0
_COST_BYTES = 2048
"""What a record costs besides its events and its body."""


class Ledger:
    """The durable invocations of one app. The oldest finished ones go first.

    Finished ones have the bytes that the running ones leave. Age counts only while the process runs: what a paused
    sandbox held is still there when it wakes.
    """

    def __init__(self, config: AgentConfig) -> None:
        self._most = config.event_log_max_invocations
        self._most_seconds = config.event_log_max_age_seconds
        self._running: dict[str, Record] = {}
        self._finished: dict[str, Record] = {}
        self._by_age: deque[Record] = deque()  # the same, the oldest first
        self._keys: dict[Scope, Record] = {}
        self._memory = LogMemory(
            config.event_log_max_bytes, config.event_log_max_bytes_per_invocation, make_room=self._sweep
        )
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at = time.monotonic()
        self._slept_seconds = 0.0

    def allowance(self) -> Allowance:
        """Return what the log of a record that begins may hold."""
        return self._memory.join()

    def open(self, record: Record) -> None:
        """Hold a record that begins."""
        self._running[record.invocation_id] = record
        if record.scope is not None:
            self._keys[record.scope] = record

    def close(self, record: Record) -> None:
        """Move a record that is over to the finished ones, and let the oldest of them go where bounds are passed."""
        now = self._now()
        self._running.pop(record.invocation_id, None)
        record.held_since = now
        record.held_cost = cost = record.held_bytes + _COST_BYTES
        self._finished[record.invocation_id] = record
        self._by_age.append(record)
        self._memory.finished_bytes += cost
        self._sweep(now)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep_again)

    def release_key(self, record: Record) -> None:
        """Let the key of a record be used for another one."""
        if record.scope is not None and self._keys.get(record.scope) is record:
            del self._keys[record.scope]
        record.scope = None

    def forget(self, record: Record) -> None:
        """Drop a running record as if it had never been."""
        self.release_key(record)
        self._running.pop(record.invocation_id, None)

    def find(self, invocation_id: str) -> Record | None:
        """Return the record of this id, if it is held."""
        if (running := self._running.get(invocation_id)) is not None:
            return running
        self._sweep()
        return self._finished.get(invocation_id)

    def find_by_key(self, scope: Scope) -> Record | None:
        """Return the record that was asked for under this idempotency key, if it is held."""
        self._sweep()
        return self._keys.get(scope)

    @property
    def held(self) -> int:
        """How many invocations are held."""
        return len(self._running) + len(self._finished)

    @property
    def held_bytes(self) -> int:
        """Bytes of all of them, about."""
        return self._memory.finished_bytes + sum(record.held_bytes for record in self._running.values())

    def _sweep(self, now: float | None = None) -> None:
        """Let finished records go that are too old, too many or too large, the oldest first."""
        by_age, memory = self._by_age, self._memory
        oldest_allowed = (self._now() if now is None else now) - self._most_seconds
        while by_age:
            record = by_age[0]
            if not (len(by_age) > self._most or record.held_since < oldest_allowed or memory.is_exceeded):
                return
            by_age.popleft()
            del self._finished[record.invocation_id]
            memory.finished_bytes -= record.held_cost
            if record.scope is not None and self._keys.get(record.scope) is record:
                del self._keys[record.scope]

    def _sweep_again(self) -> None:
        self._timer = None
        self._sweep()
        if self._finished:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep_again)

    def _now(self) -> float:
        """Return for how many seconds the process has been running. While something is held, somebody looks often."""
        now = time.monotonic()
        gap, self._looked_at = now - self._looked_at, now
        if gap > _SWEEP_SECONDS + _SLACK_SECONDS and self._finished:
            self._slept_seconds += gap - _SWEEP_SECONDS
        return now - self._slept_seconds
