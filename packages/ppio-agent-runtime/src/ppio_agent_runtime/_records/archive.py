"""Records that survive the process: the ledger's second shelf, on disk."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from .._problems import Problem
from .allowance import FixedAllowance
from .answer import Answer
from .event_blocks import event_block
from .event_log import EventLog
from .event_store import EventStore, StoreBounds, StoredInvocation
from .record import FAILED, Record, Scope

if TYPE_CHECKING:
    from .._asgi import Headers
    from ..config import AgentConfig
    from .record import RecordForm

INTERRUPTED = "Interrupted"


class Archive:
    """The durable invocations of one app on disk.

    Args:
        config: Names the database and its bounds.

    Raises:
        ConfigurationError: `event_store` is wrong.
    """

    def __init__(self, config: AgentConfig) -> None:
        assert config.event_store is not None
        bounds = StoreBounds(
            config.event_log_max_invocations, config.event_log_max_age_seconds, config.event_log_max_bytes
        )
        self._store = EventStore(config.event_store, bounds)
        self._opening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the database.

        Raises:
            ConfigurationError: It cannot be used.
        """
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.get_running_loop().create_task(self._store.open(_interrupted))
        await asyncio.shield(self._opening)

    async def close(self) -> None:
        """Write what is waiting and close the database."""
        await self._store.close()

    async def began(self, record: Record) -> None:
        """Write that a record exists; returns when it is on disk."""
        await self._store.save(_row(record))

    def finished(self, record: Record) -> None:
        """Write a record that is over. Returns at once."""
        self._store.save_soon(_row(record))

    def drop(self, record: Record) -> None:
        """Forget a record. Returns at once."""
        self._store.drop(record.invocation_id)

    async def find(self, invocation_id: str) -> Record | None:
        """Return the finished record of this id."""
        return _restored(await self._store.find(invocation_id))

    async def find_by_key(self, scope: Scope) -> Record | None:
        """Return the finished record that was asked for under this idempotency key."""
        return _restored(await self._store.find_by_key(*scope))


def _restored(row: StoredInvocation | None) -> Record | None:
    # A row without an end belongs to a record that runs, or has just finished, in this process.
    return None if row is None or row.finished_at is None else _record(row)


def _row(record: Record) -> StoredInvocation:
    """Return what the database keeps of a record: all of it."""
    answer, log = record.answer, record.log if record.is_over else None
    caller, session, key = record.scope or (None, None, None)
    return StoredInvocation(
        id=record.invocation_id,
        caller=caller,
        session=session,
        key=key,
        fingerprint=record.fingerprint,
        state=record.state,
        form=record.form,
        request_id=record.request_id,
        session_id=record.session_id,
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        status=None if answer is None else answer.status,
        closing=None if answer is None else answer.closing,
        headers=_packed([] if answer is None else answer.headers),
        body=None if answer is None else answer.body,
        only_text=log is None or log.only_text,
        first_id=1 if log is None else log.first_id,
        last_id=0 if log is None else log.last_id,
        events=b"" if log is None else log.held(),
        size=0,
    )


def _record(row: StoredInvocation) -> Record:
    assert row.status is not None
    assert row.closing is not None
    allowance = FixedAllowance(0)
    log = EventLog(allowance)
    log.restore(row.events, row.first_id, row.last_id, only_text=bool(row.only_text))
    record = Record(
        row.id,
        lambda: allowance,
        request_id=row.request_id,
        session_id=row.session_id,
        window_seconds=None,
        scope=None if row.key is None else (row.caller or "", row.session or "", row.key),
        fingerprint=row.fingerprint,
    )
    form: RecordForm | None = row.form if row.form != INTERRUPTED else None  # type: ignore[assignment]  # we wrote it
    record.restore(
        row.state,
        form,
        Answer(row.status, row.closing, _unpacked(row.headers), row.body),
        log,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
    record.was_interrupted = row.state == FAILED and row.form == INTERRUPTED
    return record


def _interrupted(row: StoredInvocation) -> StoredInvocation:
    """Return what an invocation becomes whose process died."""
    problem = Problem(500, "The agent's process ended while the invocation was running.", INTERRUPTED)
    row.state, row.form, row.status, row.finished_at = FAILED, INTERRUPTED, problem.status, time.time()
    row.closing = problem.envelope(row.request_id, row.session_id)
    row.first_id = row.last_id = 1
    row.events = event_block(b"error", 1, row.closing)
    return row


def _packed(headers: Headers) -> bytes:
    return json.dumps([[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]).encode()


def _unpacked(packed: bytes) -> Headers:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(packed)]
