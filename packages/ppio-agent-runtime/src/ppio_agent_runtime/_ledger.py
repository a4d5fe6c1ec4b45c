"""Every durable invocation that is held: found by id or idempotency key, bounded in count, bytes and age."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from ._event_log import EventLog
from ._record import Record, Scope

if TYPE_CHECKING:
    from ._config import AgentConfig

_LEAST_BYTES = 64 * 1024
"""What a running log may hold however many there are."""
_SWEEP_SECONDS = 10.0
_COST_BYTES = 2048
"""What a record costs besides its log and its answer."""


class Ledger:
    """The durable invocations of one app. The oldest finished ones go first."""

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        self._running: dict[str, Record] = {}
        self._finished: dict[str, Record] = {}
        self._keys: dict[Scope, Record] = {}
        self._finished_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def new_log(self) -> EventLog:
        """Return a log that shares the bytes for all running ones fairly."""
        return EventLog(self._bytes_for_one)

    def open(self, record: Record) -> None:
        """Hold a record that begins."""
        self._running[record.invocation_id] = record
        if record.scope is not None:
            self._keys[record.scope] = record

    def close(self, record: Record) -> None:
        """Move a record that is over to the finished ones, and let the oldest of them go where bounds are passed."""
        self._running.pop(record.invocation_id, None)
        self.hold(record)
        self.sweep()

    def hold(self, record: Record) -> None:
        """Hold a record that is over."""
        self._finished[record.invocation_id] = record
        self._finished_bytes += _cost(record)
        if record.scope is not None:
            self._keys[record.scope] = record
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep_again)

    def forget(self, record: Record) -> None:
        """Drop a record as if it had never been: it was refused before its handler began."""
        self._running.pop(record.invocation_id, None)
        self._drop_key(record)

    def find(self, invocation_id: str) -> Record | None:
        """Return the record of this id, if it is held."""
        self.sweep()
        return self._running.get(invocation_id) or self._finished.get(invocation_id)

    def find_by_key(self, scope: Scope) -> Record | None:
        """Return the record that was asked for under this idempotency key, if it is held."""
        self.sweep()
        return self._keys.get(scope)

    def running(self) -> list[Record]:
        """Return the records that are not over."""
        return list(self._running.values())

    @property
    def held_bytes(self) -> int:
        """Bytes of all logs and answers, about."""
        return self._finished_bytes + sum(record.log.size for record in self._running.values())

    @property
    def held(self) -> int:
        """How many invocations are held."""
        return len(self._running) + len(self._finished)

    def sweep(self) -> None:
        """Let finished records go that are too old, too many or too large, the oldest first."""
        config = self._config
        oldest_allowed = time.time() - config.event_log_max_age_seconds
        while self._finished:
            record = next(iter(self._finished.values()))
            too_old = record.finished_at is not None and record.finished_at < oldest_allowed
            too_many = len(self._finished) > config.event_log_max_invocations
            if not (too_old or too_many or self._finished_bytes > config.event_log_max_bytes):
                return
            del self._finished[record.invocation_id]
            self._finished_bytes -= _cost(record)
            self._drop_key(record)

    def _sweep_again(self) -> None:
        self._timer = None
        self.sweep()
        if self._finished:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep_again)

    def _bytes_for_one(self) -> int:
        share = self._config.event_log_max_bytes // max(1, len(self._running))
        return min(self._config.event_log_max_bytes_per_invocation, max(_LEAST_BYTES, share))

    def _drop_key(self, record: Record) -> None:
        if record.scope is not None and self._keys.get(record.scope) is record:
            del self._keys[record.scope]


def _cost(record: Record) -> int:
    """Return what a finished record holds; it does not change any more."""
    result = 0 if record.answer is None or record.answer.result is None else len(record.answer.result)
    return record.log.size + result + _COST_BYTES
